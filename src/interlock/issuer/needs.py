"""What the authorization server needs of whoever runs it: a record, what is remembered, and the pages for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response
from interlock.model import Event
from interlock.store.clients import Client, Grant

if TYPE_CHECKING:
    from interlock.identity.dpop import Shown
    from interlock.issuer.authorization_request import AuthorizationRequest
    from interlock.issuer.flows import Asked
    from interlock.issuer.means import Answer
    from interlock.issuer.sessions import Session


class Notes(Protocol):
    """Where the issuer's acts are put on the record."""

    def note(self, event: Event, details: Mapping[str, Any], *, at_once: bool = False) -> str:
        """In the kernel before anything that was done on its strength leaves this process, or nothing does.

        `at_once`: when this returns, for what is kept elsewhere then. Raises `RecordUnavailable`: nothing may be
        issued.
        """
        ...

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        """On disk when this returns."""
        ...


class Replays(Protocol):
    """What may be used once (RFC 7523 section 3, RFC 9449 section 11.1)."""

    def claim(self, name: bytes, issued: int, expires: int, now: int, *, ahead: int, of: Client) -> bool:
        """Whether `name` (32 bytes) was not claimed before. Raises `OAuthError` where that cannot be told.

        `of`: the client that has proved to have made it; no client fills the room of all.

        It was made at `issued` and nobody takes it after `expires` (wall ns); the maker's clock may be `ahead`.
        """
        ...


class Revoker(Protocol):
    """Makes every worker refuse something, before it returns."""

    def session(self, sid: str) -> None: ...

    def family(self, grant_id: str, until: int) -> None: ...

    def token(self, token_id: str, until: int) -> None: ...

    def client(self, client_id: str, until: int) -> None: ...


class References(Protocol):
    """Where opaque access tokens are looked up."""

    def add(self, token: str, claims: bytes, expires: int, now: int) -> None:
        """Every worker takes the token for these claims (JSON) until `expires` (wall ns). Raises `SnapshotError`."""
        ...


class People(Protocol):
    """What is known of those who sign in."""

    @property
    def acr_values(self) -> tuple[str, ...]:
        """How strongly they can."""
        ...

    def handle(self, request: Request) -> Answer:
        """One of the pages for people."""
        ...

    def tend(self, now: int) -> None:
        """Housekeeping, now and then."""
        ...

    def session(self, request: Request) -> Session | None:
        """Who is signed in at the browser that sends the request."""
        ...

    def meets(self, session: Session, asked: Asked, now: int) -> bool:
        """Whether somebody is signed in as it is asked for."""
        ...

    def sign_in(self, request: Request, asked: Asked) -> Response:
        """Have whoever is at the browser sign in; it comes back to where `asked` leads."""
        ...

    def ask_consent(
        self,
        request: Request,
        session: Session,
        flow: str,
        client: Client,
        scopes: Sequence[tuple[str, str]],
        asked: AuthorizationRequest,
        *,
        action: str = ...,
        saying: str = ...,
    ) -> Response:
        """A page that asks whether the client may have these scopes, each with its meaning.

        It goes to `action`, a path of ours, and says `saying` first.
        """
        ...

    def consented(self, request: Request, session: Session) -> tuple[str, bool]:
        """The flow of a page that was sent back, and whether it was allowed; raises `OAuthError` for a forged one."""
        ...

    def ask_device(
        self, request: Request, session: Session, action: str, *, code: str = ..., error: str = ...
    ) -> Response:
        """A page that asks for the code of a device; it goes to `action`, a path of ours."""
        ...

    def device_code(self, request: Request, session: Session) -> str:
        """The code of a page that was sent back; raises `OAuthError` for a forged one."""
        ...

    def say(self, title: str, line: str) -> Response:
        """A page that says how something ended."""
        ...

    def problem(self, request: Request, problem: OAuthError) -> Response:
        """A page that says what is wrong."""
        ...

    def sign_out(self, request: Request) -> tuple[str, str]:
        """End the session of the browser; gives the field that takes its cookie away."""
        ...

    def signed_out(self, request: Request, fields: Sequence[tuple[str, str]]) -> Response:
        """A page that says so."""
        ...

    def ask_sign_out(self, request: Request, session: Session, where: str) -> Response:
        """A page that asks whether to sign out, and go to `where` (empty: nowhere)."""
        ...

    def sign_out_confirmed(self, request: Request) -> str:
        """Where to go, of a page that was sent back; raises `OAuthError` for a forged one."""
        ...

    def profile(self, subject: str, scopes: frozenset[str]) -> dict[str, Any] | None:
        """What is known of somebody, by scope; None: nobody of that name may sign in."""
        ...

    def stands(self, grant: Grant, now: int, *, alive: bool = ...) -> bool:
        """Whether who gave this may still sign in, and is, where the grant hangs on a session.

        `alive`: to ask is a sign of life of the session, as when a client renews its tokens.
        """
        ...

    def claims(self, grant: Grant) -> dict[str, Any]:
        """What the client may be told of them, by scope (OpenID Connect Core 1.0 section 5.4)."""
        ...


class Proofs(Protocol):
    """Proofs of possession (RFC 9449)."""

    algorithms: tuple[str, ...]

    def verify(self, proof: str, method: str, url: str, now: int, *, nonce_required: bool) -> Shown:
        """A proof that holds; it takes no room, and may have been used before. Raises `OAuthError`."""
        ...

    def use(self, shown: Shown, now: int, *, of: str) -> None:
        """Use it up; raises `OAuthError` if it was used before, or if that cannot be told.

        `of`: the client that brings it; no client fills the room of all.
        """
        ...
