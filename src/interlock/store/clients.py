"""Clients of the authorization server, and the grants that refresh tokens stand for.

A client is kept whole as JSON beside the columns that are searched; secrets are keyed hashes only.
Times are wall nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from interlock.errors import NotFound, StateError, UsageError
from interlock.store.client_rows import ClientRows
from interlock.store.schema import CLIENTS, CONSENTS, GRANTS
from interlock.store.state import State

UNMANAGED = b"\0" * 32  # in place of the hash of a registration access token that was revoked: no token has it
T = TypeVar("T")


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A client secret: its keyed hash, and until when it is good (0: as long as the client is)."""

    hash: bytes
    created: int
    until: int = 0

    def __repr__(self) -> str:
        return f"Secret(created={self.created})"


class Client(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One client, with the names of RFC 7591 where it has them.

    A client that authenticates by nothing (`none`) is a public one.
    """

    client_id: str
    client_name: str
    principal: str  # kind:interlock/name: who its own tokens are of
    created: int
    token_endpoint_auth_method: str = "client_secret_basic"  # noqa: S105 - the name of a method
    secrets: tuple[Secret, ...] = ()
    grant_types: tuple[str, ...] = ("client_credentials",)
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()  # of its own tokens
    scopes: tuple[str, ...] = ()  # it may ask for
    resources: tuple[str, ...] = ()  # of the file's, it may ask for; empty: the node's own
    jwks: dict[str, Any] | None = None  # its public keys
    jwks_uri: str = ""
    certificates: tuple[str, ...] = ()  # its self-signed ones (RFC 8705 section 2.2), PEM
    tls_client_auth_subject_dn: str = ""
    tls_client_auth_san_dns: str = ""
    tls_client_auth_san_uri: str = ""
    tls_client_certificate_bound_access_tokens: bool = False
    dpop_bound_access_tokens: bool = False
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    request_object_signing_alg: str = ""
    token_endpoint_auth_signing_alg: str = ""
    opaque: bool = False  # its access tokens are references
    first_party: bool = False  # people are not asked for their consent
    backchannel_logout_uri: str = ""
    client_uri: str = ""
    registration: bytes = b""  # keyed hash of its registration access token (RFC 7592), or `UNMANAGED`
    disabled: int = 0  # when it was; 0: it was not
    acts: tuple[str, ...] = ()  # the record's ids of what was done to it
    authorization_details_types: tuple[str, ...] = ()  # of the file's, it may ask for (RFC 9396 section 10)
    assertion_issuer: str = ""  # whose word stands for its credential (RFC 7523 section 2.1)
    assertion_subjects: tuple[str, ...] = ()  # whom it then speaks of: `sub`, exactly

    @property
    def method(self) -> str:
        """How it authenticates (RFC 7591 section 2)."""
        return self.token_endpoint_auth_method

    @property
    def public(self) -> bool:
        return self.method == "none"

    @property
    def self_registered(self) -> bool:
        """Whether nobody here has looked at what it says of itself."""
        return bool(self.registration)


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What somebody has allowed a client once: the family of refresh tokens that follow each other."""

    id: str
    client_id: str
    principal: str
    created: int
    expires: int  # unless it is used before
    current: bytes  # keyed hash of the one refresh token that is good
    subject: str = ""  # `sub`
    account: str = ""  # whose, where a person is behind it
    changed: int = 0  # when the password was under which it was allowed; with another one it is over
    scopes: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    details: tuple[dict[str, Any], ...] = ()  # authorization_details (RFC 9396)
    session: str = ""  # `sid`
    auth_time: int = 0  # seconds
    acr: str = ""
    amr: tuple[str, ...] = ()
    offline: bool = False  # it goes on when the session has ended
    nonce: str = ""
    jkt: bytes = b""  # of the DPoP key it is bound to
    certificate: bytes = b""  # SHA-256 of the certificate it is bound to
    revoked: int = 0
    why: str = ""

    def usable(self, now: int) -> bool:
        return not self.revoked and now < self.expires


_encode = msgspec.json.Encoder().encode
_client = msgspec.json.Decoder(Client).decode
_grant = msgspec.json.Decoder(Grant).decode
_names = msgspec.json.Decoder(frozenset[str]).decode


class Clients:
    """The tables of clients and grants, over an opened state."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def rows(self) -> ClientRows:
        """The clients as they stand, for who looks at them often."""
        return self._state.client_rows

    def all(self) -> list[Client]:
        """Every client, disabled ones too, the oldest first."""
        with self._state.reading() as connection:
            rows = connection.execute(select(CLIENTS.c.data).order_by(CLIENTS.c.created, CLIENTS.c.id)).all()
        return [_read(_client, row.data, "client") for row in rows]

    def get(self, client_id: str) -> Client:
        """One client; `NotFound`."""
        with self._state.reading() as connection:
            return _find(connection, client_id)

    def add(self, client: Client) -> None:
        """Keep a new client; `UsageError` if its id is taken."""
        with self._state.writing() as connection:
            connection.execute(insert(CLIENTS), [_client_values(client)])

    def change(self, client_id: str, **fields: Any) -> Client:
        """Change a client and give it as it is now; `NotFound`, or `UsageError` for one that is disabled."""
        return self.modify(client_id, lambda client: msgspec.structs.replace(client, **fields))

    def modify(self, client_id: str, change: Callable[[Client], Client]) -> Client:
        """The same, for what depends on how the client is now: others may be changing it, too."""
        with self._state.writing() as connection:
            client = _find(connection, client_id)
            if client.disabled:
                raise UsageError(f"client {client_id} is disabled")
            client = change(client)
            connection.execute(update(CLIENTS).where(CLIENTS.c.id == client_id).values(_client_values(client)))
            return client

    def remove(self, client_id: str) -> None:
        """Forget a client that registered itself and went (RFC 7592 section 2.3)."""
        with self._state.writing() as connection:
            connection.execute(delete(CLIENTS).where(CLIENTS.c.id == client_id))

    # -- grants

    def add_grant(self, grant: Grant) -> None:
        with self._state.writing() as connection:
            connection.execute(insert(GRANTS), [_grant_values(grant)])

    def grant(self, grant_id: str) -> Grant | None:
        with self._state.reading() as connection:
            row = connection.execute(select(GRANTS.c.data).where(GRANTS.c.id == grant_id)).one_or_none()
        return None if row is None else _read(_grant, row.data, "grant")

    def renew_grant(self, grant: Grant, former: bytes) -> bool:
        """Put the next refresh token in place of `former`; False if it was replaced or revoked meanwhile."""
        with self._state.writing() as connection:
            done = connection.execute(
                update(GRANTS)
                .where(GRANTS.c.id == grant.id, GRANTS.c.current == former, GRANTS.c.revoked == 0)
                .values(_grant_values(grant))
            )
            return bool(done.rowcount)

    def revoke_grants(self, now: int, why: str, **where: str) -> list[Grant]:
        """Revoke the living grants of a client, principal, session or account, or the one of an `id`; gives them."""
        columns = {name: GRANTS.c[name] for name in ("id", "client_id", "principal", "session", "account")}
        conditions = [columns[name] == value for name, value in where.items()]
        if not conditions:
            raise StateError("which grants are to be revoked was not said")
        with self._state.writing() as connection:
            rows = connection.execute(
                select(GRANTS.c.data).where(GRANTS.c.revoked == 0, GRANTS.c.expires > now, *conditions)
            ).all()
            revoked = [msgspec.structs.replace(_read(_grant, row.data, "grant"), revoked=now, why=why) for row in rows]
            for grant in revoked:
                connection.execute(update(GRANTS).where(GRANTS.c.id == grant.id).values(_grant_values(grant)))
            return revoked

    def remove_grant(self, grant_id: str) -> None:
        """Forget a grant that nobody was told of."""
        with self._state.writing() as connection:
            connection.execute(delete(GRANTS).where(GRANTS.c.id == grant_id))

    def of_session(self, session: str) -> list[Grant]:
        """All grants that were given under a session and are still kept, living or not."""
        query = select(GRANTS.c.data).where(GRANTS.c.session == session).order_by(GRANTS.c.id)
        with self._state.reading() as connection:
            return [_read(_grant, row.data, "grant") for row in connection.execute(query)]

    def living_grants(self, now: int, **where: str) -> list[Grant]:
        """Grants that could still be used, of a client, principal, session or account."""
        conditions = [GRANTS.c[name] == value for name, value in where.items()]
        with self._state.reading() as connection:
            rows = connection.execute(
                select(GRANTS.c.data)
                .where(GRANTS.c.revoked == 0, GRANTS.c.expires > now, *conditions)
                .order_by(GRANTS.c.id)
            ).all()
        return [_read(_grant, row.data, "grant") for row in rows]

    # -- what people allowed for good

    def consent(self, account: str, client_id: str) -> tuple[frozenset[str], frozenset[str]]:
        """The scopes and the APIs that somebody allowed a client; empty: nothing."""
        query = select(CONSENTS.c.scopes, CONSENTS.c.audience).where(
            CONSENTS.c.account == account, CONSENTS.c.client_id == client_id
        )
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return frozenset(), frozenset()
        return _read(_names, row.scopes, "consent"), _read(_names, row.audience, "consent")

    def allow(self, account: str, client_id: str, scopes: frozenset[str], audience: frozenset[str], now: int) -> None:
        """Remember it, in place of what was allowed before."""
        values = {
            "scopes": _encode(sorted(scopes)).decode(),
            "audience": _encode(sorted(audience)).decode(),
            "given": now,
        }
        statement = upsert(CONSENTS).values(account=account, client_id=client_id, **values)
        with self._state.writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=[CONSENTS.c.account, CONSENTS.c.client_id], set_=values)
            )

    def allowed_by(self, account: str, now: int) -> list[tuple[str, int]]:
        """Clients that somebody has allowed something which lasts, each with since when; the oldest first."""
        query = select(CONSENTS.c.client_id, CONSENTS.c.given).where(CONSENTS.c.account == account)
        with self._state.reading() as connection:
            found = {row.client_id: int(row.given) for row in connection.execute(query)}
        for grant in self.living_grants(now, account=account):
            found[grant.client_id] = min(grant.created, found.get(grant.client_id, grant.created))
        return sorted(found.items(), key=lambda one: (one[1], one[0]))

    def forget_consents(self, **where: str) -> int:
        """Forget what an `account` allowed, or what a `client_id` was allowed, or both; gives how many."""
        conditions = [CONSENTS.c[name] == value for name, value in where.items()]
        if not conditions:
            raise StateError("whose consent is to be forgotten was not said")
        with self._state.writing() as connection:
            return int(connection.execute(delete(CONSENTS).where(*conditions)).rowcount)

    def forget_grants(self, before: int) -> int:
        """Drop grants that could not be used any more at `before`; gives how many."""
        with self._state.writing() as connection:
            done = connection.execute(delete(GRANTS).where(GRANTS.c.expires <= before))
            return int(done.rowcount)


def read_client(row: str) -> Client:
    """The client of a row; `StateError` if it is damaged."""
    return _read(_client, row, "client")


def _find(connection: Connection, client_id: str) -> Client:
    row = connection.execute(select(CLIENTS.c.data).where(CLIENTS.c.id == client_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no client {client_id!r}")
    return _read(_client, row.data, "client")


def _read(decode: Callable[[str], T], data: str, what: str) -> T:
    try:
        return decode(data)
    except msgspec.MsgspecError as error:
        raise StateError(f"a {what} in the state database is damaged: {error}") from error


def _client_values(client: Client) -> dict[str, Any]:
    return {
        "id": client.client_id,
        "name": client.client_name,
        "principal": client.principal,
        "created": client.created,
        "disabled": client.disabled,
        "data": _encode(client).decode(),
    }


def _grant_values(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "client_id": grant.client_id,
        "principal": grant.principal,
        "account": grant.account,
        "session": grant.session,
        "current": grant.current,
        "expires": grant.expires,
        "revoked": grant.revoked,
        "data": _encode(grant).decode(),
    }
