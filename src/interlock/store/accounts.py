"""People who sign in, and what they prove themselves with.

Nothing here can be read or tried without the key `factors`, and nothing here opens it: secrets come sealed or as
keyed hashes. What is good once is taken in the transaction that looks at it, so that two who bring it at the same
moment are not both let in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from interlock.errors import NotFound, StateError, UsageError
from interlock.store.schema import ACCOUNTS, CONSENTS, FACTORS, GRANTS, LINKS, RECOVERY_CODES, SESSIONS
from interlock.store.state import State

ACTIVE, DISABLED = "active", "disabled"
TOTP, PASSKEY = "totp", "passkey"

_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode


@dataclass(frozen=True, slots=True)
class Account:
    """One person. Times are wall nanoseconds."""

    id: str
    name: str  # canonical
    roles: tuple[str, ...]
    created: int
    key: str  # the factor key of `password`
    state: str = ACTIVE
    password: bytes = field(default=b"", repr=False)  # sealed; empty: there is none
    changed: int = 0  # when the password was
    must_change: bool = False  # the password is good for choosing another one only
    invitation: bytes = field(default=b"", repr=False)  # keyed hash of the code to begin with; empty: there is none
    invited_until: int = 0
    acts: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        return self.state == ACTIVE

    @property
    def principal(self) -> str:
        return f"user:interlock/{self.name}"

    def stands(self, created: int, changed: int) -> bool:
        """Whether what was allowed at this time, under the password of that, holds: not after another one was chosen.

        `changed` 0: it is from before that was kept.
        """
        return self.active and (changed == self.changed if changed else created >= self.changed)


@dataclass(frozen=True, slots=True)
class Factor:
    """Something to sign in with besides the password."""

    id: str
    account: str
    kind: str  # TOTP, PASSKEY
    label: str
    created: int
    key: str  # the factor key of `sealed`
    sealed: bytes = field(repr=False)
    lookup: bytes = field(repr=False)  # keyed hash; of a passkey's credential id, otherwise of the factor's
    used: int = 0
    step: int = 0  # TOTP: the last step accepted; passkey: its counter


class Accounts:
    """Over an opened `State`; every change is one transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    # -- accounts

    def all(self) -> list[Account]:
        """Everybody, disabled ones too, by name."""
        with self._state.reading() as connection:
            return [_account(row) for row in connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.name))]

    def get(self, account_id: str) -> Account:
        """`NotFound`."""
        with self._state.reading() as connection:
            return _found(connection, account_id)

    def find(self, name: str) -> Account | None:
        """By canonical name."""
        with self._state.reading() as connection:
            row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name == name)).one_or_none()
            return None if row is None else _account(row)

    def add(self, account: Account) -> None:
        """`UsageError` if the name is taken."""
        with self._state.writing() as connection:
            if connection.execute(select(ACCOUNTS.c.id).where(ACCOUNTS.c.name == account.name)).first():
                raise UsageError(f"there is a user {account.name!r} already")
            connection.execute(insert(ACCOUNTS), [_values(account)])

    def change(self, account_id: str, *, act: str = "", **fields: Any) -> Account:
        """Change an account and give it as it is now; `NotFound`."""
        with self._state.writing() as connection:
            account = _changed(_found(connection, account_id), act, fields)
            _store(connection, account)
            return account

    def invited(self, invitation: bytes, now: int) -> Account | None:
        """Whose code this is the keyed hash of, if it is still good."""
        query = select(ACCOUNTS).where(ACCOUNTS.c.invitation == invitation, ACCOUNTS.c.invited_until > now)
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none() if invitation else None
            return None if row is None else _account(row)

    def choose_password(
        self, account: Account, sealed: bytes, key: str, now: int, *, invitation: bytes = b"", act: str = ""
    ) -> bool:
        """Put another password in place, with which an invitation is used up.

        False if the password or the invitation that entitled to this is not the present one any more.
        """
        with self._state.writing() as connection:
            found = _found(connection, account.id)
            entitled = (
                found.invitation == invitation and found.invited_until > now
                if invitation
                else found.changed == account.changed
            )
            if not entitled or not found.active:
                return False
            fields = {
                "password": sealed,
                "key": key,
                "changed": max(now, found.changed + 1),
                "must_change": False,
                "invitation": b"",
                "invited_until": 0,
            }
            _store(connection, _changed(found, act, fields))
            return True

    def rehash(self, account: Account, sealed: bytes, key: str) -> None:
        """The same password hashed anew; nothing happens if it was changed meanwhile."""
        with self._state.writing() as connection:
            connection.execute(
                update(ACCOUNTS)
                .where(ACCOUNTS.c.id == account.id, ACCOUNTS.c.changed == account.changed)
                .values(password=sealed, key=key)
            )

    # -- factors

    def factors(self, account_id: str) -> list[Factor]:
        """The oldest first."""
        query = select(FACTORS).where(FACTORS.c.account == account_id).order_by(FACTORS.c.created, FACTORS.c.id)
        with self._state.reading() as connection:
            return [_factor(row) for row in connection.execute(query)]

    def factors_of_all(self) -> dict[str, list[Factor]]:
        """By account."""
        found: dict[str, list[Factor]] = {}
        with self._state.reading() as connection:
            for row in connection.execute(select(FACTORS).order_by(FACTORS.c.created, FACTORS.c.id)):
                found.setdefault(row.account, []).append(_factor(row))
        return found

    def factor_by(self, lookup: bytes) -> Factor | None:
        with self._state.reading() as connection:
            row = connection.execute(select(FACTORS).where(FACTORS.c.lookup == lookup)).one_or_none()
            return None if row is None else _factor(row)

    def add_factor(self, factor: Factor, *, most: int) -> None:
        """`UsageError` if it is known already, or the account has `most` of its kind."""
        mine = (FACTORS.c.account == factor.account) & (FACTORS.c.kind == factor.kind)
        with self._state.writing() as connection:
            if connection.execute(select(func.count()).select_from(FACTORS).where(mine)).scalar_one() >= most:
                raise UsageError(f"there are {most} of this kind already: remove one first")
            connection.execute(insert(FACTORS), [asdict(factor)])

    def remove_factor(self, account_id: str, factor_id: str, *, keep: int = 0) -> Factor:
        """With the last one also the recovery codes go; `NotFound`, or `UsageError` if fewer than `keep` were left."""
        mine = FACTORS.c.account == account_id
        with self._state.writing() as connection:
            if keep and connection.execute(select(func.count()).select_from(FACTORS).where(mine)).scalar_one() <= keep:
                raise UsageError(f"at least {keep} of them stay")
            row = connection.execute(select(FACTORS).where(mine, FACTORS.c.id == factor_id)).one_or_none()
            if row is None:
                raise NotFound(f"there is no factor {factor_id!r}")
            connection.execute(delete(FACTORS).where(FACTORS.c.id == factor_id))
            if not connection.execute(select(FACTORS.c.id).where(mine)).first():
                connection.execute(delete(RECOVERY_CODES).where(RECOVERY_CODES.c.account == account_id))
            return _factor(row)

    def take_step(self, factor_id: str, step: int, now: int) -> bool:
        """Accept a step of TOTP, once, and none before it; False if it was (RFC 6238 section 5.2)."""
        return self._forward(factor_id, FACTORS.c.step < step, step, now)

    def note_use(self, factor_id: str, count: int, now: int) -> None:
        """A passkey was used, with this counter, which is kept if it is the highest so far."""
        if not self._forward(factor_id, FACTORS.c.step < count, count, now):
            with self._state.writing() as connection:
                connection.execute(update(FACTORS).where(FACTORS.c.id == factor_id).values(used=now))

    def _forward(self, factor_id: str, condition: Any, step: int, now: int) -> bool:
        change = update(FACTORS).where(FACTORS.c.id == factor_id, condition).values(step=step, used=now)
        with self._state.writing() as connection:
            return bool(connection.execute(change).rowcount)

    # -- recovery codes

    def set_recovery(self, account_id: str, hashes: Iterable[bytes], now: int) -> None:
        """These in place of all there were."""
        rows = [{"hash": one, "account": account_id, "created": now} for one in hashes]
        with self._state.writing() as connection:
            connection.execute(delete(RECOVERY_CODES).where(RECOVERY_CODES.c.account == account_id))
            connection.execute(insert(RECOVERY_CODES), rows)

    def take_recovery(self, account_id: str, code: bytes) -> bool:
        """Use one up; False if there is none such."""
        mine = (RECOVERY_CODES.c.hash == code) & (RECOVERY_CODES.c.account == account_id)
        with self._state.writing() as connection:
            return bool(connection.execute(delete(RECOVERY_CODES).where(mine)).rowcount)

    def recovery_left(self, account_id: str) -> int:
        count = select(func.count()).select_from(RECOVERY_CODES).where(RECOVERY_CODES.c.account == account_id)
        with self._state.reading() as connection:
            return int(connection.execute(count).scalar_one())

    # -- outside identities

    def linked(self, identity: bytes) -> Account | None:
        """Whose outside identity this is the keyed hash of."""
        query = select(ACCOUNTS).join(LINKS, LINKS.c.account == ACCOUNTS.c.id).where(LINKS.c.hash == identity)
        with self._state.reading() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else _account(row)

    def link(self, account_id: str, provider: str, identity: bytes, now: int) -> None:
        """`UsageError` if it is somebody's already."""
        values = {"hash": identity, "account": account_id, "provider": provider, "created": now}
        with self._state.writing() as connection:
            connection.execute(insert(LINKS), [values])

    def unlink(self, account_id: str, provider: str) -> bool:
        mine = (LINKS.c.account == account_id) & (LINKS.c.provider == provider)
        with self._state.writing() as connection:
            return bool(connection.execute(delete(LINKS).where(mine)).rowcount)

    def links(self, account_id: str) -> Sequence[str]:
        """The names of the providers."""
        query = select(LINKS.c.provider).where(LINKS.c.account == account_id).order_by(LINKS.c.provider)
        with self._state.reading() as connection:
            return connection.execute(query).scalars().all()

    # -- erasure

    def remove(self, account_id: str) -> None:
        """Delete an account and all that hangs on it: factors, links, sign-ins, what clients were allowed."""
        with self._state.writing() as connection:
            _strip(connection, account_id)
            connection.execute(delete(ACCOUNTS).where(ACCOUNTS.c.id == account_id))

    def forget(self, principal: str, name: str) -> None:
        """Put `name` in the place of a disabled person's, and delete all that they signed in with and allowed."""
        with self._state.writing() as connection:
            for row in connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.state == DISABLED)).all():
                account = _account(row)
                if account.principal != principal:
                    continue
                _strip(connection, account.id)
                _store(connection, replace(account, name=name, password=b"", invitation=b"", roles=()))


