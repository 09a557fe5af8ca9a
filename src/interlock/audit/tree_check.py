"""Makes the tree again from the journal's leaves and holds it against all that was ever said of it. Reads only.

1. What the journal says of each checkpoint is the root of the leaves before it.
2. The newest checkpoint is signed by this log, and its root is that of as many leaves.
3. So is that of the published checkpoint, and of every one kept elsewhere: the record goes on from it.
   The journal leads over what each of them says of it (`bound.py`).
4. The tiles of the newest checkpoint's tree are on disk, byte for byte.

A quick check takes the tiles' word for the leaves: it makes no tree, and asks the tiles for the roots.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interlock.audit.bound import journal_of
from interlock.audit.files import Files
from interlock.audit.journal import Signed
from interlock.audit.report import Report
from interlock.audit.signing import LogVerifier
from interlock.audit.tiles import Tiles
from interlock.audit.tree import CHECKPOINT, PUBLISHED, Edge, read_checkpoint
from interlock.errors import LogError, RecordError
from interlock.tlog import (
    EMPTY_ROOT,
    HASH_SIZE,
    TILE_WIDTH,
    Checkpoint,
    TiledTree,
    Tree,
    cut,
    parse_checkpoint,
    parse_note,
)

_AT_ONCE = 1 << 16  # leaves
_FILE = f"log/{CHECKPOINT}"


class TreeCheck:
    """Fed with the journal's entries in order; `finish` says what is left to say."""

    def __init__(
        self, record: Path, report: Report, files: Files, log: LogVerifier | None, *, quick: bool = False
    ) -> None:
        self._quick = quick
        self._report = report
        self._files = files
        self._log = log
        self._record = record
        self._tiles = Tiles(record / "log", files)
        self._tree = Tree()
        self._edge = Edge()
        self._leaves: list[bytes] = []
        self._wanted: dict[int, list[tuple[str, bytes]]] = {}  # size -> (who says so, the root)
        self._tiled = 0  # the size of the tree whose tiles are held against what is on disk
        self._promised = 0  # size and root of the newest checkpoint that the journal names
        self._promised_root = EMPTY_ROOT
        self._journals: dict[bytes, list[str]] = {}  # running hashes that signed checkpoints name -> which do
        self._sealed = 0  # leaves that the journal names
        self._broken = False  # not all leaves are known

    def begin(self, kept: Sequence[tuple[str, bytes]]) -> None:
        """Read the checkpoints before the journal, which then holds all that they cover: the node may be running."""
        kept = [*self._published(), *kept]  # first, for it may be replaced by one that covers more
        newest = self._newest()
        if newest is not None:
            self._report.checkpoint = newest
            self._tiled = newest.size
            self._want(_FILE, newest)
        for name, data in kept:
            if self._log is None:
                self._report.problem(name, "cannot be checked: the log's public key is not known")
                continue
            try:
                self._want(name, self._log.open(data))
            except LogError as error:
                self._report.problem(name, f"is no checkpoint of this log: {error}")

    def passed(self, running: bytes) -> None:
        """The journal's running hash after an entry."""
        self._journals.pop(running, None)

    def add(self, leaves: bytes) -> None:
        """The leaves of one seal."""
        self._sealed += len(leaves) // HASH_SIZE
        if self._quick:
            return
        self._leaves += cut(leaves)
        if len(self._leaves) >= _AT_ONCE:
            self._grow()

    def signed(self, name: str, entry: Signed) -> None:
        """What the journal says of a checkpoint, after all leaves that it covers."""
        self._promised, self._promised_root = entry.size, entry.root
        if self._broken or self._quick:
            return
        self._grow()
        if (self._tree.size, self._tree.root()) != (entry.size, entry.root):
            self._report.problem(name, f"a checkpoint of {entry.size} records has another root than they have")

    def lose(self) -> None:
        """Part of the journal cannot be read: nothing can be said of the tree beyond."""
        self._broken = True

    def finish(self) -> None:
        """Say what did not come."""
        missing = self._report.checkpoint is None and not any(one.file == _FILE for one in self._report.problems)
        if missing and self._promised:
            self._report.problem(_FILE, "is missing")
        elif missing and self._sealed and self._log is not None and self._newest() is None:
            # Looked for again: a recorder may just have begun. It signs a checkpoint of nothing before it seals.
            self._report.problem(_FILE, "is missing: nothing of the record is signed")
        if self._broken:
            return
        if self._quick:
            self._ask_tiles()
        self._grow()
        for size, claims in self._wanted.items():
            for name, _ in claims:
                self._report.problem(
                    name, f"covers {size} records, more than there are: the record was cut or set back"
                )
        told = {problem.file for problem in self._report.problems}
        for name in (name for names in self._journals.values() for name in names if name not in told):
            self._report.problem(name, "was made of another journal: it was rewritten")

    def _ask_tiles(self) -> None:
        tiled = TiledTree(self._tiles, self._tiled)
        if self._promised <= self._tiled:
            self._wanted.setdefault(self._promised, []).append(("journal", self._promised_root))
        for size in [size for size in self._wanted if size <= self._tiled]:
            for name, root in self._wanted.pop(size):
                try:
                    if tiled.root(size) != root:
                        self._report.problem(name, f"its root of {size} records is not that of the tiles")
                except (RecordError, LogError) as error:
                    self._report.problem("log/tile", str(error))

    def _want(self, name: str, checkpoint: Checkpoint) -> None:
        running = journal_of(checkpoint)
        if running is not None:
            self._journals.setdefault(running, []).append(name)
        if checkpoint.size:
            self._wanted.setdefault(checkpoint.size, []).append((name, checkpoint.root))
        elif checkpoint.root != EMPTY_ROOT:
            self._report.problem(name, "has a root that no empty tree has")

    def _published(self) -> list[tuple[str, bytes]]:
        """What witnesses have cosigned; held against the record as one that was kept elsewhere."""
        name = f"log/{PUBLISHED}"
        try:
            return [(name, read_checkpoint(self._files, self._record / name))]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._report.problem(name, f"cannot be read: {error.strerror}")
            return []

    def _newest(self) -> Checkpoint | None:
        try:
            data = read_checkpoint(self._files, self._record / "log" / CHECKPOINT)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report.problem(_FILE, f"cannot be read: {error.strerror}")
            return None
        try:
            if self._log is None:
                self._report.notices.append(f"{_FILE}: its signature was not checked: no public key was given")
                return parse_checkpoint(parse_note(data).text)
            signed = self._log.open_signed(data)
            self._report.checkpoint_time = self._log.time_of(signed)
        except LogError as error:
            self._report.problem(_FILE, f"was altered: {error}")
            return None
        return signed.checkpoint

    def _grow(self) -> None:
        """Take the leaves into the tree, stopping at each size that somebody made a claim of."""
        while self._leaves and not self._broken:
            ends = [size for size in self._wanted if self._tree.size < size <= self._tree.size + len(self._leaves)]
            if self._tree.size < self._tiled:
                ends.append(self._tiled)
            count = min([end - self._tree.size for end in ends], default=len(self._leaves))
            leaves, self._leaves = self._leaves[:count], self._leaves[count:]
            last = self._tree.size + len(leaves) >= self._tiled
            for tile, data in self._edge.grow(self._tree, leaves):
                if self._tree.size <= self._tiled and (last or tile.width == TILE_WIDTH):
                    try:
                        if self._tiles.read(tile.level, tile.index, tile.width) != data:
                            self._report.problem(f"log/{tile.path}", "was altered")
                    except RecordError as error:
                        self._report.problem(f"log/{tile.path}", str(error))
            for name, root in self._wanted.pop(self._tree.size, []):
                if root != self._tree.root():
                    size = self._tree.size
                    self._report.problem(name, f"its root of {size} records is not that of the record: another history")
