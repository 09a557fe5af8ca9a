"""People who sign in at the node's own issuer. Whoever is told of signals hears of each change of a credential."""

from __future__ import annotations

from typing import Final

from interlock.control.credentials import Plain
from interlock.control.desks import Desks
from interlock.control.operations.operation import Asker, Nothing, Operations, Result, operation
from interlock.control.signals.telling import Telling
from interlock.control.users import CreateUser, NamedUser, RemoveFactor, ResetUser, UnlockUser, UserRoles, Withdraw


def _create(desks: Desks, wanted: CreateUser, asker: Asker) -> Result:
    return desks.user_desk.create(wanted, frozenset(desks.config.roles), _acts(desks, asker))


def _list(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.user_desk.list()


def _disable(desks: Desks, wanted: NamedUser, asker: Asker) -> Result:
    acts = _acts(desks, asker)
    return desks.user_desk.disable(wanted, acts, _withdraw(desks, acts))


def _remove(desks: Desks, wanted: NamedUser, asker: Asker) -> Result:
    acts = _acts(desks, asker)
    return desks.user_desk.remove(wanted, acts, _withdraw(desks, acts))


def _enable(desks: Desks, wanted: NamedUser, asker: Asker) -> Result:
    return desks.user_desk.enable(wanted, _acts(desks, asker))


def _unlock(desks: Desks, wanted: UnlockUser, asker: Asker) -> Result:
    return desks.user_desk.unlock(wanted, _acts(desks, asker))


def _reset(desks: Desks, wanted: ResetUser, asker: Asker) -> Result:
    acts = _acts(desks, asker)
    return desks.user_desk.reset(wanted, acts, _withdraw(desks, acts))


def _roles(desks: Desks, wanted: UserRoles, asker: Asker) -> Result:
    acts = _acts(desks, asker)
    return desks.user_desk.roles(wanted, frozenset(desks.config.roles), acts, _withdraw(desks, acts))


def _remove_factor(desks: Desks, wanted: RemoveFactor, asker: Asker) -> Result:
    acts = _acts(desks, asker)
    return desks.user_desk.remove_factor(wanted, acts, _withdraw(desks, acts))


def _acts(desks: Desks, asker: Asker) -> Telling:
    return Telling(desks.acts(asker.actor), desks.outbox, "admin")


def _withdraw(desks: Desks, acts: Telling) -> Withdraw:
    return lambda principal: desks.revocations.principal(Plain(principal), desks.named_credentials(), acts)


USERS: Final[Operations] = {
    "user.create": operation(CreateUser, _create),
    "user.list": operation(Nothing, _list),
    "user.disable": operation(NamedUser, _disable),
    "user.remove": operation(NamedUser, _remove),
    "user.enable": operation(NamedUser, _enable),
    "user.unlock": operation(UnlockUser, _unlock),
    "user.reset": operation(ResetUser, _reset),
    "user.roles": operation(UserRoles, _roles),
    "user.remove-factor": operation(RemoveFactor, _remove_factor),
}
