"""The change log: nothing announced is lost, nothing torn is read."""

from __future__ import annotations

import errno
import multiprocessing
import os
import struct
import zlib
from pathlib import Path

import pytest

from interlock.errors import SnapshotError
from interlock.snapshot import ChangeLog, KeyAdded, NodePage, NotBefore, Revoked, Risk, read_changes
from interlock.snapshot.changes import START, Change
from interlock.snapshot.page import EPOCH

ONE = KeyAdded(b"\1" * 32, b"value")
TWO = Revoked(b"\2" * 32)
THREE = Revoked(b"\3" * 32)


@pytest.fixture
def page(tmp_path: Path) -> NodePage:
    return NodePage.create(tmp_path / "page", 4)


@pytest.fixture
def log(tmp_path: Path, page: NodePage) -> ChangeLog:
    log = ChangeLog(tmp_path / "changes.log", page)
    log.create()
    return log


def test_appended_then_announced_then_read(tmp_path: Path, page: NodePage, log: ChangeLog) -> None:
    path = tmp_path / "changes.log"
    assert page.words[EPOCH] == START
    first = log.append([ONE])
    assert page.words[EPOCH] == first == log.end()
    second = log.append([TWO, THREE])
    assert read_changes(path, 0, second) == [ONE, TWO, THREE]
    assert read_changes(path, first, second) == [TWO, THREE]
    assert read_changes(path, second, second) == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_bytes_on_disk(tmp_path: Path, log: ChangeLog) -> None:
    log.append([TWO])
    data = (tmp_path / "changes.log").read_bytes()
    payload = b"\x93\x02\xc4\x20" + b"\2" * 32 + b"\0"  # msgpack [2, handle, 0]
    assert data[:8] == b"ILKCHNG1"
    assert data[8:12] == len(payload).to_bytes(4, "little")
    assert data[16:] == payload


def test_a_mark_on_disk(tmp_path: Path, log: ChangeLog) -> None:
    mark = NotBefore(b"\4" * 32, 1_700_000_000, 5)
    end = log.append([mark])
    data = (tmp_path / "changes.log").read_bytes()
    assert data[16:] == b"\x94\x03\xc4\x20" + b"\4" * 32 + b"\xce" + (1_700_000_000).to_bytes(4, "big") + b"\5"
    assert read_changes(tmp_path / "changes.log", 0, end) == [mark]


@pytest.mark.parametrize("payload", [b"\x92\x02\xc4\x20" + b"\2" * 32, b"\x93\x03\xc4\x20" + b"\2" * 32 + b"\7"])
def test_frames_without_what_was_added_later_are_read(tmp_path: Path, page: NodePage, payload: bytes) -> None:
    path = tmp_path / "changes.log"
    data = b"ILKCHNG1" + struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    path.write_bytes(data)
    (change,) = read_changes(path, 0, len(data))
    assert change in (Revoked(b"\2" * 32), NotBefore(b"\2" * 32, 7))


@pytest.mark.parametrize("since", [0, -1, 1 << 63])
def test_a_mark_of_no_time_is_refused(log: ChangeLog, since: int) -> None:
    with pytest.raises(SnapshotError, match="second"):
        log.append([NotBefore(b"\4" * 32, since)])


def test_a_tail_torn_at_any_byte_is_cut_at_the_next_append(tmp_path: Path, page: NodePage, log: ChangeLog) -> None:
    path = tmp_path / "changes.log"
    epoch = log.append([ONE])
    log.append([TWO])
    whole = path.read_bytes()
    for length in range(epoch, len(whole)):
        path.write_bytes(whole[:length])
        page.words[EPOCH] = epoch
        assert read_changes(path, 0, log.append([THREE])) == [ONE, THREE]


def test_garbage_after_the_epoch_is_cut(tmp_path: Path, log: ChangeLog) -> None:
    path = tmp_path / "changes.log"
    log.append([ONE])
    for garbage in (b"\xff" * 64, bytes(64), b"\x05\0\0\0\0\0\0\0hello"):
        with path.open("ab") as file:
            file.write(garbage)
        log.append([TWO])
    assert read_changes(path, 0, log.end()) == [ONE, TWO, TWO, TWO]


def test_what_was_cut_does_not_come_back(tmp_path: Path, page: NodePage, log: ChangeLog) -> None:
    path = tmp_path / "changes.log"
    start = log.append([ONE])
    size = log.append([TWO]) - start
    frame = path.read_bytes()[start:]
    os.truncate(path, start)
    page.words[EPOCH] = start
    with path.open("ab") as file:
        file.write(b"\xff" * size + frame)  # torn, and after it what looks whole
    log.append([THREE])
    log.append([ONE])
    assert read_changes(path, 0, log.end()) == [ONE, THREE, ONE]


