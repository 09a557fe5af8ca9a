"""Finds the route of a call; its cost does not grow with the number of routes.

Patterns are kept in tables by host, number of segments and which of them are literal (the *mask*). A lookup
asks, most specific first, the few masks that exist for its host and length. The configuration has refused
ambiguous patterns, so the first hit is the one. A path that no pattern holds gives None; one that some
pattern holds with other methods gives `NotAllowed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from interlock.snapshot import PatternSpec

PREFIX: Final = 1 << 62  # or-ed to a length: patterns that hold everything beneath
_KIND: Final = 32  # bits of an entry above which its kind stands
_ROUTE: Final = (1 << _KIND) - 1


NOTHING: Final[Mapping[str, str]] = {}


class Match(NamedTuple):
    """A route's number and what the path says for its parameters."""

    route: int
    params: Mapping[str, str]
    named: bool  # whether the pattern names the method, and does not just take any


class NotAllowed(NamedTuple):
    """There is such a path, but not for this method; `allow` is the field's value."""

    allow: bytes


class _Kind:
    """What patterns have in common: methods (None: any), and the names of the parameters in order."""

    __slots__ = ("methods", "names")

    def __init__(self, methods: frozenset[str] | None, names: tuple[str, ...]) -> None:
        self.methods = methods
        self.names = names


# One pattern: its route and, above that, the number of its kind. Plain numbers, since there are many of them and the
# garbage collector, which holds up every call, passes them over.
_Entry = int
# Of one host, length and mask: literal segments -> one entry, or several that differ in methods.
_Literals = dict[tuple[str, ...] | str, _Entry | list[_Entry]]


class _Shape:
    """All patterns of one host with the same length and literal positions."""

    __slots__ = ("literals", "params", "single", "table")

    def __init__(self, length: int, mask: int) -> None:
        self.literals = tuple(at for at in range(length) if mask >> at & 1)
        self.params = tuple(at for at in range(length) if not mask >> at & 1)
        self.single = self.literals[0] if len(self.literals) == 1 else -1
        self.table: _Literals = {}

    def find(self, segments: tuple[str, ...]) -> _Entry | list[_Entry] | None:
        for at in self.params:
            if not segments[at]:  # a parameter is never empty
                return None
        if self.single >= 0:
            return self.table.get(segments[self.single])
        if not self.params and len(segments) == len(self.literals):
            return self.table.get(segments)
        return self.table.get(tuple([segments[at] for at in self.literals]))


class _Host:
    """The patterns of one host: exact ones by length, prefixes from the longest to the shortest."""

    __slots__ = ("_shapes", "exact", "prefixes")

    def __init__(self) -> None:
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self.exact: dict[int, tuple[_Shape, ...]] = {}
        self.prefixes: tuple[tuple[int, tuple[_Shape, ...]], ...] = ()

    def shape(self, length: int, mask: int, prefix: bool) -> _Shape:
        key = length | PREFIX if prefix else length, mask
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = _Shape(length, mask)
        return shape

    def seal(self) -> None:
        """Order the shapes by how specific they are: a literal further left first."""
        by_length: dict[int, list[tuple[tuple[bool, ...], _Shape]]] = {}
        for (length, mask), shape in self._shapes.items():
            order = tuple(not mask >> at & 1 for at in range(length & ~PREFIX))
            by_length.setdefault(length, []).append((order, shape))
        prefixes = []
        for length, shapes in by_length.items():
            shapes.sort(key=lambda entry: entry[0])
            ordered = tuple(shape for _, shape in shapes)
            if length & PREFIX:
                prefixes.append((length & ~PREFIX, ordered))
            else:
                self.exact[length] = ordered
        self.prefixes = tuple(sorted(prefixes, key=lambda entry: -entry[0]))
        self._shapes = {}


