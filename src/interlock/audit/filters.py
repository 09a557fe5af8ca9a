"""Which rows of the record somebody wants: one set of filters for queries, for following and for exports.

Every filter that is given must hold; of a filter's several values, one. `*` stands for anything. A row that
does not have what a filter asks about (an act has no status) is not wanted by it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from interlock.addresses import within
from interlock.errors import UsageError

Row = Mapping[str, Any]
Wanted = Callable[[Row], bool]
_STATUS = re.compile(r"([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")


class Filters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Plain values, as they travel and as they are recorded."""

    principal: tuple[str, ...] = ()
    decision: Literal["allow", "deny"] | None = None
    reason: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    """Addresses and CIDR blocks."""
    method: tuple[str, ...] = ()
    """HTTP methods."""
    status: tuple[str, ...] = ()
    """`404`, `4xx`, `500-504`."""

    def compile(self) -> Wanted:
        """What tells whether a row is wanted. Raises `UsageError` for a network or status that is none."""
        tests: list[Wanted] = []
        if self.principal:
            tests.append(_text(lambda row: row.get("principal") or row.get("actor"), self.principal))
        if self.decision:
            decision = self.decision
            tests.append(lambda row: row.get("decision") == decision)
        if self.reason:
            tests.append(_reasons(self.reason))
        for field, key in (("route", "route"), ("service", "service")):
            if patterns := getattr(self, field):
                tests.append(_text(_get(key), patterns))
        if self.method:
            tests.append(_text(_get("action"), [method.upper() for method in self.method]))
        if self.source:
            tests.append(_networks(self.source))
        if self.status:
            tests.append(_statuses(self.status))
        if not tests:
            return _everything
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)


def _everything(_: Row) -> bool:
    return True


def _get(key: str) -> Callable[[Row], Any]:
    return lambda row: row.get(key)


def _text(value: Callable[[Row], Any], patterns: Sequence[str]) -> Wanted:
    """One of several texts, in which `*` is any characters. No other character is special: paths hold brackets."""
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    globs = [_compiled(pattern) for pattern in patterns if "*" in pattern]

    def wanted(row: Row) -> bool:
        text = value(row)
        return isinstance(text, str) and (text in exact or any(glob(text) for glob in globs))

    return wanted


def _compiled(pattern: str) -> Callable[[str], Any]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL).fullmatch


def _reasons(patterns: Sequence[str]) -> Wanted:
    """The reason of a call; of a flood that was counted, any of its reasons."""

    def wanted(row: Row) -> bool:
        reasons = row.get("reasons") or (row.get("reason"),)
        return any(reason and fnmatchcase(reason, pattern) for reason in reasons for pattern in patterns)

    return wanted


def _networks(texts: Sequence[str]) -> Wanted:
    try:
        networks = [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError:
        raise UsageError(f"{', '.join(texts)}: a source is an address or a network, as in 10.0.0.0/8") from None

    def wanted(row: Row) -> bool:
        return within(str(row.get("source") or ""), networks)

    return wanted


def _statuses(texts: Sequence[str]) -> Wanted:
    ranges = []
    for text in texts:
        found = _STATUS.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is not a status: write it as in 404, 4xx or 500-504")
        low = int(found[1]) * 100 if found[1] else int(found[2])
        high = low + 99 if found[1] else int(found[3] or found[2])
        ranges.append((low, high))

    def wanted(row: Row) -> bool:
        status = row.get("status")
        return isinstance(status, int) and any(low <= status <= high for low, high in ranges)

    return wanted
