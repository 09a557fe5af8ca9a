"""Whom the issuer tells of signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from interlock.control.desks import Desks
from interlock.control.operations.operation import Asker, Nothing, Operation, Operations, Result, operation
from interlock.control.signals.streams import AddStream, Compliance, NamedStream, SetStatus, StreamDesk
from interlock.model import Recorder

T = TypeVar("T")


def _list(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.streams.list()


def _changing(wanted: type[T], change: Callable[[StreamDesk, T, Recorder], Result]) -> Operation:
    def work(desks: Desks, wanted: T, asker: Asker) -> Result:
        return change(desks.streams, wanted, desks.acts(asker.actor))

    return operation(wanted, work)


SIGNALS: Final[Operations] = {
    "signals.streams": operation(Nothing, _list),
    "signals.add": _changing(AddStream, StreamDesk.add),
    "signals.remove": _changing(NamedStream, StreamDesk.drop),
    "signals.status": _changing(SetStatus, StreamDesk.put_status),
    "signals.verify": _changing(NamedStream, StreamDesk.check),
    "signals.device-compliance": _changing(Compliance, StreamDesk.compliance),
}
