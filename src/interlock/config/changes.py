"""What a reload would change: the difference of two files, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic.fields import FieldInfo

from interlock.config.fields import IN_BYTES, IN_NANOSECONDS
from interlock.config.hosts import Address
from interlock.config.model import Config
from interlock.config.patterns import Pattern
from interlock.config.routes import Allow, Route
from interlock.config.secrets import SecretRef
from interlock.config.units import Rate, show_duration, show_size

RESTART = frozenset({"listeners", "connections", "workers", "data_dir", "admin"})  # read once, at the start
_BY_NAME = ("trust", "zones", "services", "roles")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `restart`: a reload cannot make it, only a new start of the node."""

    kind: Literal["added", "removed", "changed"]
    where: str
    summary: str
    restart: bool = False

    def __str__(self) -> str:
        sign = {"added": "+", "removed": "-", "changed": "~"}[self.kind]
        return f"{sign} {self.where}: {self.summary}{' (needs a restart)' if self.restart else ''}"


def plan(old: Config, new: Config) -> list[Change]:
    """Every difference, in the order of the file; empty: a reload changes nothing."""
    changes: list[Change] = []
    for section in Config.model_fields:
        before, after = getattr(old, section), getattr(new, section)
        restart = section in RESTART
        if section == "routes":
            found = _entries("routes[%s]", _by_id(before), _by_id(after))
        elif section in _BY_NAME:
            found = _entries(f"{section}.%s", before, after)
        elif section == "identity":
            found = _entries(
                "identity.issuers[%s]",
                {issuer.issuer: issuer for issuer in before.issuers},
                {issuer.issuer: issuer for issuer in after.issuers},
            )
        elif section == "exports":
            found = _entries(
                "exports.%s", {export.name: export for export in before}, {export.name: export for export in after}
            )
        elif section == "listeners":
            found = _entries(
                "listeners[%s]",
                {str(listener.address): listener for listener in before},
                {str(listener.address): listener for listener in after},
            )
        else:
            found = _section(section, before, after)
        changes += [Change(kind, where, summary, restart) for kind, where, summary in found]
    return changes


_Found = tuple[Literal["added", "removed", "changed"], str, str]


def _by_id(routes: tuple[Route, ...]) -> dict[str, Route]:
    return {route.id: route for route in routes}


def _entries(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[_Found]:
    for name in before:
        if name not in after:
            yield "removed", where % name, _summary(before[name])
    for name, entry in after.items():
        if name not in before:
            yield "added", where % name, _summary(entry)
        elif entry != before[name]:
            yield "changed", where % name, _difference(before[name], entry)


def _section(where: str, before: Any, after: Any) -> Iterator[_Found]:
    if before == after:
        return
    if before is None:
        yield "added", where, _summary(after)
    elif after is None:
        yield "removed", where, _summary(before)
    else:
        yield "changed", where, _difference(before, after)


def _fields(entry: Any) -> dict[str, Any]:
    """Keys and values as in the file; sizes and durations as text."""
    return {
        field.alias or name: _in_units(getattr(entry, name), field) for name, field in type(entry).model_fields.items()
    }


def _in_units(value: Any, field: FieldInfo) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    marks = [*field.metadata, *(mark for part in get_args(field.annotation) for mark in get_args(part)[1:])]
    if IN_NANOSECONDS in marks:
        return show_duration(value)
    return show_size(value) if IN_BYTES in marks else value


def _difference(before: Any, after: Any) -> str:
    if not hasattr(type(after), "model_fields"):
        return f"{_shown(before)} -> {_shown(after)}"
    old, new = _fields(before), _fields(after)
    return "; ".join(f"{key}: {_shown(old[key])} -> {_shown(new[key])}" for key in new if old[key] != new[key])


def _summary(entry: Any) -> str:
    """The parts of an entry that were said, in a line."""
    if not hasattr(type(entry), "model_fields"):
        return _shown(entry)
    known = type(entry).model_fields
    written = {known[name].alias or name for name in entry.model_fields_set}
    said = {key: value for key, value in _fields(entry).items() if key in written and key != "match"}
    parts = [
        f"{key} {_shown(value)}" for key, value in said.items() if value not in (None, "", (), {}) or key == "limit"
    ]
    return ", ".join(parts)


def _shown(value: Any) -> str:
    """A value as it would be written, or near enough to be recognised; a secret is only ever a reference."""
    if isinstance(value, Allow):
        if value.public:
            return "public"
        return ", ".join(f"{key} {part}" for key, part in _fields(value).items() if part)
    if value is None or value == ():
        return "none"
    if isinstance(value, Pattern):
        return value.text
    if isinstance(value, str | int | float | Rate | SecretRef | Address):
        return str(value)
    if isinstance(value, tuple):
        if value and isinstance(value[0], str) and len(value) == 1:
            return str(value[0])
        return "[" + ", ".join(_shown(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(part)}" for key, part in value.items()) + "}"
    if hasattr(type(value), "model_fields"):
        said = {key: part for key, part in _fields(value).items() if part not in (None, "", (), {})}
        return _shown(said)
    return str(value)
