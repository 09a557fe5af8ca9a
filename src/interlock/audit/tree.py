"""The recorder's Merkle tree over all sealed leaves, in the order of the journal's seals, and its checkpoints.

What a checkpoint covers is on disk, and each step may be the last one before a crash:

 1. the seals are in the journal, on disk (the recorder's own commit);
 2. the tiles that they change are written and synced;
 3. the journal says size and root of the checkpoint to come, and that is synced;
 4. the checkpoint is signed and replaces the one before;
 5. partial tiles that only the one before needed are removed.

The tree is derived: from the journal's leaves it comes out the same whatever was done when. So a tree that
does not hold what the journal promised is an alarm, and is made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from interlock.audit.bound import journal_of
from interlock.audit.files import Files, read_all, write_aside
from interlock.audit.journal import Begin, Scan, Sealed, Signed, journal_path
from interlock.audit.journal_writer import JournalWriter
from interlock.audit.tiles import Tiles
from interlock.audit.watch import Watch
from interlock.clock import SECOND, Clock
from interlock.errors import LogError, RecordError
from interlock.tlog import (
    EMPTY_ROOT,
    HASH_SIZE,
    TILE_WIDTH,
    Checkpoint,
    Tile,
    TiledTree,
    TileReader,
    Tree,
    cut,
    grown_tiles,
)

CHECKPOINT = "checkpoint"
PUBLISHED = "published"  # one with witnesses' cosignatures; put there by control
_EVERY = SECOND  # while there is something new
_IDLE = 60 * SECOND  # a checkpoint is signed anew, with the time, when there is nothing
LARGEST_CHECKPOINT = 1 << 20  # bytes of a checkpoint
_AT_ONCE = 1 << 16  # leaves added in one step while catching up


class Signer(Protocol):
    """What signs checkpoints, and knows its own."""

    origin: str

    def sign(self, size: int, root: bytes, time_ns: int, journal: bytes, /) -> bytes:
        """The signed checkpoint, with the running hash of the journal."""
        ...

    def open(self, data: bytes) -> Checkpoint:
        """A checkpoint that this log signed, with a key it has or had; `LogError`."""
        ...


class Edge:
    """The partial tiles of a tree, kept in memory: growing it needs no others, and nobody can take these away."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], bytes] = {}  # by level and index

    @classmethod
    def of(cls, tiles: TileReader, size: int) -> Edge:
        """Those of a tree of that size, read from its tiles."""
        edge = cls()
        for tile in partial_tiles(size):
            edge._tiles[tile.level, tile.index] = tiles.read(tile.level, tile.index, tile.width)
        return edge

    def read(self, level: int, index: int, width: int) -> bytes:
        """For growing (`tlog.TileReader`)."""
        return self._tiles[level, index]

    def grow(self, tree: Tree, leaves: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Append the leaves to the tree; the tiles that it has now and had not before."""
        grown = grown_tiles(tree.append(leaves), self)
        for tile, data in grown:
            if tile.width < TILE_WIDTH:
                self._tiles[tile.level, tile.index] = data
            else:
                self._tiles.pop((tile.level, tile.index), None)
        return grown


class RecordTree:
    """The tree of one record; for the recorder's thread. Errors of the disk are `OSError`; the next try goes on.

    Without a signer nothing is done: what is sealed then is taken up by the next recorder that has one.
    """

    def __init__(
        self, record: Path, journal: JournalWriter, signer: Signer | None, *, files: Files, clock: Clock, watch: Watch
    ) -> None:
        self.signed = 0  # checkpoints
        self._record = record
        self._journal = journal
        self._signer = signer
        self._files = files
        self._clock = clock
        self._path = record / "log" / CHECKPOINT
        self._watch = watch
        self._tiles = Tiles(record / "log", files, watch)
        self._tree = Tree()
        self._new: list[bytes] = []  # leaves, 32 bytes each, not in the tree yet
        self._unwritten: list[tuple[Tile, bytes]] = []
        self._edge = Edge()
        self._old: list[Tile] = []  # those of the newest checkpoint's tree, on disk
        self._due = 0
        self._idle_due = 0
        self._published = -1  # size of the checkpoint that is there
        self._bound = b""  # the running hash of the journal that it names

    @property
    def size(self) -> int:
        """Leaves in the tree and on their way into it."""
        return self._tree.size + len(self._new)

    def start(self) -> list[str]:
        """Take up the tree where the journal says it is; gives what is wrong with what was found."""
        problems: list[str] = []
        if self._signer is None:
            return problems
        state = self._journal.state
        found = self._read(problems, self._signer)
        size, root = state.signed_size, state.signed_root or EMPTY_ROOT
        try:
            tiled = TiledTree(self._tiles, size)
            self._tree = tiled.tree()
            self._edge = Edge.of(self._tiles, size)
            wrong = "" if self._tree.root() == root else "the tree's tiles do not lead to the root that was signed"
            if not wrong and found is not None and found.size <= size and tiled.root(found.size) != found.root:
                problems.append("the checkpoint is of another tree")
        except (RecordError, LogError) as error:
            wrong = str(error)
        if wrong:
            problems.append(wrong)
            self._rebuild(size)
            if self._tree.root() != root:
                problems.append("the journal does not lead to the root that was signed")
        if found is not None and found.size > size:
            problems.append(f"the checkpoint covers {found.size} records, the journal {state.size}: it was set back")
        if found is None and state.size and not problems:
            problems.append("the checkpoint is missing")
        self._bound = (journal_of(found) if found is not None else None) or b""
        if self._bound and not self._is_ours(self._bound):
            problems.append("the journal is not the one that was signed: it was rewritten")
        self._old = partial_tiles(self._tree.size)
        self._published = found.size if found is not None and not problems else -1
        if found is None and not state.size and not problems:
            self._publish(self._signer)  # of nothing: who finds leaves and no checkpoint knows that there was one
        for leaves in sealed_leaves(self._files, self._record, self._journal.place, self._tree.size):
            self._take(leaves)
        return problems

    def add(self, seals: Iterable[Sealed]) -> None:
        """Leaves whose seals are on disk, in their order there."""
        if self._signer is not None:
            for seal in seals:
                self._take(seal.leaves)

    def tend(self, *, at_once: bool = False) -> bool:
        """Make the next checkpoint if it is due; says whether it did."""
        if self._signer is None:
            return False
        now = self._clock.monotonic()
        ready = (
            self._new
            or self._unwritten
            or self._published != self._tree.size
            or self._bound != self._journal.running  # what is not of leaves is signed with the next one as well
        )
        if not at_once and now < (self._due if ready else self._idle_due):
            return False
        if at_once and not ready and self._published >= 0:
            return False
        self._write_tiles()
        if self._published != self._tree.size or not ready:
            self._publish(self._signer)
        self._due = now + _EVERY
        self._idle_due = now + _IDLE
        return True

    def _take(self, leaves: bytes) -> None:
        self._new += cut(leaves)

    def _write_tiles(self) -> None:
        while self._new or self._unwritten:
            if not self._unwritten:
                self._unwritten = self._edge.grow(self._tree, self._new[:_AT_ONCE])
                del self._new[:_AT_ONCE]
            self._tiles.write(self._unwritten)
            self._unwritten = []

    def _publish(self, signer: Signer) -> None:
        size, root = self._tree.size, self._tree.root()
        state, now = self._journal.state, self._clock.wall()
        if (state.signed_size, state.signed_root or EMPTY_ROOT) != (size, root):
            self._journal.add(Signed(size, root, now))
            self._journal.commit()
        self._tiles.make_ready()
        running = self._journal.running
        try:
            write_aside(self._files, self._path, signer.sign(size, root, now, running))
        finally:
            self._watch.note(self._path)
        self.signed += 1
        self._bound = running
        if self._published != size:
            edge = partial_tiles(size)
            self._tiles.forget_partial(_replaced(self._old, edge))
            self._old = edge
            self._published = size

    def _is_ours(self, running: bytes) -> bool:
        """Whether the journal leads over that running hash: the newest entries are looked at first."""
        number, offset = self._journal.place
        end: int | None = offset
        while number:
            scan = Scan(self._files, journal_path(self._record, number), end)
            begin: Begin | None = None
            for entry in scan:
                if isinstance(entry, Begin):
                    begin = entry
                if scan.running == running:
                    return True
            if begin is None:
                return False
            number, end = begin.previous, begin.previous_offset
        return False

    def _read(self, problems: list[str], signer: Signer) -> Checkpoint | None:
        try:
            return signer.open(read_checkpoint(self._files, self._path))
        except FileNotFoundError:
            return None
        except OSError as error:
            problems.append(f"the checkpoint cannot be read: {error.strerror}")
        except LogError as error:
            problems.append(f"the checkpoint is not one of ours: {error}")
        return None

    def _rebuild(self, size: int) -> None:
        """The tree of the first `size` leaves again, from the journal alone."""
        self._tree = Tree()
        self._edge = Edge()
        for leaves in sealed_leaves(self._files, self._record, self._journal.place, 0):
            self._take(leaves[: (size - self.size) * HASH_SIZE])
            self._write_tiles()
            if self.size == size:
                return


def read_checkpoint(files: Files, path: Path) -> bytes:
    """A checkpoint as it lies there, not verified; `OSError`."""
    fd = files.open(path)
    try:
        return read_all(files, fd, LARGEST_CHECKPOINT, 0)
    finally:
        files.close(fd)


def partial_tiles(size: int) -> list[Tile]:
    """The partial tiles of a tree of that size."""
    tiles, level = [], 0
    while size:
        if width := size % TILE_WIDTH:
            tiles.append(Tile(level, size // TILE_WIDTH, width))
        size //= TILE_WIDTH
        level += 1
    return tiles


def _replaced(before: list[Tile], after: list[Tile]) -> list[Tile]:
    """For each place that had a partial tile: what is there now."""
    now = {(tile.level, tile.index): tile for tile in after}
    return [now.get((tile.level, tile.index), Tile(tile.level, tile.index, TILE_WIDTH)) for tile in before]


def seals(files: Files, record: Path, end: tuple[int, int | None], first: int) -> Iterator[tuple[int, Sealed]]:
    """The journal's seals from the one with leaf number `first` on, each with the number of its first leaf.

    `end` is the number of the journal's last file and where its last entry ends, None for where the file does.
    `RecordError` if the journal does not hold them.
    """
    number, offset = end
    parts: list[tuple[int, int | None]] = []
    size = 0
    while number:
        parts.insert(0, (number, offset))
        begin = next(iter(Scan(files, journal_path(record, number))), None)
        if not isinstance(begin, Begin):
            raise RecordError(f"journal-{number:05d} has lost its beginning")
        size = begin.size
        if size <= first:
            break
        number, offset = begin.previous, begin.previous_offset
    for number, offset in parts:
        for entry in Scan(files, journal_path(record, number), offset):
            if isinstance(entry, Sealed):
                if size + entry.count > first:
                    yield size, entry
                size += entry.count


def sealed_leaves(files: Files, record: Path, end: tuple[int, int], first: int) -> Iterator[bytes]:
    """The leaf hashes from leaf number `first` on, joined as they were sealed."""
    for index, seal in seals(files, record, end, first):
        yield seal.leaves[max(0, first - index) * HASH_SIZE :]