def _strip(connection: Connection, account_id: str) -> None:
    """Delete what hangs on an account: factors, links, sign-ins, what clients were allowed."""
    for table in (FACTORS, RECOVERY_CODES, LINKS, SESSIONS, CONSENTS, GRANTS):
        connection.execute(delete(table).where(table.c.account == account_id))


def _found(connection: Connection, account_id: str) -> Account:
    row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no account {account_id!r}")
    return _account(row)


def _changed(account: Account, act: str, fields: dict[str, Any]) -> Account:
    return replace(account, acts=(*account.acts, act) if act else account.acts, **fields)


def _store(connection: Connection, account: Account) -> None:
    connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account.id).values(_values(account)))


def _account(row: Row[Any]) -> Account:
    columns: dict[str, Any] = dict(row._mapping)
    try:
        for name in ("roles", "acts"):
            columns[name] = _texts(columns[name])
    except msgspec.MsgspecError as error:
        raise StateError(f"account {columns['id']!r} is damaged: {error}") from error
    columns["must_change"] = bool(columns["must_change"])
    return Account(**columns)


def _values(account: Account) -> dict[str, Any]:
    values = asdict(account)
    values["roles"] = _encode(account.roles).decode()
    values["acts"] = _encode(account.acts).decode()
    values["must_change"] = int(account.must_change)
    return values


def _factor(row: Row[Any]) -> Factor:
    columns: dict[str, Any] = dict(row._mapping)
    return Factor(**columns)
