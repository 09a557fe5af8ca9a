"""A table of the snapshot: 32-byte keys, opaque values, looked up in the mapped file.

    values      one after another
    index       count entries of 40 bytes: key, u64 offset of the value (relative to the section), sorted by key
    fan-out     2^bits + 1 numbers of 32 bits: where keys that begin with these bits start in the index

Keys are keyed hashes or digests, so their first bits spread evenly; if they did not, a lookup is still a
binary search. No entry is a Python object until it is asked for: a million keys cost a worker nothing.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from interlock.errors import SnapshotError
from interlock.snapshot.format import Section, SnapshotFile

KEY = 32
ENTRY = 40
_BITS = 16  # of the fan-out while writing; fewer are kept for a small table
_PER_BIN = 8
_BATCH = 4096
_entry = struct.Struct("<32sQ").pack
_offset = struct.Struct("<Q").unpack_from
_pair = struct.Struct("<II").unpack_from
_mark = struct.Struct("<Q")


def write_table(file: SnapshotFile, name: str, entries: Iterable[tuple[bytes, bytes]], folder: Path) -> int:
    """Stream a table into its section; gives the number of entries. Memory does not grow with it.

    `entries` MUST come sorted by key, without duplicates: `SnapshotError` otherwise.
    """
    counts = [0] * (1 << _BITS)
    last = b""
    total = at = 0
    with tempfile.TemporaryFile(dir=folder, buffering=1 << 20) as index:
        values: list[bytes] = []
        rows: list[bytes] = []
        for key, value in entries:
            if key <= last or len(key) != KEY:
                raise SnapshotError(f"table {name!r}: keys must be {KEY} bytes, sorted and unique")
            last = key
            rows.append(_entry(key, at))
            values.append(value)
            at += len(value)
            counts[key[0] << 8 | key[1]] += 1
            if len(rows) == _BATCH:
                total += _BATCH
                file.write(b"".join(values))
                index.write(b"".join(rows))
                rows.clear()
                values.clear()
        total += len(rows)
        file.write(b"".join(values))
        index.write(b"".join(rows))
        file.copy(index)
    if total >= 1 << 32:
        raise SnapshotError(f"table {name!r}: too many entries")
    bits = max(0, min(_BITS, (total // _PER_BIN).bit_length()))
    width = 1 << (_BITS - bits)
    starts = [0, *accumulate(sum(counts[low : low + width]) for low in range(0, 1 << _BITS, width))]
    file.write(struct.pack(f"<{len(starts)}I", *starts))
    file.end_section(name, {"count": total, "values": at, "bits": bits})
    return total


def mark_value(since: int) -> bytes:
    """A second as a value of the table of marks: 8 bytes, little-endian."""
    return _mark.pack(since)


def mark_of(value: bytes) -> int:
    """Read it back; `SnapshotError` if it is none."""
    if len(value) != _mark.size:
        raise SnapshotError(f"a mark has {_mark.size} bytes")
    return int(_mark.unpack(value)[0])


class Table:
    """One table in a mapped snapshot."""

    __slots__ = ("_bits", "_count", "_fan", "_index", "_memory", "_values", "_values_end")

    def __init__(self, memory: mmap.mmap, section: Section) -> None:
        try:
            self._count = section.details["count"]
            length = section.details["values"]
            self._bits = section.details["bits"]
        except KeyError as error:
            raise SnapshotError(f"table {section.name!r}: {error} is missing") from error
        self._memory = memory
        self._values = section.offset
        self._values_end = length
        self._index = section.offset + length
        self._fan = self._index + self._count * ENTRY
        if not 0 <= self._bits <= _BITS or self._fan + 4 * ((1 << self._bits) + 1) != section.offset + section.length:
            raise SnapshotError(f"table {section.name!r}: the parts do not add up")

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> bytes | None:
        """The value of a 32-byte key."""
        memory = self._memory
        low, high = _pair(memory, self._fan + 4 * ((key[0] << 8 | key[1]) >> (_BITS - self._bits)))
        index = self._index
        while low < high:
            middle = (low + high) >> 1
            at = index + middle * ENTRY
            found = memory[at : at + KEY]
            if found == key:
                return self._value(middle)
            if found < key:
                low = middle + 1
            else:
                high = middle
        return None

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for position in range(self._count):
            at = self._index + position * ENTRY
            yield self._memory[at : at + KEY], self._value(position)

    def _value(self, position: int) -> bytes:
        at = self._index + position * ENTRY + KEY
        start = _offset(self._memory, at)[0]
        end = _offset(self._memory, at + ENTRY)[0] if position + 1 < self._count else self._values_end
        return self._memory[self._values + start : self._values + end]
