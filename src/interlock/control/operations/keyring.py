"""The node's own keys."""

from __future__ import annotations

from typing import Final

from interlock.control.desks import Desks
from interlock.control.keyring import Custodian, Destroyed, Turn
from interlock.control.operations.operation import Asker, Nothing, Operations, Result, operation


def _list(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.keyring_desk.inventory()


def _rotate(desks: Desks, wanted: Turn, asker: Asker) -> Result:
    return desks.keyring_desk.rotate(wanted, desks.config, desks.acts(asker.actor), desks.keys_turned)


def _custodian(desks: Desks, wanted: Custodian, asker: Asker) -> Result:
    return desks.keyring_desk.custodian(wanted, desks.acts(asker.actor))


def _destroyed(desks: Desks, wanted: Destroyed, asker: Asker) -> Result:
    return desks.keyring_desk.destroyed(wanted, desks.acts(asker.actor))


KEYRING: Final[Operations] = {
    "keyring.list": operation(Nothing, _list),
    "keyring.rotate": operation(Turn, _rotate),
    "keyring.custodian": operation(Custodian, _custodian),
    "keyring.destroyed": operation(Destroyed, _destroyed),
}
