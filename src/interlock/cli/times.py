"""Durations and points of time, as people write them in options."""

from __future__ import annotations


def duration(text: str, option: str) -> int:
    """A duration in ns. Raises `UsageError`."""
    from interlock.config.units import parse_duration
    from interlock.errors import UsageError

    try:
        return parse_duration(text)
    except ValueError as problem:
        raise UsageError(f"{option} {text!r} {problem}") from None


def moment(text: str, now: int, option: str) -> int:
    """A time in wall ns: an RFC 3339 date or date-time, or a duration before `now`. Raises `UsageError`."""
    from datetime import UTC, datetime

    from interlock.config.units import parse_duration
    from interlock.errors import UsageError

    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is neither a time (2026-01-31T12:00:00Z) nor a duration (24h)") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp()) * 10**9 + when.microsecond * 1000


def moment_to_come(text: str, now: int) -> int:
    """A time in wall ns: an RFC 3339 date or date-time, or a duration from `now`. Raises `UsageError`."""
    from interlock.config.units import parse_duration

    try:
        return now + parse_duration(text)
    except ValueError:
        return moment(text, now, "--until")
