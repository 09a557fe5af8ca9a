"""Record keys by day and class: made ahead, followed by writers without the KEK, destroyed for good."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from interlock.audit import SegmentWriter
from interlock.audit.reader import SegmentReader, segment_files
from interlock.clock import SECOND, ManualClock
from interlock.errors import KeyMaterialError
from interlock.keys import DayRecipient, Keyring, Recipient, RecordDays
from interlock.keys.record_keys import DAYS_FILE, DayKey, Days, destroy, in_use, open_private, read_days
from interlock.keys.sealing import write_private
from interlock.model import Event
from interlock.model.retention import DAY

NOON = (20_000 * DAY // SECOND + 43_200) * SECOND  # 2024-10-04T12:00:00Z


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def keyring(tmp_path: Path, clock: ManualClock) -> Keyring:
    keyring = Keyring(tmp_path / "keys", bytes(32), clock=clock)
    keyring.ensure()
    return keyring


def test_before_there_are_any_the_record_key_is_taken(keyring: Keyring, clock: ManualClock) -> None:
    present = DayRecipient(keyring.folder, clock)
    assert present.id == keyring.recipient().id
    assert present.class_ == 0


def test_a_day_has_its_key_and_the_next_one_is_there_before_midnight(keyring: Keyring, clock: ManualClock) -> None:
    present = DayRecipient(keyring.folder, clock)
    RecordDays(keyring, clock).tend(0)
    ids = []
    for _ in range(5):
        ids.append(present.id)
        clock.advance(86_400)
    assert [one[:11] for one in ids[:3]] == ["20241004-0-", "20241005-0-", "20241006-0-"]
    assert ids[3] == ids[4] == ids[2]  # nobody made any: the last one goes on
    assert keyring.open_record_key(ids[-1]).open(present.seal(b"x" * 32, b"i"), b"i") == b"x" * 32


def test_a_writer_takes_the_days_key_and_class_when_it_begins_a_segment(
    keyring: Keyring, clock: ManualClock, tmp_path: Path
) -> None:
    days = RecordDays(keyring, clock)
    days.tend(1)
    writer = SegmentWriter(tmp_path, "worker-1", DayRecipient(keyring.folder, clock), clock=clock)
    for _ in range(3):
        writer.append(Event.NODE_START.code, b"\x90")
        writer.flush()
        clock.advance(86_400)
    writer.close()
    headers = []
    for path in segment_files(tmp_path):
        with SegmentReader(path) as reader:
            headers.append(reader.header)
    assert [header.recipient[:11] for header in headers] == ["20241004-1-", "20241005-1-", "20241006-1-"]
    assert [header.class_ for header in headers] == [1, 1, 1]


def test_tending_makes_each_key_once_and_forgets_days_that_are_over(keyring: Keyring, clock: ManualClock) -> None:
    days = RecordDays(keyring, clock)
    days.tend(0)
    first = read_days(keyring.folder)
    assert days.tend(0) == []
    assert read_days(keyring.folder) == first
    for _ in range(40):
        clock.advance(86_400)
        assert days.tend(0) == []
    published = read_days(keyring.folder)
    assert published is not None
    today = clock.wall() // DAY
    assert [key.day for key in published.keys] == [today - 1, today, today + 1, today + 2]
    assert {"record-2024-10", "record-2024-11"} <= set(keyring.names())
    keyring.check()


def test_another_class_has_its_own_keys(keyring: Keyring, clock: ManualClock) -> None:
    days, present = RecordDays(keyring, clock), DayRecipient(keyring.folder, clock)
    days.tend(0)
    standard = present.id
    days.tend(2)
    assert present.id != standard
    assert (present.id[:11], present.class_) == ("20241004-2-", 2)
    days.tend(0)
    assert present.id == standard  # the same day has the same key


def test_a_rotation_counts_at_once_and_days_go_on_after_it(keyring: Keyring, clock: ManualClock) -> None:
    days, present = RecordDays(keyring, clock), DayRecipient(keyring.folder, clock)
    days.tend(0)
    new = keyring.rotate_record_key()
    assert present.id == new.id
    assert days.tend(0) == []
    assert present.id == new.id
    clock.advance(86_400)
    assert present.id.startswith("20241005-0-")


def test_a_stranger_is_put_out(keyring: Keyring, clock: ManualClock) -> None:
    """Somebody who can write in the folder has writers seal to themselves."""
    days, present = RecordDays(keyring, clock), DayRecipient(keyring.folder, clock)
    days.tend(0)
    right = present.id
    public = Recipient(bytes([9]) + bytes(31))
    stranger = DayKey(NOON // DAY, 0, f"20241004-0-{public.id}", public.public_key)
    write_private(keyring.folder / DAYS_FILE, _encoded(Days(1, 0, [stranger])))
    assert present.id == stranger.id
    assert days.tend(0) == [stranger.id]
    assert present.id not in (stranger.id, right)  # the right one is not published any more: a new one is made
    assert keyring.open_record_key(present.id)
    assert keyring.open_record_key(right)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 2, "class": 0, "keys": []}'])
def test_a_damaged_file_loses_no_record_and_is_made_anew(keyring: Keyring, clock: ManualClock, content: bytes) -> None:
    days, present = RecordDays(keyring, clock), DayRecipient(keyring.folder, clock)
    days.tend(0)
    before = present.id
    (keyring.folder / DAYS_FILE).write_bytes(content)
    assert present.id == before
    assert DayRecipient(keyring.folder, clock).id == keyring.recipient().id
    assert days.tend(0) == ["a file that cannot be read"]
    assert present.id.startswith("20241004-0-")


def test_a_key_whose_id_is_another_ones_is_not_taken(keyring: Keyring, clock: ManualClock) -> None:
    public = Recipient(bytes([9]) + bytes(31))
    wrong = DayKey(NOON // DAY, 0, "20241004-0-0123456789abcdef", public.public_key)
    write_private(keyring.folder / DAYS_FILE, _encoded(Days(1, 0, [wrong])))
    assert DayRecipient(keyring.folder, clock).id == keyring.recipient().id


def test_what_is_destroyed_opens_nothing(keyring: Keyring, clock: ManualClock) -> None:
    days, present = RecordDays(keyring, clock), DayRecipient(keyring.folder, clock)
    days.tend(0)
    key_id = present.id
    with pytest.raises(KeyMaterialError, match="in use"):
        destroy(keyring, key_id)
    for _ in range(3):
        clock.advance(86_400)
        days.tend(0)
    assert key_id not in in_use(keyring.folder)
    assert destroy(keyring, key_id)
    assert not destroy(keyring, key_id)
    assert open_private(keyring, key_id) is None
    with pytest.raises(KeyMaterialError, match="no record key"):
        keyring.open_record_key(key_id)
    assert keyring.open_record_key(present.id)


def test_a_retired_plain_key_is_destroyed_too(keyring: Keyring) -> None:
    first = keyring.recipient().id
    with pytest.raises(KeyMaterialError, match="in use"):
        destroy(keyring, first)
    second = keyring.rotate_record_key()
    assert destroy(keyring, first)
    assert keyring.open_record_key(second.id)


def _encoded(days: Days) -> bytes:
    return msgspec.json.encode(days)
