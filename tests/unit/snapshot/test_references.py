"""What opaque tokens stand for: found as soon as they are written, by every reader, and never when they are damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.errors import SnapshotError
from interlock.snapshot.references import HOUR, LONGEST, MAGIC, SLACK, ReferenceLog, References

NOW = 500_000 * HOUR + HOUR // 2
SOON = NOW + HOUR // 4


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_is_written_is_found_at_once_by_everybody(tmp_path: Path) -> None:
    log = ReferenceLog(tmp_path / "tokens")
    early = References(tmp_path / "tokens")
    assert early.find(name(1), NOW) is None, "the folder is not there yet"
    log.add(name(1), b"one", SOON, NOW)
    late = References(tmp_path / "tokens")
    assert early.find(name(1), NOW) == late.find(name(1), NOW) == b"one"
    log.add(name(2), b"two", NOW + LONGEST, NOW)
    assert early.find(name(2), NOW) == late.find(name(2), NOW) == b"two", "in the next hour's file"
    assert early.find(name(1), NOW) == b"one"
    assert early.find(name(3), NOW) is None


def test_many_are_found_in_any_order(tmp_path: Path) -> None:
    log, reader = ReferenceLog(tmp_path / "tokens"), References(tmp_path / "tokens")
    for number in range(3000):
        log.add(name(number), b"%d" % number * 200, SOON, NOW)
        if number % 500 == 0:
            assert reader.find(name(number // 2), NOW) == b"%d" % (number // 2) * 200
    assert [reader.find(name(number), NOW) for number in (2999, 0, 1234)] == [
        b"%d" % number * 200 for number in (2999, 0, 1234)
    ]
    assert References(tmp_path / "tokens").find(name(2999), NOW) is not None


def test_another_process_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    ReferenceLog(tmp_path / "tokens").add(name(1), b"one", SOON, NOW)
    (file,) = (tmp_path / "tokens").iterdir()
    whole = file.read_bytes()
    reader = References(tmp_path / "tokens")
    assert reader.find(name(1), NOW) == b"one"
    frame = whole[len(MAGIC) :]
    for torn in range(1, len(frame)):
        file.write_bytes(whole + frame[:torn])
        assert reader.find(name(2), NOW) is None
        log = ReferenceLog(tmp_path / "tokens")
        log.add(name(2), b"two", SOON, NOW)
        log.close()
        assert reader.find(name(1), NOW) == b"one"
        assert References(tmp_path / "tokens").find(name(2), NOW) == b"two"
        file.write_bytes(whole)
        reader = References(tmp_path / "tokens")


def test_every_changed_byte_makes_a_token_unknown_or_leaves_it_as_it_was(tmp_path: Path) -> None:
    log = ReferenceLog(tmp_path / "tokens")
    log.add(name(1), b'{"sub":"alice"}', SOON, NOW)
    (file,) = (tmp_path / "tokens").iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        assert References(tmp_path / "tokens").find(name(1), NOW) is None, at
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert References(tmp_path / "tokens").find(name(1), NOW) is None, length


def test_hours_that_are_over_are_gone(tmp_path: Path) -> None:
    log, reader = ReferenceLog(tmp_path / "tokens"), References(tmp_path / "tokens")
    log.add(name(1), b"one", SOON, NOW)
    assert reader.find(name(1), NOW) == b"one"
    later = NOW + 2 * HOUR
    assert reader.find(name(1), later) is None
    log.add(name(2), b"two", later + HOUR // 4, later)
    assert len(list((tmp_path / "tokens").iterdir())) == 1
    assert reader.find(name(2), later) == b"two"
    assert reader.find(name(1), NOW) is None, "also with a clock that is set back"
    end = SOON // HOUR * HOUR + HOUR
    log.add(name(3), b"three", end - 1, NOW)
    assert reader.find(name(3), end + SLACK - 1) is not None, "an issuer's leeway"


def test_what_could_not_be_taken_back_is_not_written(tmp_path: Path) -> None:
    log = ReferenceLog(tmp_path / "tokens")
    for lookup, value, expires in (
        (b"short", b"x", SOON),
        (name(1), b"x", NOW),
        (name(1), b"x", NOW + LONGEST + 1),
        (name(1), b"x" * (1 << 16), SOON),
    ):
        with pytest.raises(SnapshotError):
            log.add(lookup, value, expires, NOW)
    assert not (tmp_path / "tokens").exists() or not list((tmp_path / "tokens").iterdir())


def test_a_full_disk_and_a_full_hour_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, reader = ReferenceLog(tmp_path / "tokens"), References(tmp_path / "tokens")
    log.add(name(1), b"one", SOON, NOW)
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:7], at))
    with pytest.raises(SnapshotError):
        log.add(name(2), b"two", SOON, NOW)
    monkeypatch.undo()
    assert reader.find(name(2), NOW) is None
    log.add(name(3), b"three", SOON, NOW)
    assert reader.find(name(3), NOW) == b"three", "what was half written was cut"
    monkeypatch.setattr("interlock.snapshot.references.MOST", 2)
    with pytest.raises(SnapshotError):
        log.add(name(4), b"four", SOON, NOW)


def test_nobody_else_reads_the_files(tmp_path: Path) -> None:
    ReferenceLog(tmp_path / "tokens").add(name(1), b"one", SOON, NOW)
    (file,) = (tmp_path / "tokens").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
