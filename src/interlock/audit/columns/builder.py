"""Brings the columns up to date with what is sealed, piece by piece; each piece counts once its manifest does.

Names are in there as they read now. So nobody who was erased may be named by what is published: the state
database is asked before a piece is read and again before it counts, and what was made before an erasure is
thrown away, under a key that the erasure has destroyed by then. What was pruned from the record goes too, and
the rest is written again under another key.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from interlock.audit.columns import parquet
from interlock.audit.columns.cache import Cache, File, Manifest
from interlock.audit.columns.schema import KINDS, table
from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.feed import Feed
from interlock.audit.joined import Joined, Joiner
from interlock.audit.journal_feed import journal_bytes_after
from interlock.audit.reader import OpenKey, segment_files
from interlock.audit.segment import format_id, parse_id
from interlock.audit.subjects_register import names
from interlock.errors import InterlockError, RecordError
from interlock.keys import Keyring, cache_key, turn_cache
from interlock.store import Persons

PIECE = 200_000  # frames
READ = 5_000  # frames at a time
LARGEST = 400_000  # rows of a file that others are merged into
_SEEN = 1_000  # segments
_PROBLEMS = 20


class Progress(NamedTuple):
    """Of one piece."""

    frames: int  # taken; 0: everything that is sealed is there
    left: int  # bytes of the journal, roughly
    total: int
    problem: str = ""  # why it does not go on


class Builder:
    """For one thread. Several, in several processes, take turns."""

    def __init__(
        self,
        record: Path,
        cache: Path,
        keyring: Callable[[], Keyring],
        persons: Callable[[], Persons],
        open_key: OpenKey,
    ) -> None:
        self._record = record
        self.cache = Cache(cache)
        self._keyring = keyring
        self._persons = persons
        self._open_key = open_key
        self._feed: Feed | None = None
        self._joiner: Joiner | None = None
        self._after = ""  # the manifest that `_joiner` goes on from
        self._problems: dict[str, None] = {}

    def step(self, *, wait: bool = True, limit: int = PIECE) -> Progress | None:
        """Take in one piece; None if another is at it and `wait` is not wanted.

        Raises `KeyMaterialError`, `StateError`, `RecordError` for a record that cannot be read from here on.
        """
        try:
            with self.cache.held(wait=wait) as mine:
                return self._step(limit) if mine else None
        except OSError as error:
            self.close()
            raise RecordError(f"the cache of the record cannot be written: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def usable(self, key: bytes) -> Manifest | None:
        """What may be read, by whoever holds the cache; None: bring it up to date first."""
        manifest = self.cache.load(key)
        return manifest if manifest is not None and manifest.erased == self._erased() else None

    def under_way(self, manifest: Manifest) -> list[Joined]:
        """Calls that are sealed and have not ended."""
        self._go_on(manifest)
        assert self._joiner is not None
        return self._joiner.under_way()

    def close(self) -> None:
        """Let go of all files."""
        if self._feed is not None:
            self._feed.close()
        self._feed = self._joiner = None
        self._after = ""

    def _step(self, limit: int) -> Progress:
        keyring = self._keyring()
        key, erased = cache_key(keyring), self._erased()
        manifest = self.usable(key)
        if manifest is None:
            self.close()  # with what it remembers of names
            self.cache.throw_away()
            manifest = Manifest(erased=erased)
        self._go_on(manifest)
        rows, frames, problem = self._read(manifest, limit)
        there = {path.name[-12:-4] for path in segment_files(self._record)}
        gone = {segment for file in manifest.files for segment in file.segments if segment[:8] not in there}
        total = journal_bytes_after(self._record, BEGINNING)
        if frames or gone or not manifest.state:
            try:
                if gone:
                    old, key = key, turn_cache(keyring)
                    manifest.files = self._again(manifest.files, there, old, key)
                manifest.files = self._written(manifest.files, rows, there, key)
            except (ValueError, OSError, RuntimeError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                self.cache.throw_away()  # a file of it cannot be read: Arrow's errors have no number
                self.close()
                return Progress(1, total, total)
            if self._erased() != erased or cache_key(keyring) != key:
                self.cache.throw_away()
                self.close()
                return Progress(1, total, total)
            assert self._feed is not None
            assert self._joiner is not None
            manifest.cursor = str(self._feed.cursor)
            manifest.under_way = [format_id(record) for record in self._joiner.waiting()]
            problems = [text for text in self._problems if not any(segment in text for segment in gone)]
            manifest.problems = problems[:_PROBLEMS]
            manifest.seen = dict(list(manifest.seen.items())[-_SEEN:])
            self.cache.publish(manifest, key)
            self._after = manifest.state
        return Progress(frames, journal_bytes_after(self._record, Cursor.parse(manifest.cursor)), total, problem)

    def _erased(self) -> str:
        done = sorted(erasure.pseudonym for erasure in self._persons().erasures() if erasure.erased)
        return sha256("\n".join(done).encode()).hexdigest() if done else ""

    def _go_on(self, manifest: Manifest) -> None:
        """Have a feed and a joiner at the place of the manifest."""
        if self._joiner is not None and self._after == manifest.state:
            return
        self.close()
        self._problems = dict.fromkeys(manifest.problems)
        self._feed = Feed(self._record, self._open_key, Cursor.parse(manifest.cursor))
        self._joiner = Joiner(
            self._feed,
            lambda: names(self._persons(), self._keyring()),
            lambda problem: self._problems.setdefault(str(problem)),
        )
        self._joiner.resume(parse_id(text) for text in manifest.under_way)
        self._after = manifest.state

    def _read(self, manifest: Manifest, limit: int) -> tuple[dict[str, list[Joined]], int, str]:
        assert self._feed is not None
        assert self._joiner is not None
        rows: dict[str, list[Joined]] = {kind: [] for kind in KINDS}
        frames, seen = 0, manifest.seen
        while frames < limit:
            try:
                found = self._feed.read(min(READ, limit - frames))
            except InterlockError as error:
                return rows, frames, str(error)
            for fed in found:
                segment = fed.record[0].hex()
                following = seen.pop(segment, 0)  # the newest last
                seen[segment] = max(following, fed.record[1] + 1)
                if fed.record[1] < following:
                    continue
                joined = self._joiner.add(fed)
                if joined is not None:
                    rows[joined.kind].append(joined)
            frames += len(found)
            if not found:
                break
        return rows, frames, ""

    def _written(self, files: list[File], rows: dict[str, list[Joined]], there: set[str], key: bytes) -> list[File]:
        """The files after this piece. Small ones are merged, so that their number grows as a logarithm."""
        found: list[File] = []
        for kind in KINDS:
            mine = [file for file in files if file.kind == kind]
            new = [one for one in rows[kind] if str(one.row["id"])[:8] in there]
            if new:
                merged: list[File] = []
                count = len(new)
                while mine and mine[-1].rows <= 2 * count and count + mine[-1].rows <= LARGEST:
                    count += mine[-1].rows
                    merged.insert(0, mine.pop())
                parts = [parquet.read(self.cache.folder / file.name, kind, key) for file in merged]
                mine.append(self._file(kind, [*parts, table(kind, new)], key))
            found += mine
        return found

    def _again(self, files: list[File], there: set[str], old: bytes, new: bytes) -> list[File]:
        """The same rows under another key, without those of segments that are gone."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found: list[File] = []
        for file in files:
            rows = parquet.read(self.cache.folder / file.name, file.kind, old)
            kept = rows.filter(
                pc.is_in(pc.utf8_slice_codeunits(rows["id"], 0, 8), pa.array(sorted(there), pa.string()))
            )
            if kept.num_rows:
                found.append(self._file(file.kind, [kept], new))
        return found

    def _file(self, kind: str, parts: list[Any], key: bytes) -> File:
        import pyarrow as pa
        import pyarrow.compute as pc

        whole = pa.concat_tables(parts)
        name = f"{kind}-{secrets.token_hex(8)}.parquet"
        path = self.cache.folder / name
        parquet.write(path, kind, whole, key)
        segments = pc.unique(pc.utf8_slice_codeunits(whole["id"], 0, 32)).to_pylist()
        return File(name, kind, whole.num_rows, parquet.footer(path), tuple(segments))
