"""Which patterns contradict each other: no call may have two routes with an equal claim.

The most specific pattern wins: one whose paths are a part of the other's. Two patterns of one host whose
methods overlap are in conflict if some path is matched by both and neither is more specific. Methods do
not make a pattern more specific: `GET /a` and `/a` are in conflict.

Patterns of one host are grouped by shape (length, prefix, which segments are literal). Two shapes of
which one always contains the other are passed over; of other pairs, only patterns equal in all segments
that are literal in both can meet, which one dictionary finds. So the cost grows with the number of
patterns times the few shapes they have, not with its square.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from interlock.config.patterns import Pattern

_ANY = "*"
_Index = dict[tuple[str, ...], dict[str, int]]  # literals -> method -> the first pattern


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two patterns by their index, `first` < `second`, and a path that both match."""

    first: int
    second: int
    example: str


@dataclass(frozen=True, slots=True)
class _Shape:
    length: int
    prefix: bool
    mask: int
    slash: bool  # ends in an empty segment, which no parameter matches

    @classmethod
    def of(cls, pattern: Pattern) -> _Shape:
        return cls(len(pattern.segments), pattern.prefix, pattern.mask, pattern.segments[-1:] == ("",))


def find_conflicts(patterns: Sequence[Pattern]) -> list[Conflict]:
    """At most a few conflicts for each pattern, sorted; empty if and only if there are none."""
    hosts: defaultdict[str, defaultdict[_Shape, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, pattern in enumerate(patterns):
        hosts[pattern.host][_Shape.of(pattern)].append(number)
    found: set[tuple[int, int]] = set()
    for shapes in hosts.values():
        for shape, members in shapes.items():
            found.update(_within(patterns, members, shape.mask))
        indexes: dict[tuple[_Shape, int], _Index] = {}
        for one, other in combinations(shapes, 2):
            if _ordered_or_apart(one, other):
                continue
            large, small = (one, other) if len(shapes[one]) >= len(shapes[other]) else (other, one)
            shared = one.mask & other.mask
            index = indexes.get((large, shared))
            if index is None:
                index = indexes[large, shared] = _index(patterns, shapes[large], shared)
            for number in shapes[small]:
                entry = index.get(_literals(patterns[number], shared))
                if entry is not None:
                    found.update(_ordered_pair(number, met) for met in _meet(patterns[number], entry))
    return [Conflict(first, second, _example(patterns[first], patterns[second])) for first, second in sorted(found)]


def _ordered_or_apart(one: _Shape, other: _Shape) -> bool:
    """Whether any two patterns of these (different) shapes share no path, or one contains the other."""
    short, long = (one, other) if one.length <= other.length else (other, one)
    if short.length != long.length:
        return not short.prefix or short.mask & ~long.mask == 0
    if one.slash != other.slash:
        return True
    if one.prefix == other.prefix:
        return one.mask & ~other.mask == 0 or other.mask & ~one.mask == 0
    folder, exact = (one, other) if one.prefix else (other, one)
    return folder.mask & ~exact.mask == 0


def _within(patterns: Sequence[Pattern], members: Iterable[int], mask: int) -> Iterable[tuple[int, int]]:
    """Pairs of one shape that match the same paths."""
    index: _Index = {}
    for number in members:
        entry = index.setdefault(_literals(patterns[number], mask), {})
        if entry:
            for met in _meet(patterns[number], entry):
                yield met, number
        for method in patterns[number].methods or (_ANY,):
            entry.setdefault(method, number)


def _index(patterns: Sequence[Pattern], members: Iterable[int], mask: int) -> _Index:
    index: _Index = {}
    for number in members:
        entry = index.setdefault(_literals(patterns[number], mask), {})
        for method in patterns[number].methods or (_ANY,):
            entry.setdefault(method, number)
    return index


def _meet(pattern: Pattern, entry: dict[str, int]) -> set[int]:
    """The first of the indexed patterns for each method that overlaps."""
    if pattern.methods is None:
        return set(entry.values())
    return {entry[method] for method in (*pattern.methods, _ANY) if method in entry}


def _literals(pattern: Pattern, mask: int) -> tuple[str, ...]:
    return tuple(str(segment) for i, segment in enumerate(pattern.segments) if mask >> i & 1)


def _ordered_pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _example(one: Pattern, other: Pattern) -> str:
    """A path that both match."""
    longest = max(one, other, key=lambda pattern: len(pattern.segments))
    segments = []
    for i in range(len(longest.segments)):
        given = [pattern.segments[i] for pattern in (one, other) if i < len(pattern.segments)]
        segments.append(next((segment for segment in given if isinstance(segment, str)), "x"))
    return "/" + "/".join(segments)
