"""Reading the record, which is itself recorded, and acknowledging what was found in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from interlock.audit import OpenKey, parse_id, query
from interlock.audit.filters import Filters
from interlock.audit.subjects import Subject
from interlock.audit.subjects_register import names
from interlock.errors import RecordError, UsageError
from interlock.keys import Keyring
from interlock.model import Event
from interlock.store import Persons, State

if TYPE_CHECKING:
    from interlock.audit import ActRecorder


class Question(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["calls", "acts"] = "calls"
    since_ns: int | None = None
    until_ns: int | None = None
    principal: str | None = None
    decision: Literal["allow", "deny"] | None = None
    limit: int | None = None
    filters: Filters = Filters()


class Sql(msgspec.Struct, forbid_unknown_fields=True):
    sql: str


class Export(msgspec.Struct, forbid_unknown_fields=True):
    subject: str


class Acknowledge(msgspec.Struct, forbid_unknown_fields=True):
    record: str
    note: str


def ask(
    question: Question,
    record: Path,
    keyring: Keyring,
    state: State,
    acts: ActRecorder,
    row: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Give each answer to `row`. The result says how many, and what of the record could not be read."""
    matches = question.filters.compile()
    asked = msgspec.to_builtins(question)
    acts.act(Event.RECORD_READ, {name: value for name, value in asked.items() if value not in (None, {})})
    problems: list[str] = []
    count = 0
    for found in query(
        record,
        opener(keyring),
        kind=question.kind,
        since=question.since_ns,
        until=question.until_ns,
        principal=question.principal,
        decision=question.decision,
        limit=question.limit,
        matches=matches,
        on_problem=lambda error: problems.append(str(error)),
        names=names(Persons(state), keyring),
    ):
        row(found)
        count += 1
    return {"count": count, "problems": problems}


def export(
    wanted: Export,
    record: Path,
    keyring: Keyring,
    state: State,
    acts: ActRecorder,
    row: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Give every record that names the subject to `row`: calls, then acts."""
    try:
        subject = Subject.named(wanted.subject).id
    except ValueError as error:
        raise UsageError(str(error)) from None
    acts.act(Event.RECORD_READ, {"kind": "export", "subject": subject})
    problems: dict[str, None] = {}
    count = 0
    for kind in ("calls", "acts"):
        for found in query(
            record,
            opener(keyring),
            kind=kind,
            on_problem=lambda error: problems.setdefault(str(error)),
            names=names(Persons(state), keyring),
            subject=subject,
        ):
            row(found)
            count += 1
    return {"count": count, "problems": list(problems)}


def opener(keyring: Keyring) -> OpenKey:
    """Opens the record's data keys."""
    return lambda recipient, sealed, info: keyring.open_record_key(recipient).open(sealed, info)


def acknowledge(wanted: Acknowledge, acts: ActRecorder) -> dict[str, Any]:
    """Put on the record that somebody looked into a gap or an alarm."""
    try:
        about = parse_id(wanted.record)
    except (ValueError, RecordError) as error:
        raise UsageError(f"{wanted.record!r} is not the id of a record: {error}") from None
    return {"id": acts.acknowledge(about, wanted.note)}
