"""A disk that fails on demand, and a small world of writers and a recorder on top of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from interlock.audit import AttestPage, Recorder, Report, SegmentWriter, verify
from interlock.audit.entries import Intent, Outcome, Refused, encode
from interlock.audit.files import Files
from interlock.audit.segment import RecordId, Segment
from interlock.audit.signing import LogSigner
from interlock.clock import ManualClock
from interlock.model import Event

BOOT = "00000000-0000-4000-8000-000000000001"
INTENT = Event.CALL_INTENT.code
OUTCOME = Event.CALL_OUTCOME.code
REFUSED = Event.CALL_REFUSED.code


class PlainRecipient:
    """Seals nothing: what is tested here is not HPKE."""

    id = "plain"
    class_ = 0

    def seal(self, data_key: bytes, info: bytes) -> bytes:
        return b"sealed:" + info + data_key


def open_plain(recipient_id: str, sealed: bytes, info: bytes) -> bytes:
    assert recipient_id == "plain"
    assert sealed.startswith(b"sealed:" + info)
    return sealed[-32:]


class Disk(Files):
    """Real files, but a sync costs nothing, is remembered, and any step can be made to fail.

    `fault` is asked before each step that changes something, with the step's name and path, and again
    after it: (name, path, done) -> the error to raise, or None.
    """

    CHANGES = ("create", "write", "truncate", "fdatasync", "rename", "unlink", "sync_folder", "reopen", "allocate")

    def __init__(self) -> None:
        self.fault: Callable[[str, Path, bool], OSError | None] | None = None
        self.steps: list[tuple[str, Path]] = []
        self.room: int | None = None  # bytes that may still be written
        self._paths: dict[int, Path] = {}
        self._on_disk: dict[int, bytes] = {}  # inode -> what a power cut leaves
        self._folders: dict[Path, dict[str, int]] = {}  # folder -> name -> inode, as last synced

    def _step(self, name: str, path: Path, done: bool) -> None:
        if not done:
            self.steps.append((name, path))
        if self.fault is not None and (error := self.fault(name, path, done)) is not None:
            raise error

    def create(self, path: Path) -> int:
        self._step("create", path, False)
        fd = super().create(path)
        self._paths[fd] = path
        self._step("create", path, True)
        return fd

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self._paths[fd] = path
        return fd

    def reopen(self, path: Path) -> int:
        self._step("reopen", path, False)
        fd = super().reopen(path)
        self._paths[fd] = path
        self._step("reopen", path, True)
        return fd

    def duplicate(self, fd: int) -> int:
        other = super().duplicate(fd)
        self._paths[other] = self._paths[fd]
        return other

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self._step("write", self._paths[fd], False)
        if self.room is not None:
            if self.room <= 0:
                raise OSError(errno.ENOSPC, "no space")
            data = memoryview(data)[: self.room]
            self.room -= len(data)
        written = super().write(fd, data, offset)
        self._step("write", self._paths[fd], True)
        return written

    def truncate(self, fd: int, size: int) -> None:
        self._step("truncate", self._paths[fd], False)
        super().truncate(fd, size)
        self._step("truncate", self._paths[fd], True)

    def fdatasync(self, fd: int) -> None:
        self._step("fdatasync", self._paths[fd], False)
        found = os.fstat(fd)
        self._on_disk[found.st_ino] = os.pread(fd, found.st_size, 0)
        self._step("fdatasync", self._paths[fd], True)

    def allocate(self, fd: int, size: int) -> None:
        self._step("allocate", self._paths[fd], False)
        os.ftruncate(fd, size)
        self._step("allocate", self._paths[fd], True)

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", new, False)
        super().rename(old, new)
        for fd, path in self._paths.items():
            if path == old:
                self._paths[fd] = new
        self._step("rename", new, True)

    def unlink(self, path: Path) -> None:
        self._step("unlink", path, False)
        super().unlink(path)
        self._step("unlink", path, True)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder", path, False)
        self._folders[path] = {entry.name: entry.inode() for entry in os.scandir(path) if entry.is_file()}
        self._step("sync_folder", path, True)

    def power_cut(self) -> None:
        """Leave of every folder and file that was ever synced exactly what the last syncs covered.

        A name that was replaced since leads to what it led to before.
        """
        for folder, names in self._folders.items():
            for entry in list(os.scandir(folder)):
                if entry.is_file() and entry.name not in names:
                    os.unlink(entry.path)
            for name, inode in names.items():
                path = folder / name
                if path.exists():
                    path.write_bytes(self._on_disk.get(inode, b""))


class Page:
    def __init__(self) -> None:
        self.sealed: list[int] = []
        self.alarms = 0

    def published(self, sealed_ns: int) -> None:
        self.sealed.append(sealed_ns)

    def alarm(self) -> None:
        self.alarms += 1


class World:
    """One node's record: a folder, a clock, a disk, the attest page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "record"
        self.record.mkdir()
        self.clock = ManualClock()
        self.disk = Disk()
        self.page = Page()
        self.boot = BOOT
        self.attest = AttestPage.open(folder / "attest", self.boot)
        self.recipient = PlainRecipient()
        self.signer = LogSigner("log.example/test", bytes(range(32)))

    def writer(self, name: str = "worker-3", **settings: object) -> SegmentWriter:
        return SegmentWriter(
            self.record,
            name,
            self.recipient,
            clock=self.clock,
            attest=self.attest,
            files=self.disk,
            boot=self.boot,
            **settings,  # type: ignore[arg-type]
        )

    def recorder(self, **settings: object) -> Recorder:
        return Recorder(
            self.record,
            self.recipient,
            self.signer,
            self.page,
            self.attest,
            clock=self.clock,
            files=self.disk,
            boot=self.boot,
            reserve_size=4096,
            **settings,  # type: ignore[arg-type]
        )

    def verify(
        self, known_head: str | None = None, attest: bool = False, kept: Sequence[tuple[str, bytes]] = ()
    ) -> Report:
        page = self.folder / "attest" if attest else None
        return verify(
            self.record, known_head=known_head, attest=page, log=self.signer, kept=kept, now=self.clock.wall()
        )

    def segments(self) -> list[Path]:
        return sorted((self.record / "segments").glob("*.seg"))

    def journals(self) -> list[Path]:
        return sorted(self.record.glob("journal-*"))

    def reboot(self) -> None:
        """The machine starts again: the shared pages are gone."""
        self.boot = self.boot[:-1] + chr(ord(self.boot[-1]) + 1)
        self.attest = AttestPage.open(self.folder / "attest", self.boot)


