"""What signing in works with: one of each, made once for an issuer and handed to whoever takes a step."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from interlock.config import OwnIssuer
from interlock.issuer.cookies import Cookies
from interlock.issuer.flows import Asked, Flows
from interlock.issuer.forms import Forms
from interlock.issuer.http import Request, Response
from interlock.issuer.levels import ONE, TWO, asked_level
from interlock.issuer.lockout import Lockout
from interlock.issuer.outside import CALLBACK, Provider, make_client
from interlock.issuer.pages import Pages
from interlock.issuer.passwords import Hasher, Pool
from interlock.issuer.sessions import Ended, Sessions, from_source
from interlock.issuer.webauthn import Passkey, RelyingParty
from interlock.keys import FactorKey
from interlock.model import Event
from interlock.store import State
from interlock.store.accounts import PASSKEY, TOTP, Account, Accounts, Factor
from interlock.store.clients import Clients
from interlock.store.signins import SignIns

Answer = Response | Future[Response]  # a response, or the promise of one that takes a password's time


class Recorder(Protocol):
    """Where it is put on the record; see `interlock.audit.ActRecorder`."""

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        """On disk when this returns; raises `RecordUnavailable`: then it MUST NOT take place."""
        ...

    def note(self, event: Event, details: Mapping[str, Any]) -> str:
        """In the kernel when this returns; for what anybody can cause without having an account."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    """What every form carries; see `forms.py` and `flows.py`."""

    csrf: str
    t: str = ""


class TakenBack(Protocol):
    """Ends what an account has allowed to clients, for good or not; to one client, if it is named."""

    def __call__(self, account: str, why: str, client: str = "", /) -> None: ...


@dataclass(slots=True)
class Means:
    """For many threads. `settings` may be replaced while it is used."""

    settings: OwnIssuer
    key: FactorKey
    record: Recorder
    accounts: Accounts
    signins: SignIns
    sessions: Sessions
    lockout: Lockout
    cookies: Cookies
    forms: Forms
    flows: Flows
    pages: Pages
    party: RelyingParty
    hasher: Hasher
    pool: Pool
    outside: Mapping[str, Provider]  # by name
    waiting: Pool  # for outside providers
    taken_back: TakenBack
    clients: Clients

    @classmethod
    def make(
        cls,
        settings: OwnIssuer,
        state: State,
        key: FactorKey,
        record: Recorder,
        *,
        pool: Pool,
        hasher: Hasher,
        waiting: Pool | None = None,
        ended: Ended = lambda _sid, _why: None,
        taken_back: TakenBack = lambda _account, _why, _client="": None,
    ) -> Means:
        """`pool`, `waiting` and `hasher` outlive a change of the file; `ended` is told of each session that is over."""
        accounts, signins = Accounts(state), SignIns(state)
        cookies, party = Cookies(secure=settings.secure), RelyingParty(settings.url)
        idle, absolute = settings.session.idle, settings.session.absolute
        return cls(
            settings=settings,
            key=key,
            record=record,
            accounts=accounts,
            signins=signins,
            sessions=Sessions(accounts, signins, key, record, cookies, idle=idle, absolute=absolute, ended=ended),
            lockout=Lockout(signins, key),
            cookies=cookies,
            forms=Forms(key, party.origin),
            flows=Flows(key),
            pages=Pages(settings),
            party=party,
            hasher=hasher,
            pool=pool,
            outside={
                name: Provider(name, provider, settings.url + CALLBACK, make_client)
                for name, provider in settings.outside.items()
            },
            waiting=waiting or Pool(at_once=4, name="outside"),
            taken_back=taken_back,
            clients=Clients(state),
        )

    def needed(self, asked: Asked) -> int:
        """The level that a sign-in must reach."""
        wanted = asked_level(asked.acr_values)
        if not self.party.usable:
            wanted = min(wanted, TWO)
        return max(wanted, TWO if self.settings.second_factor == "required" else ONE)

    def path(self, path: str) -> str:
        """A path of ours as browsers know it."""
        return self.settings.path + path

    # -- what is sealed

    def open_password(self, account: Account | None) -> str:
        """The encoded hash; empty: there is none. Nobody's takes as long."""
        if account is None or not account.password:
            self.key.hash("nobody", b"")
            return ""
        return self.key.unwrap(account.password, f"password\0{account.id}").decode("ascii")

    def seal_password(self, account_id: str, encoded: str) -> bytes:
        return self.key.wrap(encoded.encode("ascii"), f"password\0{account_id}")

    def open_factor(self, factor: Factor) -> bytes:
        return self.key.unwrap(factor.sealed, _about(factor.account, factor.id, factor.kind))

    def seal_factor(self, account_id: str, factor_id: str, kind: str, secret: bytes) -> bytes:
        return self.key.wrap(secret, _about(account_id, factor_id, kind))

    def passkeys(self, factors: list[Factor]) -> list[Passkey]:
        return [Passkey.decode(self.open_factor(factor)) for factor in factors if factor.kind == PASSKEY]

    # -- failures

    def failed(self, request: Request, why: str, account: Account | None, reached: frozenset[str]) -> None:
        """On the record: somebody did not get in, and what is locked from now on. Names nobody who is not known."""
        who = {"principal": account.principal} if account is not None else {}
        told = who | from_source(request.source)
        self.record.act(Event.SIGNIN_FAILED, {"why": why, "known": account is not None, **told})
        if reached:
            self.record.act(Event.SIGNIN_LOCKED, {"what": sorted(reached), **told})


def kinds(factors: list[Factor]) -> frozenset[str]:
    """Of `TOTP` and `PASSKEY`."""
    return frozenset(factor.kind for factor in factors) & {TOTP, PASSKEY}


def _about(account_id: str, factor_id: str, kind: str) -> str:
    return f"factor\0{account_id}\0{factor_id}\0{kind}"
