"""What hangs on a credential and is kept in the state: refresh families, sign-in sessions, what clients show.

They are found in the state and nowhere else, so that they die with the control process down, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from interlock.control.credentials import Dead, Doomed
from interlock.errors import NotFound, UsageError
from interlock.model.principal import OWN_AUTHORITY
from interlock.store import State
from interlock.store.accounts import Account, Accounts
from interlock.store.clients import UNMANAGED, Client, Clients, Grant
from interlock.store.signins import SessionRow, SignIns


class Dependant(Protocol):
    """Somebody who keeps what hangs on credentials."""

    def kill(self, doomed: Doomed, now: int, why: str) -> list[Dead]:
        """End whatever hangs on it, on disk when this returns, and say what that was. Raises `StateError`.

        Whoever issues from it MUST date what is issued before it looks whether it is still alive: what was issued
        while it died is then refused with it.
        """
        ...


class Families:
    """Grants of our own issuer, and the secrets and registration access tokens of its clients."""

    def __init__(self, state: State, changed: Callable[[Client], None]) -> None:
        """`changed` is told of each client that is other than before."""
        self._clients = Clients(state)
        self._accounts = Accounts(state)
        self._changed = changed

    def kill(self, doomed: Doomed, now: int, why: str) -> list[Dead]:
        if not doomed.own:
            return []
        dead = [Dead("family", grant.id) for grant in self._grants(doomed, now, why)]
        if doomed.kind == "client":
            self._clients.forget_consents(client_id=doomed.id)
            dead += self._shown(doomed.id, now)
        elif doomed.kind == "principal" and (account := own_account(self._accounts, doomed.id)) is not None:
            self._clients.forget_consents(account=account.id)
        return dead

    def _grants(self, doomed: Doomed, now: int, why: str) -> list[Grant]:
        revoke = self._clients.revoke_grants
        match doomed.kind:
            case "client":
                return revoke(now, why, client_id=doomed.id)
            case "principal":
                return revoke(now, why, principal=doomed.id)
            case "session":
                return revoke(now, why, session=doomed.id)
            case "issuer":
                clients = [client.client_id for client in self._clients.all()]
                return [grant for client in clients for grant in revoke(now, why, client_id=client)]
            case _:
                families = [name for kind, name in doomed.hangs_on if kind == "family"]
                return [grant for family in families for grant in revoke(now, why, id=family)]

    def _shown(self, client_id: str, now: int) -> list[Dead]:
        """What the client shows to be itself is good until now. It can be given another secret, where it has secrets;
        one that registered itself manages its registration no more, which would give it one (RFC 7592 section 2.2).
        """
        ended: list[str] = []

        def end(client: Client) -> Client:
            ended[:] = shown(client, now)
            secrets = tuple(
                one if one.until and one.until <= now else replace(one, until=now) for one in client.secrets
            )
            return replace(client, secrets=secrets, registration=UNMANAGED if client.self_registered else b"")

        try:
            client = self._clients.modify(client_id, end)
        except (NotFound, UsageError):  # gone, or disabled: what it has is good for nothing
            return []
        if ended:
            self._changed(client)
        return [Dead(kind, client_id) for kind in ended]


def shown(client: Client, now: int) -> list[str]:
    """The kinds of what a client has of ours to show, and that is good."""
    found = []
    if any(not one.until or now < one.until for one in client.secrets):
        found.append("client-secret")
    if client.self_registered and client.registration != UNMANAGED:
        found.append("registration-token")
    return found


def own_account(accounts: Accounts, principal: str) -> Account | None:
    """Who of our own people is called so."""
    prefix = f"user:{OWN_AUTHORITY}/"
    return accounts.find(principal.removeprefix(prefix)) if principal.startswith(prefix) else None


class Sessions:
    """Sign-ins of people."""

    def __init__(self, state: State) -> None:
        self._accounts = Accounts(state)
        self._signins = SignIns(state)

    def kill(self, doomed: Doomed, now: int, why: str) -> list[Dead]:
        return [Dead("session", row.sid) for row in self._ended(doomed, now)] if doomed.own else []

    def _ended(self, doomed: Doomed, now: int) -> list[SessionRow]:
        match doomed.kind:
            case "session":
                return self._signins.revoke(now, sid=doomed.id)
            case "principal":
                account = own_account(self._accounts, doomed.id)
                return self._signins.revoke(now, account=account.id) if account is not None else []
            case "issuer":
                sids = [row.sid for row in self._signins.sessions(now)]
                return [row for sid in sids for row in self._signins.revoke(now, sid=sid)]
            case _:
                return []


def dependants(state: State, client_changed: Callable[[Client], None]) -> list[Dependant]:
    """All there are. Sessions first: what is allowed in one is written before it looks whether that stands."""
    return [Sessions(state), Families(state, client_changed)]