def intent(number: int = 0) -> bytes:
    return encode(
        Intent(
            f"user:iss/u{number}", ("jwt",), "GET", "h", "GET /a", f"/a/{number}", "10.0.0.1", "up", f"{number:032x}"
        )
    )


def outcome(status: int = 200) -> bytes:
    return encode(Outcome(status, "", 1_500_000, 10, 20, "http://up"))


def refused(reason: str = "token-expired") -> bytes:
    return encode(Refused("anonymous:interlock/anonymous", (), "GET", "h", "", "/a", "10.0.0.2", reason, 401))


def call(writer: SegmentWriter, number: int = 0) -> RecordId:
    """One call from intent to outcome; gives the intent."""
    record = writer.append(INTENT, intent(number))
    writer.flush()
    writer.append(OUTCOME, outcome(), record)
    writer.flush()
    return record


def die(writer: SegmentWriter) -> None:
    """What kill -9 does to a writer: all its descriptors are closed, nothing else."""
    opened = [writer._file, *writer._held, *writer._dirty]
    for fd in {file.fd for file in opened if file is not None}:
        writer._files.close(fd)
    writer._file = None
    writer._held = []
    writer._dirty = []


def forge(world: World, boot: str, refers: RecordId) -> Path:
    """Put a segment among the others whose clear part says that someone acknowledged `refers`."""
    now = world.clock.wall()
    segment = Segment.create("control", world.recipient, now, boot_id=boot)
    code = Event.RECORD_GAP_ACKNOWLEDGED.code
    frame = bytearray(segment.frame(code, b"garbage", now, refers[1], refers[0])[1])
    frame[-10:] = bytes(10)
    path = world.record / "segments" / segment.file_name
    path.write_bytes(segment.head + frame)
    return path


def settle(recorder: Recorder, rounds: int = 12) -> None:
    """Tick until nothing is left to do."""
    for _ in range(rounds):
        if not recorder.tick() and not recorder.trouble:
            return
        recorder._clock.advance(0.2)  # type: ignore[attr-defined]


def fail_nth(nth: int, done: bool, code: int = errno.EIO) -> Callable[[str, Path, bool], OSError | None]:
    """The nth changing step fails once: before it is done, or after it was (done, but reported failed)."""
    seen = 0

    def fault(name: str, path: Path, is_done: bool) -> OSError | None:
        nonlocal seen
        if not is_done:
            seen += 1
        if seen == nth and is_done == done:
            seen += 1 if done else 0
            return OSError(code, f"injected at {name} {path.name}")
        return None

    return fault
