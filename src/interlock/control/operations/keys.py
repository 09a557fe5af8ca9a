"""API keys."""

from __future__ import annotations

from typing import Final

from interlock.audit.subjects_register import names
from interlock.control.desks import Desks
from interlock.control.keys import Create, Named, Rotate
from interlock.control.lastused import LastUsed, last_used
from interlock.control.operations.operation import Asker, Lane, Nothing, Operations, Result, operation
from interlock.control.reading import opener
from interlock.errors import InterlockError
from interlock.model import Event
from interlock.store import Persons


def _create(desks: Desks, wanted: Create, asker: Asker) -> Result:
    return desks.key_desk.create(wanted, frozenset(desks.config.roles), desks.keyring, desks.acts(asker.actor))


def _rotate(desks: Desks, wanted: Rotate, asker: Asker) -> Result:
    return desks.key_desk.rotate(wanted, desks.keyring, desks.acts(asker.actor))


def revoke(desks: Desks, wanted: Named, asker: Asker) -> Result:
    return desks.key_desk.revoke(wanted, desks.acts(asker.actor))


def _list(desks: Desks, _wanted: Nothing, asker: Asker) -> Result:
    return desks.key_desk.list(lambda keys: _last_used(desks, keys, asker))


def _last_used(desks: Desks, keys: list[str], asker: Asker) -> LastUsed:
    """From the record, whose reading is itself recorded; nothing where that cannot be, or they may not read it."""
    if not keys:
        return LastUsed({}, complete=True)
    if not desks.readers.allow(asker.peer):
        return LastUsed({}, complete=False)
    try:
        keyring = desks.keyring
        desks.acts(asker.actor).act(Event.RECORD_READ, {"kind": "last-used"})
        return last_used(desks.paths.record, opener(keyring), keys, names=names(Persons(desks.state), keyring))
    except (InterlockError, OSError):
        return LastUsed({}, complete=False)


KEYS: Final[Operations] = {
    "key.create": operation(Create, _create),
    "key.rotate": operation(Rotate, _rotate),
    "key.revoke": operation(Named, revoke, lane=Lane.REVOKING),
    "key.list": operation(Nothing, _list, lane=Lane.QUESTIONS),
}