class Router:
    """Immutable once built."""

    __slots__ = ("_any", "_hosts", "_kinds", "_wildcards")

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._hosts: dict[str, _Host] = {}
        self._wildcards: dict[str, _Host] = {}  # by what follows the "*"
        self._any: _Host | None = None

    @classmethod
    def build(cls, patterns: Iterable[tuple[int, PatternSpec]]) -> Router:
        """A router over (route number, pattern)."""
        router = cls()
        kinds: dict[tuple[tuple[str, ...] | None, tuple[str, ...]], int] = {}
        for route, pattern in patterns:
            mask = 0
            literals = []
            params = []
            for at, segment in enumerate(pattern.segments):
                if segment[:1] == "{":
                    params.append(segment[1:-1])
                else:
                    mask |= 1 << at
                    literals.append(segment)
            methods = None if pattern.methods is None else tuple(pattern.methods)
            names = tuple(params)
            kind = kinds.get((methods, names), -1)
            if kind < 0:
                kind = kinds[methods, names] = len(kinds)
                router._kinds.append(_Kind(None if methods is None else frozenset(methods), names))
            entry = kind << _KIND | route
            table = router._host(pattern.host).shape(len(pattern.segments), mask, pattern.prefix).table
            where = literals[0] if len(literals) == 1 else tuple(literals)
            known = table.get(where)
            if known is None:
                table[where] = entry
            else:
                table[where] = [*known, entry] if isinstance(known, list) else [known, entry]
        for host in (*router._hosts.values(), *router._wildcards.values(), router._any):
            if host is not None:
                host.seal()
        return router

    def match(self, method: str, host: str, segments: tuple[str, ...]) -> Match | NotAllowed | None:
        """The most specific pattern that holds the call. `host` is in lower case and without a port.

        Exact hosts come before wildcards, longer wildcards before shorter, and both before patterns
        without a host; within a host exact paths come before prefixes.
        """
        seen: set[str] | None = None
        for patterns in self._candidates(host):
            shapes = patterns.exact.get(len(segments))
            if shapes is not None:
                for shape in shapes:
                    found = shape.find(segments)
                    if found is not None:
                        entry = self._for_method(found, method)
                        if entry >= 0:
                            return self._matched(entry, shape, segments)
                        seen = self._methods(found, seen)
            for length, shapes in patterns.prefixes:
                if length <= len(segments):
                    for shape in shapes:
                        found = shape.find(segments)
                        if found is not None:
                            entry = self._for_method(found, method)
                            if entry >= 0:
                                return self._matched(entry, shape, segments)
                            seen = self._methods(found, seen)
        if seen is None:
            return None
        return NotAllowed(", ".join(sorted(seen)).encode("ascii"))

    def _host(self, host: str) -> _Host:
        if not host:
            if self._any is None:
                self._any = _Host()
            return self._any
        hosts = self._hosts
        if host.startswith("*."):
            hosts, host = self._wildcards, host[1:]
        found = hosts.get(host)
        if found is None:
            found = hosts[host] = _Host()
        return found

    def _candidates(self, host: str) -> list[_Host]:
        found = []
        exact = self._hosts.get(host)
        if exact is not None:
            found.append(exact)
        if self._wildcards:
            dot = host.find(".")
            while dot >= 0:
                wild = self._wildcards.get(host[dot:])
                if wild is not None and dot > 0:
                    found.append(wild)
                dot = host.find(".", dot + 1)
        if self._any is not None:
            found.append(self._any)
        return found

    def _matched(self, entry: _Entry, shape: _Shape, segments: tuple[str, ...]) -> Match:
        route = entry & _ROUTE
        kind = self._kinds[entry >> _KIND]
        named = kind.methods is not None
        if not kind.names:
            return Match(route, NOTHING, named)
        return Match(route, {name: segments[at] for name, at in zip(kind.names, shape.params, strict=True)}, named)

    def _for_method(self, found: _Entry | list[_Entry], method: str) -> _Entry:
        """The entry for a method, one that names it before one that takes any; -1: there is none."""
        if isinstance(found, int):
            methods = self._kinds[found >> _KIND].methods
            return found if methods is None or method in methods else -1
        anything = -1
        for entry in found:
            methods = self._kinds[entry >> _KIND].methods
            if methods is None:
                if anything < 0:
                    anything = entry
            elif method in methods:
                return entry
        return anything

    def _methods(self, found: _Entry | list[_Entry], seen: set[str] | None) -> set[str]:
        seen = set() if seen is None else seen
        for entry in found if isinstance(found, list) else (found,):
            seen.update(self._kinds[entry >> _KIND].methods or ())
        return seen
