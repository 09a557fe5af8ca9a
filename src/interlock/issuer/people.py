"""People at their browsers, as the endpoints of OAuth and OpenID Connect see them (`service.People`).

    who is it?              people.session(request)                     the session, or None
    is that enough?         people.meets(session, asked, now)           `acr_values`, `max_age`, `prompt=login`
    have them sign in       people.sign_in(request, asked)              comes back to `flows.GOES[asked.go]?flow=ID`
    ask for consent         people.ask_consent(...)                     a page; its answer: people.consented(...)
    sign out                people.sign_out(request)                    the field that takes the cookie away
    a code from a device    people.ask_device(...)                      a page; its answer: people.device_code(...)
    what went wrong         people.problem(request, problem)            a page
    for a revocation desk   people.revoke_session(sid, why)             and revoke_account(id, why)

Requests to the paths of `PATHS` are given to `people.handle`, which gives a response or, for what takes a password's
time, the promise of one (`concurrent.futures.Future`): who serves MUST NOT wait for it in a thread that others need.
A form sent by another site, or from a page that was made for another browser, raises `OAuthError` (403).

Forms need `Origin` or `Sec-Fetch-Site`, which every browser sends; a test client has to send one too.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from interlock.clock import SECOND
from interlock.errors import InterlockError, NotFound
from interlock.issuer.account import PATH as ACCOUNT
from interlock.issuer.account import AccountPage, signed_out
from interlock.issuer.enrolment import Enrolment
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import Asked, Flow, form_target
from interlock.issuer.http import Request, Response
from interlock.issuer.levels import ACR, LEVELS, RESISTANT, answered
from interlock.issuer.means import Answer, Carried, Means
from interlock.issuer.outside_signin import CALLBACK, START, OutsideSignIn
from interlock.issuer.pages import SCRIPT, script_response
from interlock.issuer.sessions import Session
from interlock.issuer.signin import SignIn
from interlock.store.clients import Client, Grant
from interlock.store.signins import SessionRow

if TYPE_CHECKING:
    from interlock.issuer.authorization_request import AuthorizationRequest

log = logging.getLogger("interlock.issuer")

# What `handle` serves, and how it is asked.
PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "/oauth/signin": ("GET",),
    "/oauth/signin/begin": ("GET",),
    START: ("GET",),
    CALLBACK: ("GET",),
    f"{ACCOUNT}/link": ("GET",),
    **dict.fromkeys(
        (
            "/oauth/signin/password",
            "/oauth/signin/code",
            "/oauth/signin/recovery",
            "/oauth/signin/passkey",
            "/oauth/signin/passkey/new",
            "/oauth/signin/new",
            "/oauth/signin/totp",
            "/oauth/signin/done",
        ),
        ("POST",),
    ),
    SCRIPT: ("GET",),
    ACCOUNT: ("GET", "POST"),
    **dict.fromkeys(
        (
            f"{ACCOUNT}/{what}"
            for what in ("signout", "end", "password", "totp", "passkey", "remove", "codes", "unlink")
        ),
        ("POST",),
    ),
}
# What is said of scopes that the file does not explain (OpenID Connect Core 1.0 section 5.4 and 11).
MEANINGS: Final = {
    "openid": "Know who you are",
    "profile": "See your user name",
    "offline_access": "Go on when you are not signed in any more, until you take this back",
}
CONSENT: Final = "/oauth/authorize/consent"
USER_CODE: Final = frozenset("BCDFGHJKLMNPQRSTVWXZ")  # RFC 8628 section 6.1


class People:
    """Those of one issuer. For many threads."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self._signin = SignIn(means)
        self._enrolment = Enrolment(means, self._signin)
        self._outside = OutsideSignIn(means, self._signin)
        self._account = AccountPage(means, self._signin, self._enrolment)

    # -- its own pages

    def handle(self, request: Request) -> Answer:
        """One of `PATHS`. Raises `OAuthError` for what only an attacker or an old page sends."""
        if request.path == SCRIPT:
            return script_response()
        try:
            return self._handle(request)
        except OAuthError:
            raise
        except InterlockError as problem:
            log.error("%s: %s", request.path, problem)
            return self._signin.unavailable()

    def _handle(self, request: Request) -> Answer:
        match request.path:
            case "/oauth/signin":
                return self._signin.page(request)
            case "/oauth/signin/begin":
                return self._enrolment.invited(request)
            case path if path == START:
                return self._outside.start(request)
            case path if path == CALLBACK:
                return self._outside.come_back(request)
            case "/oauth/signin/password":
                return self._signin.password(request)
            case "/oauth/signin/code":
                return self._signin.code(request)
            case "/oauth/signin/recovery":
                return self._signin.recovery(request)
            case "/oauth/signin/passkey":
                return self._signin.passkey(request)
            case "/oauth/signin/passkey/new":
                return self._enrolment.passkey(request)
            case "/oauth/signin/new":
                return self._enrolment.new_password(request)
            case "/oauth/signin/totp":
                return self._enrolment.app(request)
            case "/oauth/signin/done":
                return self._enrolment.kept(request)
            case path if path == ACCOUNT or path.startswith(f"{ACCOUNT}/"):
                return self._account.handle(request)
            case _:
                raise OAuthError("invalid_request", "there is nothing here", status=404)

    # -- who it is

    @property
    def acr_values(self) -> tuple[str, ...]:
        """What can be reached here."""
        return tuple(name for level, name in ACR.items() if level < RESISTANT or self.means.party.usable)

    def session(self, request: Request) -> Session | None:
        """Who is signed in at the browser that sends the request."""
        return self.means.sessions.present(request)

    def meets(self, session: Session, asked: Asked, now: int) -> bool:
        """Whether somebody is signed in as it is asked for (and as the file asks)."""
        if LEVELS.get(session.acr, 0) < self.means.needed(asked):
            return False
        if asked.login and session.signed_in < asked.since:
            return False
        # In seconds as the client sees them; one that signed in after it was asked for is recent enough.
        return (
            asked.max_age is None
            or now // SECOND - session.auth_time <= asked.max_age
            or (0 < asked.since <= session.signed_in)
        )

    def sign_in(self, request: Request, asked: Asked) -> Response:
        """Have whoever is at the browser sign in; it comes back to where `asked` leads."""
        return self._signin.begin(request, asked)

    def answered(self, session: Session, acr_values: Sequence[str]) -> str:
        """`acr` for a client that asked for these."""
        return answered(session.acr, acr_values)

    # -- consent

    def ask_consent(
        self,
        request: Request,
        session: Session,
        flow: str,
        client: Client,
        scopes: Sequence[tuple[str, str]],
        asked: AuthorizationRequest,
        *,
        action: str = CONSENT,
        saying: str = "",
    ) -> Response:
        """A page that asks whether the client may have these scopes, each with its meaning."""
        means = self.means
        where = urlsplit(asked.redirect_uri)
        shown = [
            {"meaning": meaning or MEANINGS.get(name, name), "name": name if meaning or name in MEANINGS else ""}
            for name, meaning in scopes
        ]
        return means.pages.show(
            "consent",
            f"Allow {client.client_name}?",
            targets=(form_target(asked.redirect_uri),),
            saying=saying,
            form=Carried(means.forms.token(session.cookie, f"consent {flow}")),
            action=means.path(action),
            flow=flow,
            name=session.account.name,
            scopes=shown,
            details=[_detail(one) for one in asked.details],
            where=where.hostname or (f"the app at {where.scheme}:" if where.scheme else ""),
            unverified=client.self_registered or (client.public and where.scheme != "https"),
        )

    def consented(self, request: Request, session: Session) -> tuple[str, bool]:
        """The flow of a page that was sent back, and whether it was allowed; raises `OAuthError` for a forged one."""
        flow = request.form.get("flow", "")
        fields = self.means.forms.check(request, session.cookie, f"consent {flow}")
        return flow, fields.get("decision") == "allow"

    # -- signing out

    def sign_out(self, request: Request) -> tuple[str, str]:
        """End the session of the browser; gives the field that takes its cookie away."""
        return self.means.sessions.end(request)

    def signed_out(self, request: Request, fields: Sequence[tuple[str, str]]) -> Response:
        """A page that says so."""
        return signed_out(self.means, tuple(fields))

    def ask_sign_out(self, request: Request, session: Session, where: str) -> Response:
        """A page that asks whether to sign out, and go to `where` (empty: nowhere)."""
        means = self.means
        # Sealed, so that the page cannot be made to lead elsewhere.
        sealed = means.flows.seal(Flow(Asked(flow=where, go="signout"), request.now), session.cookie)
        return means.pages.show(
            "signout",
            "Sign out?",
            targets=(form_target(where),) if where else (),
            form=Carried(means.forms.token(session.cookie, "signout"), sealed),
            name=session.account.name,
        )

    def sign_out_confirmed(self, request: Request) -> str:
        """Where to go, of a page that was sent back; raises `OAuthError` for a forged one."""
        session = self.session(request)
        if session is None:
            self.means.forms.check_origin(request)
            return ""
        fields = self.means.forms.check(request, session.cookie, "signout")
        flow = self.means.flows.open(fields.get("t", ""), session.cookie)
        return flow.asked.flow if flow is not None and flow.asked.go == "signout" else ""

    # -- codes of devices (RFC 8628 section 3.3)

    def ask_device(
        self, request: Request, session: Session, action: str, *, code: str = "", error: str = ""
    ) -> Response:
        """A page that asks for the code of a device; its form is sent to `action`, a path of ours."""
        means = self.means
        return means.pages.show(
            "device",
            "Connect a device",
            status=400 if error else 200,
            error=error,
            form=Carried(means.forms.token(session.cookie, "device")),
            action=means.path(action),
            code=code[:32],
        )

    def device_code(self, request: Request, session: Session) -> str:
        """The code that was typed, as it is looked up: capital consonants; raises `OAuthError` for a forged form."""
        fields = self.means.forms.check(request, session.cookie, "device")
        typed = unicodedata.normalize("NFKC", fields.get("user_code", "")[:64]).upper()
        return "".join(letter for letter in typed if letter in USER_CODE)

    # -- how it ended

    def say(self, title: str, line: str) -> Response:
        """A page that says so."""
        return self.means.pages.show("said", title, lines=[line], again="", again_words="", reference="")

    def problem(self, request: Request, problem: OAuthError) -> Response:
        """A page that says what is wrong."""
        said = problem.description[:300]
        lines = [f"{said[:1].upper()}{said[1:]}." if said and not said.endswith(".") else said or "This did not work."]
        return self.means.pages.show(
            "said",
            "This did not work",
            status=problem.status,
            lines=lines,
            again="",
            again_words="",
            reference=request.call,
            fields=problem.fields,
        )

    # -- for tokens

    def profile(self, subject: str, scopes: frozenset[str]) -> dict[str, Any] | None:
        """What is known of somebody, by scope (OpenID Connect Core 1.0 section 5.4); None: nobody who may sign in."""
        try:
            account = self.means.accounts.get(subject)
        except NotFound:
            return None
        if not account.active:
            return None
        return {"preferred_username": account.name} if "profile" in scopes else {}

    def claims(self, grant: Grant) -> dict[str, Any]:
        """The same for an ID token."""
        return self.profile(grant.account, frozenset(grant.scopes)) or {}

    def stands(self, grant: Grant, now: int, *, alive: bool = True) -> bool:
        """Whether who gave this may still sign in, as then, and is signed in, where the grant hangs on a session."""
        try:
            account = self.means.accounts.get(grant.account)
        except NotFound:
            return False
        return account.stands(grant.created, grant.changed) and (
            grant.offline or not grant.session or self.means.sessions.in_use(grant.session, now, alive=alive)
        )

    # -- for operators and revocation

    def sessions(self, now: int, *, account: str | None = None) -> list[SessionRow]:
        """Who is signed in, the oldest first."""
        return self.means.sessions.living(now, account=account)

    def revoke_session(self, sid: str, why: str, now: int) -> bool:
        """End one session; False if it was over."""
        return self.means.sessions.revoke_session(sid, why, now)

    def revoke_account(self, account_id: str, why: str, now: int) -> list[str]:
        """End all sessions of an account; gives their sids."""
        return self.means.sessions.revoke_account(account_id, why, now)

    def tend(self, now: int) -> None:
        """Housekeeping, once a minute or so: what nobody used for too long ends, what is over is dropped."""
        for account in self.means.sessions.left_behind():
            self.means.taken_back(account, "another password")
        self.means.sessions.end_what_is_over(now)
        self.means.signins.sweep(now, window=2 * self.means.lockout.window, kept=86_400 * SECOND)


def _detail(detail: Mapping[str, Any]) -> dict[str, Any]:
    """One of `authorization_details` (RFC 9396), for a person to read: all of it."""
    lines = [f"{name}: {_words(value)}" for name, value in detail.items() if name != "type"]
    return {"kind": str(detail.get("type", "")), "lines": lines}


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value)
