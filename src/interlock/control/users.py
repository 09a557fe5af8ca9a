"""People who sign in at the node's own issuer, for operators. On the record first, as every act.

A new person is given a link that is good once and for a while, and chooses a password with it; nobody else ever knows
it. A password that an operator sets is good for choosing another one only.

Whatever takes something away from a person (disabling, other roles, a reset, removing a factor) also ends the
sessions and refuses the tokens that were given out before: they say what is not so any more.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from interlock.clock import SECOND, Clock
from interlock.control.status import rfc3339
from interlock.errors import NotFound, UsageError
from interlock.issuer.lockout import Lockout
from interlock.issuer.names import canonical
from interlock.issuer.passwords import Hasher, PasswordUnfit, check
from interlock.keys import FactorKey
from interlock.model import Event, Recorder
from interlock.store import State
from interlock.store.accounts import ACTIVE, DISABLED, Account, Accounts, Factor
from interlock.store.signins import SignIns

BEGIN: Final = "/oauth/signin/begin?code="
INVITED: Final = 24 * 3600 * SECOND
LONGEST: Final = 7 * 86_400 * SECOND
SHORTEST: Final = 60 * SECOND
Withdraw = Callable[[str], object]  # ends the sessions and refuses the tokens of a principal


class CreateUser(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    roles: list[str] = []
    password: str = ""  # empty: a link is given out
    expires_ns: int = INVITED  # of the link, from now

    def __repr__(self) -> str:
        return f"CreateUser(name={self.name!r})"


class ResetUser(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str = ""
    expires_ns: int = INVITED

    def __repr__(self) -> str:
        return f"ResetUser(name={self.name!r})"


class NamedUser(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class UnlockUser(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    address: str = ""  # from which nothing is tried either


class UserRoles(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    roles: list[str]


class RemoveFactor(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    factor: str = ""  # its id; empty: all


class UserDesk:
    """The people of one node."""

    def __init__(
        self,
        state: State,
        key: Callable[[], FactorKey],
        clock: Clock,
        url: Callable[[], str],
        *,
        hasher: Callable[[], Hasher] = Hasher,
    ) -> None:
        """`key` and `hasher` are asked for where they are needed; `url()` is the issuer's."""
        self._state = state
        self._accounts = Accounts(state)
        self._signins = SignIns(state)
        self._key = key
        self._clock = clock
        self._url = url
        self._hasher = hasher

    # -- making and showing

    def create(self, wanted: CreateUser, roles: frozenset[str], acts: Recorder) -> dict[str, Any]:
        """Make an account; `roles`: those the file knows. Gives the link, once."""
        self._url()
        name = canonical(wanted.name)
        if name is None:
            raise UsageError(
                f"{wanted.name!r} is no user name: up to 64 of a-z 0-9 . _ @ + -, the first a letter or digit"
            )
        if self._accounts.find(name) is not None:
            raise UsageError(f"there is a user {name!r} already")
        given = _known(wanted.roles, roles)
        key, now = self._key(), self._clock.wall()
        account = Account(f"usr-{secrets.token_hex(10)}", name, given, now, key.id)
        fields, shown = self._way_in(account, wanted.password, wanted.expires_ns, key)
        act = acts.act(Event.USER_CREATE, {"principal": account.principal, "roles": list(given)})
        account = replace(account, acts=(act,), **fields)
        self._accounts.add(account)
        return {**self._described(account, []), **shown}

    def list(self) -> dict[str, Any]:
        """Everybody, without anything secret."""
        factors = self._accounts.factors_of_all()
        return {"users": [self._described(one, factors.get(one.id, [])) for one in self._accounts.all()]}

    # -- changes

    def disable(self, wanted: NamedUser, acts: Recorder, withdraw: Withdraw) -> dict[str, Any]:
        """Nobody signs in as this person, and nothing that was given out before is taken."""
        account = self._named(wanted.name)
        act = acts.act(Event.USER_DISABLE, {"principal": account.principal})
        try:
            account = self._accounts.change(account.id, act=act, state=DISABLED, invitation=b"", invited_until=0)
        finally:
            withdraw(account.principal)  # also if the state is broken: the workers refuse all the same
        return self._described(account)

    def enable(self, wanted: NamedUser, acts: Recorder) -> dict[str, Any]:
        account = self._named(wanted.name)
        act = acts.act(Event.USER_ENABLE, {"principal": account.principal})
        self._signins.revoke(self._clock.wall(), account=account.id)  # whatever was signed in before is over
        return self._described(self._accounts.change(account.id, act=act, state=ACTIVE))

    def remove(self, wanted: NamedUser, acts: Recorder, withdraw: Withdraw) -> dict[str, Any]:
        """Delete the account and all that the state has of this person (GDPR article 17); the record keeps what it has
        until it is erased there. In this order: nobody signs in meanwhile, and what fails can be asked for again."""
        account = self._named(wanted.name)
        act = acts.act(Event.USER_REMOVE, {"principal": account.principal})
        try:
            self._accounts.change(account.id, act=act, state=DISABLED, invitation=b"", invited_until=0)
        finally:
            withdraw(account.principal)
        self._lockout().clear(account.id)
        self._accounts.remove(account.id)
        # Where the name stands in what outlives the account: revoked API keys, the mark that refuses its tokens.
        self._state.forget(account.principal, f"service:interlock/removed-{secrets.token_hex(8)}", self._clock.wall())
        return {"name": account.name, "id": account.id, "principal": account.principal, "state": "removed", "act": act}

    def unlock(self, wanted: UnlockUser, acts: Recorder) -> dict[str, Any]:
        """Failures of before count no more, for this person and, if one is named, from this address."""
        account = self._named(wanted.name)
        told = {"principal": account.principal}
        if wanted.address:
            told["subject"] = f"source:{wanted.address}"
        acts.act(Event.USER_UNLOCK, told)
        self._lockout().clear(account.id, address=wanted.address)
        return self._described(account)

    def roles(self, wanted: UserRoles, roles: frozenset[str], acts: Recorder, withdraw: Withdraw) -> dict[str, Any]:
        """These in place of those there were."""
        account = self._named(wanted.name)
        given = _known(wanted.roles, roles)
        told = {"principal": account.principal, "roles": list(given), "former": list(account.roles)}
        act = acts.act(Event.USER_CHANGE, told)
        account = self._accounts.change(account.id, act=act, roles=given)
        withdraw(account.principal)
        return self._described(account)

    def reset(self, wanted: ResetUser, acts: Recorder, withdraw: Withdraw) -> dict[str, Any]:
        """The password is good no more; gives a link, once. A second factor stays, and is asked for first."""
        self._url()
        account = self._named(wanted.name)
        fields, shown = self._way_in(account, wanted.password, wanted.expires_ns, self._key())
        told = {"principal": account.principal, "what": "password", "invited": not wanted.password}
        act = acts.act(Event.USER_CHANGE, told)
        changed = max(self._clock.wall(), account.changed + 1)
        account = self._accounts.change(account.id, act=act, **fields, changed=changed)
        withdraw(account.principal)
        return {**self._described(account), **shown}

    def remove_factor(self, wanted: RemoveFactor, acts: Recorder, withdraw: Withdraw) -> dict[str, Any]:
        """For who has lost it. Without its name all are removed, and the recovery codes with them."""
        account = self._named(wanted.name)
        factors = self._accounts.factors(account.id)
        doomed = [factor for factor in factors if wanted.factor in ("", factor.id)]
        if not doomed:
            what = f"no factor {wanted.factor!r}" if wanted.factor else "no factor"
            raise NotFound(f"{account.name} has {what}")
        for factor in doomed:
            told = {"principal": account.principal, "factor": factor.id, "kind": factor.kind}
            acts.act(Event.FACTOR_REMOVE, told)
            self._accounts.remove_factor(account.id, factor.id)
        withdraw(account.principal)
        return {**self._described(account), "removed": [factor.id for factor in doomed]}

    # --

    def _way_in(
        self, account: Account, password: str, expires_ns: int, key: FactorKey
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of the account, and what is shown to the operator."""
        if password:
            try:
                made = check(password, account.name, alone=True)
            except PasswordUnfit as unfit:
                raise UsageError(str(unfit)) from None
            encoded = self._hasher().hash(made)
            sealed = key.wrap(encoded.encode("ascii"), f"password\0{account.id}")
            fields = {"password": sealed, "key": key.id, "must_change": True, "invitation": b"", "invited_until": 0}
            return fields, {}
        if not SHORTEST <= expires_ns <= LONGEST:
            raise UsageError("a link is good for a duration from 1m to 7d, such as 24h")
        code = secrets.token_urlsafe(32)
        until = self._clock.wall() + expires_ns
        fields = {
            "password": b"",
            "must_change": False,
            "invitation": key.hash("invitation", code.encode()),
            "invited_until": until,
        }
        return fields, {"link": self._url() + BEGIN + code, "link_expires": rfc3339(until)}

    def _named(self, name: str) -> Account:
        account = self._accounts.find(canonical(name) or name)
        if account is None:
            raise NotFound(f"there is no user {name!r}")
        return account

    def _lockout(self) -> Lockout:
        return Lockout(self._signins, self._key())

    def _described(self, account: Account, factors: Sequence[Factor] | None = None) -> dict[str, Any]:
        """A person for people and programs."""
        now = self._clock.wall()
        if factors is None:
            factors = self._accounts.factors(account.id)
        locked = self._lockout().locked_until(account.id, now)
        state = account.state
        if account.active and locked:
            state = "locked"
        elif account.active and account.invited_until > now:
            state = "invited"
        return {
            "name": account.name,
            "id": account.id,
            "principal": account.principal,
            "roles": list(account.roles),
            "state": state,
            "locked_until": rfc3339(locked) if locked else None,
            "must_change": account.must_change,
            "factors": [
                {"id": one.id, "kind": one.kind, "used": rfc3339(one.used) if one.used else None} for one in factors
            ],
            "sessions": len(self._signins.sessions(now, account=account.id)),
            "created": rfc3339(account.created),
        }


def _known(wanted: list[str], roles: frozenset[str]) -> tuple[str, ...]:
    for role in wanted:
        if role not in roles:
            known = ", ".join(sorted(roles)) or "none"
            raise UsageError(f"there is no role {role!r} in the file (roles: {known})")
    return tuple(dict.fromkeys(wanted))
