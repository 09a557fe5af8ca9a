"""Calls that a guarded route leaves to a public one because it does not take their method.

`GET,POST /admin/*` guarded beside `/*` public: the most specific route that takes a call wins, so
`DELETE /admin/x` would pass for everybody. Whoever means that says it with a route of its own for those
methods. Found over pairs that are ordered: the public pattern contains the guarded one, or stands for more
hosts and holds some of its paths. Equal paths that differ in methods were written side by side on purpose,
and so were paths that cross, as `GET /{tenant}/admin` and a public `POST /hooks/{name}`: each is written for
a literal of its own, so neither is the rest of the other; what both could take is a conflict.

Patterns are looked up by shape as in `conflicts`, so the cost grows with the patterns times their shapes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from interlock.config.patterns import METHODS, Pattern

_EVERY = frozenset(METHODS)


@dataclass(frozen=True, slots=True)
class FallThrough:
    """Two patterns by their index, and the methods of calls to the first that the second would take."""

    guarded: int
    public: int
    methods: tuple[str, ...]


def find_fall_throughs(patterns: Sequence[Pattern], public: Sequence[bool]) -> list[FallThrough]:
    """For each guarded pattern at most one for each public one; empty if and only if there are none."""
    everything, guarded, open_ = _Index(), _Index(), _Index()
    for number, pattern in enumerate(patterns):
        everything.add(number, pattern)
        if public[number]:
            open_.add(number, pattern)
        elif pattern.methods is not None:
            guarded.add(number, pattern)
    pairs: set[tuple[int, int]] = set()
    for number, pattern in enumerate(patterns):
        if public[number]:
            for host in guarded.hosts:
                if host != pattern.host and pattern.host in _wider(host):
                    pairs.update((inner, number) for inner in guarded.containing(pattern, host))
        elif pattern.methods is not None:
            for host in (pattern.host, *_wider(pattern.host)):
                pairs.update((number, outer) for outer in open_.containing(pattern, host))
    found = []
    for inner, outer in sorted(pairs):
        left = _methods(patterns[outer]) - _methods(patterns[inner])
        if left and not _same_place(patterns[inner], patterns[outer]):
            left -= _taken_before(inner, outer, patterns, everything)
            if left:
                found.append(FallThrough(inner, outer, tuple(method for method in METHODS if method in left)))
    return found


def _taken_before(inner: int, outer: int, patterns: Sequence[Pattern], everything: _Index) -> frozenset[str]:
    """Methods of all calls that both could have and a pattern more specific than `outer` takes."""
    hosts = (patterns[inner].host, *_wider(patterns[inner].host))
    shared = patterns[inner] if _contains(patterns[outer], patterns[inner]) else patterns[outer]
    taken: set[str] = set()
    for host in hosts[: hosts.index(patterns[outer].host) + 1]:
        for number in everything.containing(shared, host):
            if host != patterns[outer].host or not _contains(patterns[number], patterns[outer]):
                taken |= _methods(patterns[number])
    return frozenset(taken)


def _methods(pattern: Pattern) -> frozenset[str]:
    return _EVERY if pattern.methods is None else pattern.methods


def _same_place(one: Pattern, other: Pattern) -> bool:
    return one.host == other.host and _contains(one, other) and _contains(other, one)


def _wider(host: str) -> tuple[str, ...]:
    """What else a name beneath `host` is looked up as, in the gateway's order: wildcards, then any host."""
    if not host:
        return ()
    parts = host.removeprefix("*.").split(".")
    return (*("*." + ".".join(parts[at:]) for at in range(1, len(parts))), "")


def _contains(outer: Pattern, inner: Pattern) -> bool:
    """Whether every path of `inner` is one of `outer`."""
    length = len(outer.segments)
    if len(inner.segments) < length or (not outer.prefix and (inner.prefix or len(inner.segments) != length)):
        return False
    return all(
        mine == theirs if isinstance(mine, str) else theirs != ""
        for mine, theirs in zip(outer.segments, inner.segments, strict=False)
    )


class _Index:
    """Patterns by host and shape, to find those that contain another."""

    def __init__(self) -> None:
        self.hosts: defaultdict[str, dict[tuple[int, bool, int], dict[tuple[str, ...], list[tuple[int, Pattern]]]]]
        self.hosts = defaultdict(dict)

    def add(self, number: int, pattern: Pattern) -> None:
        shape = (len(pattern.segments), pattern.prefix, pattern.mask)
        literals = tuple(segment for segment in pattern.segments if isinstance(segment, str))
        self.hosts[pattern.host].setdefault(shape, {}).setdefault(literals, []).append((number, pattern))

    def containing(self, pattern: Pattern, host: str) -> Iterator[int]:
        """Those of `host` that contain `pattern`'s paths, itself included."""
        mask, length = pattern.mask, len(pattern.segments)
        for (long, _, literal), members in self.hosts.get(host, {}).items():
            if long <= length and literal & ~mask == 0:
                key = tuple(str(pattern.segments[at]) for at in range(long) if literal >> at & 1)
                for number, outer in members.get(key, ()):
                    if _contains(outer, pattern):
                        yield number
