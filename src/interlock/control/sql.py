"""Questions in SQL. Recorded like every reading of the record, with what was asked, before anything is read.

What is quoted in the SQL and names somebody is sealed on the record apart from it, as everywhere: an erasure of
that person takes it out of there, too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from interlock.audit.columns import Builder, Unreadable, answer, need_extra
from interlock.audit.columns.cache import Manifest
from interlock.control.paths import Paths
from interlock.control.reading import Sql, opener
from interlock.errors import NodeError, RecordError, UsageError
from interlock.keys import Keyring, cache_key
from interlock.model import Event
from interlock.store import Persons, State

if TYPE_CHECKING:
    from interlock.audit import ActRecorder

LONGEST = 20_000  # characters
TRIES = 5
PAUSE = 0.1  # seconds
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_SUBJECT = re.compile(r"[a-z][a-z0-9_.-]*:[^\s%*]+")


def ask_sql(
    wanted: Sql,
    paths: Paths,
    keyring: Keyring,
    state: State,
    acts: ActRecorder,
    row: Callable[[dict[str, Any]], None],
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Bring the columns up to date, then answer.

    `row` is given, in this order: any number of `{"done": bytes, "of": bytes}`, `{"columns": [...]}`, and
    `{"row": [...]}` for each. In between it is given `{}`. The result says how many, and what of the record is amiss.
    """
    if not wanted.sql.strip() or len(wanted.sql) > LONGEST:
        raise UsageError(f"the SQL is one SELECT of at most {LONGEST} characters")
    need_extra()
    keyring.open_record_key(keyring.recipient().id)
    acts.act(Event.RECORD_READ, {"kind": "sql", **_apart(wanted.sql)})
    builder = Builder(paths.record, paths.cache, lambda: keyring, lambda: Persons(state), opener(keyring))
    said = 0

    def told(entry: dict[str, Any]) -> None:
        nonlocal said
        said += "row" in entry
        if stopping():
            raise NodeError("the node stops")
        row(entry)

    try:
        for _ in range(TRIES):
            problem = _bring_up_to_date(builder, told)
            with builder.cache.held(shared=True):
                manifest = builder.usable(cache_key(keyring))
                if manifest is None:  # somebody was erased in between
                    continue
                try:
                    count = _answered(wanted.sql, builder, manifest, cache_key(keyring), told)
                except Unreadable:
                    builder.cache.throw_away()
                    if said:
                        raise
                    continue
            return {"count": count, "problems": [*manifest.problems, *([problem] if problem else [])]}
    finally:
        builder.close()
    raise RecordError("the columns of the record cannot be made: they are altered as soon as they are there")


def _answered(sql: str, builder: Builder, manifest: Manifest, key: bytes, row: Callable[[dict[str, Any]], None]) -> int:
    return answer(
        sql,
        manifest,
        builder.cache.folder,
        key,
        builder.under_way(manifest),
        lambda names: row({"columns": names}),
        lambda values: row({"row": values}),
        lambda: row({}),
    )


def _bring_up_to_date(builder: Builder, row: Callable[[dict[str, Any]], None]) -> str:
    """Until all that is sealed is there; gives why it does not go on."""
    while True:
        done = builder.step(wait=False)
        if done is None:  # the analyst is at it, or somebody reads
            time.sleep(PAUSE)
            row({})
            continue
        if done.problem or not done.frames:
            return done.problem
        row({"done": done.total - done.left, "of": done.total})


def _apart(sql: str) -> dict[str, str]:
    """The SQL as it is recorded: whom it names stands beside it, by number."""
    named: dict[str, str] = {}

    def replaced(found: re.Match[str]) -> str:
        text = found[1].replace("''", "'")
        subject = _subject(text)
        if not subject:
            return found[0]
        name = next((name for name, known in named.items() if known == subject), f"subject{len(named) + 1}")
        named[name] = subject
        return f"'<{name}>'"

    return {"sql": _QUOTED.sub(replaced, sql), **named}


def _subject(text: str) -> str:
    try:
        return f"source:{ip_address(text)}"
    except ValueError:
        return text if _SUBJECT.fullmatch(text) else ""
