"""Showing what is sealed as it is sealed, to whoever stays and watches. Recorded once, when it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from interlock.audit.feed import Feed
from interlock.audit.filters import Filters
from interlock.audit.joined import Joiner
from interlock.audit.subjects_register import names
from interlock.control.reading import opener
from interlock.errors import InterlockError
from interlock.keys import Keyring
from interlock.model import Event
from interlock.store import Persons, State

if TYPE_CHECKING:
    from interlock.audit import ActRecorder

POLL = 0.02  # seconds between looks
ALIVE = 1.0  # seconds after which the other side hears from us though there is nothing new
AT_ONCE = 200


class Follow(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["calls", "acts"] = "calls"
    filters: Filters = Filters()


def follow(
    wanted: Follow,
    record: Path,
    keyring: Keyring,
    state: State,
    acts: ActRecorder,
    row: Callable[[dict[str, Any]], None],
    stopping: Callable[[], bool],
) -> dict[str, Any]:
    """Give each call once it has ended, or each act, to `row`, from now on and until `stopping`, or `row` raises.

    An empty row has nothing to show: it says that what came before is all for now.
    """
    matches = wanted.filters.compile()
    asked = msgspec.to_builtins(wanted.filters)
    acts.act(Event.RECORD_READ, {"kind": "follow", "of": wanted.kind, **({"filters": asked} if asked else {})})
    problems: dict[str, None] = {}
    feed = Feed(record, opener(keyring))
    try:
        feed.go_to_end()
        joiner = Joiner(feed, lambda: names(Persons(state), keyring), lambda problem: problems.setdefault(str(problem)))
        row({})
        said, count = time.monotonic(), 0
        while not stopping():
            try:
                found = feed.read(AT_ONCE)
                rows = [joined.row for fed in found if (joined := joiner.add(fed)) and joined.kind == wanted.kind]
            except InterlockError as problem:
                return {"count": count, "problems": [*problems, str(problem)]}
            for entry in rows:
                if matches(entry):
                    row(entry)
                    count += 1
            if rows or time.monotonic() - said > ALIVE:
                row({})
                said = time.monotonic()
            if not found:
                time.sleep(POLL)
    finally:
        feed.close()
    return {"count": count, "problems": list(problems)}
