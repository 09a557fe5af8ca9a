"""All that can be asked of a node by its sockets or beside it, by name; each group stands beside its desks' words."""

from __future__ import annotations

from typing import Final

from interlock.control.operations.clients import CLIENTS
from interlock.control.operations.keyring import KEYRING
from interlock.control.operations.keys import KEYS
from interlock.control.operations.node import NODE
from interlock.control.operations.operation import Asker, Lane, Operation, Operations
from interlock.control.operations.record import RECORD
from interlock.control.operations.revoking import REVOKING
from interlock.control.operations.signals import SIGNALS
from interlock.control.operations.users import USERS

__all__ = ["OPERATIONS", "READS", "Asker", "Lane", "Operation", "Operations"]

OPERATIONS: Final[Operations] = {
    **KEYS,
    **CLIENTS,
    **USERS,
    **REVOKING,
    **RECORD,
    **KEYRING,
    **SIGNALS,
    **NODE,
}

# What shows what is in records: for who may read the record, and for nobody else.
READS: Final = frozenset(name for name, one in OPERATIONS.items() if one.shows_records)