def test_a_whole_frame_that_was_never_announced_is_kept(tmp_path: Path, page: NodePage, log: ChangeLog) -> None:
    epoch = log.append([ONE])
    log.append([TWO])
    page.words[EPOCH] = epoch  # as if the writer had been killed between the sync and the announcement
    end = log.append([THREE])
    assert read_changes(tmp_path / "changes.log", epoch, end) == [TWO, THREE]


def test_a_log_shorter_than_announced_is_refused_by_writer_and_reader(tmp_path: Path, log: ChangeLog) -> None:
    end = log.append([ONE, TWO])
    os.truncate(tmp_path / "changes.log", end - 1)
    with pytest.raises(SnapshotError, match="not there"):
        read_changes(tmp_path / "changes.log", 0, end)
    with pytest.raises(SnapshotError, match="were announced"):
        log.append([THREE])


def test_every_flipped_byte_is_found_by_the_reader(tmp_path: Path, log: ChangeLog) -> None:
    path = tmp_path / "changes.log"
    end = log.append([ONE, TWO])
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(SnapshotError):
            read_changes(path, 0, end)


def test_a_kind_of_the_future_is_refused_not_skipped(tmp_path: Path, page: NodePage, log: ChangeLog) -> None:
    import zlib

    payload = b"\x92\x63\xc4\x01x"
    with (tmp_path / "changes.log").open("ab") as file:
        file.write(len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload)
    with pytest.raises(SnapshotError, match="not understood"):
        read_changes(tmp_path / "changes.log", 0, START + 8 + len(payload))


@pytest.mark.parametrize("change", [Revoked(b"short"), KeyAdded(b"", b"v"), KeyAdded(bytes(32), bytes(2 << 20))])
def test_a_wrong_change_is_not_written(log: ChangeLog, change: Change) -> None:
    with pytest.raises(SnapshotError):
        log.append([ONE, change])
    assert log.end() == START


@pytest.mark.parametrize("step", ["pwrite", "fdatasync"])
def test_what_could_not_be_written_is_not_announced(
    tmp_path: Path, log: ChangeLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(os, step)
    before = log.append([ONE])

    def fails(fd: int, *rest: object) -> int:
        if step == "pwrite":
            os.write(fd, b"")
            real(fd, bytes(rest[0])[:5], rest[1])  # type: ignore[call-overload]
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(SnapshotError, match="No space left"):
        log.append([TWO])
    monkeypatch.undo()
    assert log.end() == before
    assert (tmp_path / "changes.log").stat().st_size == before
    assert read_changes(tmp_path / "changes.log", 0, log.append([THREE])) == [ONE, THREE]


def test_a_short_write_goes_on(tmp_path: Path, log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:7], at))
    end = log.append([ONE, TWO])
    assert read_changes(tmp_path / "changes.log", 0, end) == [ONE, TWO]


def test_without_a_node_the_log_is_read_from_its_start(tmp_path: Path, log: ChangeLog) -> None:
    end = log.append([ONE])
    alone = ChangeLog(tmp_path / "changes.log")
    assert alone.end() == end
    assert alone.append([TWO]) > end
    assert read_changes(tmp_path / "changes.log", 0, alone.end()) == [ONE, TWO]


def test_no_log_and_another_file(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        ChangeLog(tmp_path / "none").append([ONE])
    with pytest.raises(SnapshotError, match="No such file"):
        read_changes(tmp_path / "none", 0, 100)
    (tmp_path / "other").write_bytes(b"something else")
    with pytest.raises(SnapshotError, match="not a change log"):
        ChangeLog(tmp_path / "other").append([ONE])


def _writer(folder: Path, number: int) -> None:
    log = ChangeLog(folder / "changes.log", NodePage.open(folder / "page"))
    for turn in range(50):
        log.append([Revoked(bytes([number, turn]) + bytes(30))])


def test_many_writers_lose_nothing(tmp_path: Path, log: ChangeLog) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_writer, args=(tmp_path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    handles = {c.handle for c in read_changes(tmp_path / "changes.log", 0, log.end()) if isinstance(c, Revoked)}
    assert handles == {bytes([number, turn]) + bytes(30) for number in range(4) for turn in range(50)}


@pytest.mark.parametrize("value", [-1, 101])
def test_a_risk_beyond_its_scale_is_refused(log: ChangeLog, value: int) -> None:
    with pytest.raises(SnapshotError, match="0 to 100"):
        log.append([Risk(b"\4" * 32, value)])


def test_a_risk_on_disk(tmp_path: Path, log: ChangeLog) -> None:
    end = log.append([Risk(b"\4" * 32, 80, 5)])
    data = (tmp_path / "changes.log").read_bytes()
    assert data[16:] == b"\x94\x04\xc4\x20" + b"\4" * 32 + b"\x50\5"
    assert read_changes(tmp_path / "changes.log", 0, end) == [Risk(b"\4" * 32, 80, 5)]
