"""What an operation is: its arguments, what is done, in which of control's threads, and whether it shows the record.

An operation that is not a `reading` is not given anything to send rows by, so none can show records by oversight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from interlock.control.desks import Desks
from interlock.control.wire import Peer, Row
from interlock.errors import UsageError
from interlock.model import Principal

Result: TypeAlias = dict[str, Any]
T = TypeVar("T")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No arguments."""


class Lane(Enum):
    """What an operation waits for in a running node, and what may run beside it."""

    CHANGES = auto()  # one after another
    REVOKING = auto()  # waits for no other change: it is as safe beside the node
    QUESTIONS = auto()  # may take long, and changes nothing
    FOLLOWING = auto()  # goes on for as long as somebody watches


class Asker(NamedTuple):
    """Who asks."""

    actor: Principal
    peer: Peer | None = None  # the user of the operating system that `actor` is


class Operation(NamedTuple):
    """Made by `operation` or `reading`."""

    wanted: type[Any]  # what its arguments are
    work: Callable[[Desks, Any, Asker], Result] | None
    show: Callable[[Desks, Any, Asker, Row], Result] | None
    lane: Lane
    changes_clients: bool

    @property
    def shows_records(self) -> bool:
        """Whether it gives what is in records: only to who may read the record."""
        return self.show is not None

    def read(self, arguments: Mapping[str, Any]) -> Any:
        """The arguments as what is `wanted`. Raises `UsageError`."""
        try:
            return msgspec.convert(arguments, self.wanted)
        except msgspec.ValidationError as problem:
            raise UsageError(str(problem)) from None

    def perform(self, desks: Desks, arguments: Mapping[str, Any], asker: Asker, row: Row) -> Result:
        """Raises `InterlockError`. It MUST have been looked at whether they may read, where it `shows_records`."""
        wanted = self.read(arguments)
        if self.show is not None:
            return self.show(desks, wanted, asker, row)
        assert self.work is not None
        return self.work(desks, wanted, asker)


Operations: TypeAlias = Mapping[str, Operation]


def operation(
    wanted: type[T],
    work: Callable[[Desks, T, Asker], Result],
    *,
    lane: Lane = Lane.CHANGES,
    changes_clients: bool = False,
) -> Operation:
    """`changes_clients`: workers may have to hear of the issuer's clients afterwards."""
    return Operation(wanted, work, None, lane, changes_clients)


def reading(
    wanted: type[T], show: Callable[[Desks, T, Asker, Row], Result], *, lane: Lane = Lane.QUESTIONS
) -> Operation:
    """What shows records, by rows or by its result. Everything else of the record is administration, or needs no key.

    `show` MUST put on the record that it was asked, before it reads anything.
    """
    return Operation(wanted, None, show, lane, changes_clients=False)
