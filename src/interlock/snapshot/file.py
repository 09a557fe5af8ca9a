"""The snapshot: config and state compiled into one immutable file that workers map.

It is written aside and renamed, so a worker sees the old one or the new one. What is big stays in the
mapping: routes are decoded when first matched, tables never. A snapshot MUST NOT be changed in place.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from interlock.errors import SnapshotError
from interlock.snapshot.format import Section, SnapshotFile, map_sections
from interlock.snapshot.spec import NodeSpec, PatternSpec, RouteSpec
from interlock.snapshot.table import Table, write_table

_NODE, _ROUTES, _INDEX, _PATTERNS, _TABLE = "node", "routes", "route-index", "patterns", "table:"
_ROUTE = struct.Struct("<QI32s")  # offset in the routes section, length, SHA-256
_LENGTH = struct.Struct("<I")
_CHUNK = 256  # patterns decoded at a time

_decode_node = msgspec.json.Decoder(NodeSpec).decode
_decode_route = msgspec.json.Decoder(RouteSpec).decode
_decode_patterns = msgspec.msgpack.Decoder(list[tuple[int, PatternSpec]]).decode


def write_snapshot(
    path: Path,
    node: NodeSpec,
    routes: Iterable[RouteSpec],
    tables: Mapping[str, Iterable[tuple[bytes, bytes]]],
    changes_offset: int,
) -> None:
    """Write a snapshot in place of the one at `path`, which stays as it was if anything fails.

    Each table's entries come sorted by their 32-byte key. `changes_offset`: how far into the change log
    the tables already reach; MUST be read before the tables are, so that nothing falls between.
    """
    try:
        file = SnapshotFile(path)
        try:
            _write_routes(file, routes)
            for name, entries in tables.items():
                write_table(file, _TABLE + name, entries, path.parent)
            file.write(msgspec.json.encode(node))
            file.end_section(_NODE, {"changes_offset": changes_offset})
            file.finish()
        except BaseException:
            file.abandon()
            raise
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error


def _write_routes(file: SnapshotFile, routes: Iterable[RouteSpec]) -> None:
    encode = msgspec.json.Encoder(order="deterministic").encode
    index = bytearray()
    patterns = bytearray()
    chunk: list[tuple[int, PatternSpec]] = []
    count = 0
    for route in routes:
        data = encode(route)
        index += _ROUTE.pack(file.position, len(data), hashlib.sha256(data).digest())
        file.write(data)
        chunk += [(count, pattern) for pattern in route.patterns]
        count += 1
        if len(chunk) >= _CHUNK:
            _add_chunk(patterns, chunk)
    _add_chunk(patterns, chunk)
    file.end_section(_ROUTES)
    file.write(index)
    file.end_section(_INDEX, {"count": count})
    file.write(patterns)
    file.end_section(_PATTERNS)


def _add_chunk(patterns: bytearray, chunk: list[tuple[int, PatternSpec]]) -> None:
    if chunk:
        data = msgspec.msgpack.encode(chunk)
        patterns += _LENGTH.pack(len(data)) + data
        chunk.clear()


class Snapshot:
    """A mapped snapshot; cheap to hold, safe to read from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory, self._sections = map_sections(path)
        try:
            section = self._section(_NODE)
            self.changes_offset = section.details["changes_offset"]
            self.node: NodeSpec = _decode_node(self._bytes(section))
            self._routes = self._section(_ROUTES).offset
            index = self._section(_INDEX)
            self.route_count = index.details["count"]
            self._index = index.offset
            self._patterns = self._section(_PATTERNS)
            self._tables = {
                name.removeprefix(_TABLE): Table(self._memory, section)
                for name, section in self._sections.items()
                if name.startswith(_TABLE)
            }
        except BaseException as error:
            self._memory.close()
            if isinstance(error, KeyError):
                raise SnapshotError(f"{path}: {error} is missing") from error
            if isinstance(error, msgspec.MsgspecError):
                raise SnapshotError(f"{path}: {error}") from error
            raise
        if index.length != self.route_count * _ROUTE.size:
            self._memory.close()
            raise SnapshotError(f"{path}: the route index does not add up")

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """Map and check a snapshot; `SnapshotError` if it is damaged or of another version.

        It hashes the whole file (about 0.1 s for a million keys), so a worker does it in a thread.
        """
        return cls(path)

    def close(self) -> None:
        """Unmap it; nothing of it may be asked for any more."""
        self._memory.close()

    def route(self, number: int) -> RouteSpec:
        """Decode one route."""
        offset, length, _ = self._entry(number)
        start = self._routes + offset
        try:
            return _decode_route(self._memory[start : start + length])
        except msgspec.MsgspecError as error:
            raise SnapshotError(f"{self._path}: route {number}: {error}") from error

    def route_digest(self, number: int) -> bytes:
        """SHA-256 of a route as written: the same digest in the next snapshot is the same route."""
        return self._entry(number)[2]

    def patterns(self) -> Iterator[tuple[int, PatternSpec]]:
        """Every pattern with the number of its route, in the order of the file; decoded in small steps."""
        at, end = self._patterns.offset, self._patterns.offset + self._patterns.length
        while at < end:
            (length,) = _LENGTH.unpack_from(self._memory, at)
            at += _LENGTH.size + length
            try:
                chunk = _decode_patterns(self._memory[at - length : at])
            except msgspec.MsgspecError as error:
                raise SnapshotError(f"{self._path}: patterns: {error}") from error
            # Going on from `yield from`, a thread would not give way to the calls.
            for one in chunk:  # noqa: UP028
                yield one

    def table(self, name: str) -> Table:
        """A table by name; `SnapshotError` if the snapshot has none of it."""
        try:
            return self._tables[name]
        except KeyError:
            raise SnapshotError(f"{self._path}: there is no table {name!r}") from None

    def _entry(self, number: int) -> tuple[int, int, bytes]:
        if not 0 <= number < self.route_count:
            raise IndexError(f"the snapshot has {self.route_count} routes, not a route {number}")
        offset, length, digest = _ROUTE.unpack_from(self._memory, self._index + number * _ROUTE.size)
        return offset, length, digest

    def _section(self, name: str) -> Section:
        return self._sections[name]

    def _bytes(self, section: Section) -> bytes:
        return self._memory[section.offset : section.offset + section.length]
