"""The record's log as publishing sees it: the newest checkpoint, verified, and `log/published`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from interlock.audit import log_verifier
from interlock.audit.files import Files, read_all, write_aside
from interlock.audit.signing import LogVerifier
from interlock.audit.tiles import Tiles
from interlock.audit.tree import CHECKPOINT, LARGEST_CHECKPOINT, PUBLISHED
from interlock.clock import SECOND
from interlock.control.paths import Paths
from interlock.control.publishing.places import Published
from interlock.control.publishing.witness import Candidate
from interlock.errors import LogError, RecordError
from interlock.tlog import (
    Note,
    Signature,
    TiledTree,
    consistency_proof,
    format_note,
    parse_note,
    verify_consistency,
)


class RecordLog:
    """Read, but for `log/published`, which is its own."""

    def __init__(self, paths: Paths, files: Files) -> None:
        self._paths = paths
        self._files = files
        self._log = paths.record / "log"

    def stamp(self) -> tuple[int, int]:
        """Changes with the newest checkpoint; (0, 0) if there is none."""
        try:
            found = os.stat(self._log / CHECKPOINT)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def candidate(self) -> Candidate:
        """The newest checkpoint, verified. `RecordError`, `LogError`, `OSError`."""
        data = self._read(CHECKPOINT)
        if data is None:
            raise RecordError("there is no checkpoint yet")
        verifier = self._verifier()
        signed = verifier.open_signed(data)
        tree = self._tree(signed.checkpoint.size)
        checkpoint = signed.checkpoint

        def prove(old: int) -> Sequence[bytes]:
            proof = consistency_proof(tree, old)
            verify_consistency(old, checkpoint.size, proof, tree.root(old), checkpoint.root)  # or a tile is damaged
            return proof

        return Candidate(data, signed.opened.text, checkpoint, verifier.time_of(signed) * SECOND, prove)

    def published(self) -> Published | None:
        """What was published last, if this log signed it."""
        data = self._read(PUBLISHED)
        if data is None:
            return None
        verifier = self._verifier()
        signed = verifier.open_signed(data)
        checkpoint = signed.checkpoint
        return Published(checkpoint.origin, checkpoint.size, verifier.time_of(signed) * SECOND, data)

    def must_go_on(self, candidate: Candidate) -> None:
        """Raise `RecordError` unless the checkpoint goes on from what is published, which stays as the evidence."""
        data = self._read(PUBLISHED)
        if data is None:
            return
        try:
            before = self._verifier().open(data)
        except LogError:
            return  # verify says so; the next one replaces it
        size = candidate.checkpoint.size
        if before.size > size:
            raise RecordError(
                f"the published checkpoint covers {before.size} records, the record {size}: it was set back"
            )
        tree = self._tree(size)
        if tree.root() != candidate.checkpoint.root:
            raise RecordError("the tree's tiles do not lead to the newest checkpoint: run `interlock audit verify`")
        if tree.root(before.size) != before.root:
            raise RecordError(f"the published checkpoint of {before.size} records is of another history")

    def publish(self, candidate: Candidate, cosignatures: Sequence[Signature]) -> bytes:
        """Put it on disk; gives the note with all its signatures."""
        note = parse_note(candidate.note)
        data = format_note(Note(note.text, (*note.signatures, *cosignatures)))
        write_aside(self._files, self._log / PUBLISHED, data)
        return data

    def _verifier(self) -> LogVerifier:
        return log_verifier(self._paths.keys)  # read each time: the log's key may have turned

    def _tree(self, size: int) -> TiledTree:
        return TiledTree(Tiles(self._log, self._files), size)

    def _read(self, name: str) -> bytes | None:
        try:
            fd = self._files.open(self._log / name)
        except FileNotFoundError:
            return None
        try:
            return read_all(self._files, fd, LARGEST_CHECKPOINT, 0)
        finally:
            self._files.close(fd)
