"""Subject frames: what identifies somebody is under their own key, and a record only points at it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from interlock.audit import SegmentWriter, query
from interlock.audit.entries import Intent, decode, encode
from interlock.audit.header import SegmentHeader
from interlock.audit.reader import SegmentReader, frame_reader, read_frames
from interlock.audit.segment import FRAME_HEADER, Segment, commitment_key, salts
from interlock.audit.subjects import (
    PATH,
    PRINCIPAL,
    SOURCE,
    Subject,
    SubjectSealer,
    content_key,
    intake_info,
    open_subject,
    subject_key,
)
from interlock.audit.subjects_reading import Names
from interlock.audit.writer import KNOWN
from interlock.errors import KeyMaterialError, RecordError, RecordUnavailable
from interlock.keys import Recipient, RecipientKey
from interlock.model import Event
from tests.unit.audit.storage import INTENT, World, open_plain, outcome

SEGMENT, KEY = bytes(range(16)), b"s" * 32
SUBJECT = Event.RECORD_SUBJECT.code


class Intake:
    """An intake key that turns when it is told to."""

    def __init__(self) -> None:
        self.private: dict[str, RecipientKey] = {}
        self.turn()

    def turn(self) -> None:
        raw = X25519PrivateKey.generate()
        self.public = Recipient(raw.public_key().public_bytes_raw())
        self.private[self.public.id] = RecipientKey(raw.private_bytes_raw())

    def __call__(self) -> Recipient:
        return self.public

    def open(self, intake_id: str, sealed: bytes, info: bytes) -> bytes:
        if intake_id not in self.private:
            raise KeyMaterialError("it was destroyed")
        return self.private[intake_id].open(sealed, info)


class Nothing:
    """A state database that knows nobody."""

    def __init__(self) -> None:
        self.gone: dict[int, str] = {}

    def erased(self, segment: bytes) -> dict[int, str]:
        return self.gone

    def content_keys(self, segment: bytes) -> dict[int, bytes]:
        return {}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def writer(world: World, intake: Intake) -> Iterator[SegmentWriter]:
    writer = world.writer(intake=intake)
    yield writer
    writer.close()


def call(writer: SegmentWriter, principal: str = "user:iss/alice", source: str = "192.0.2.1") -> None:
    writer.settle()
    who, where = writer.refer(PRINCIPAL, principal, "key1"), writer.refer(SOURCE, source)
    about = writer.refer(PATH, "4711", "patient")
    intent = Intent(who, ("jwt",), "GET", "h", "r", ["/p/", about, "/x"], where, "up", credential=who)  # type: ignore[list-item]
    record = writer.append(INTENT, encode(intent))
    writer.append(Event.CALL_OUTCOME.code, outcome(), record)
    writer.flush()


def frames(world: World, event: int) -> list[bytes]:
    found = []
    for path in world.segments():
        with SegmentReader(path) as reader:
            opener = frame_reader(reader.header, open_plain)
            found += [opener.open(frame.data) for frame in reader.frames() if frame.event == event]
    return found


@pytest.mark.parametrize(
    "subject",
    [Subject(PRINCIPAL, "user:iss/a", "key"), Subject(SOURCE, "::1"), Subject(PATH, "ü" * 5000, "patient")],
)
def test_what_is_sealed_opens_again(subject: Subject) -> None:
    payload = SubjectSealer(SEGMENT, KEY).seal(7, subject)
    assert subject.value.encode() not in payload
    assert open_subject(content_key(KEY, SEGMENT, 7, payload), SEGMENT, 7, payload) == subject


def test_each_frame_has_a_content_key_of_its_own() -> None:
    sealer, subject = SubjectSealer(SEGMENT, KEY), Subject(SOURCE, "192.0.2.1")
    one, other = sealer.seal(1, subject), sealer.seal(2, subject)
    assert content_key(KEY, SEGMENT, 1, one) != content_key(KEY, SEGMENT, 2, other)


def test_how_long_a_value_is_does_not_show() -> None:
    sealer, number = SubjectSealer(SEGMENT, KEY), count()
    lengths = {len(sealer.seal(next(number), Subject(PRINCIPAL, f"user:i/{'n' * size}", "k"))) for size in range(1, 30)}
    assert len(lengths) == 1


@pytest.mark.parametrize(("segment", "sequence"), [(bytes(16), 7), (SEGMENT, 8)])
def test_a_frame_in_another_place_does_not_open(segment: bytes, sequence: int) -> None:
    """Neither moved within its segment nor copied into another, even by someone with its keys."""
    payload = SubjectSealer(SEGMENT, KEY).seal(7, Subject(SOURCE, "192.0.2.1"))
    content = content_key(KEY, SEGMENT, 7, payload)
    with pytest.raises(RecordError, match="another segment"):
        content_key(KEY, segment, sequence, payload)
    with pytest.raises(RecordError, match="another segment"):
        open_subject(content, segment, sequence, payload)


def test_a_changed_byte_is_noticed() -> None:
    payload = SubjectSealer(SEGMENT, KEY).seal(7, Subject(SOURCE, "192.0.2.1"))
    for at in range(0, len(payload), 7):
        changed = bytearray(payload)
        changed[at] ^= 1
        with pytest.raises(RecordError):
            open_subject(content_key(KEY, SEGMENT, 7, bytes(changed)), SEGMENT, 7, bytes(changed))


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode([2, b"w", b"s"]), b"\x91\x01"])
def test_what_is_no_subject_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(RecordError):
        content_key(KEY, SEGMENT, 0, payload)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("user:login.example.com/alice", Subject(PRINCIPAL, "user:login.example.com/alice")),
        ("source:2001:db8::1", Subject(SOURCE, "2001:db8::1")),
        ("source:2001:db8::/64", Subject(SOURCE, "2001:db8::/64")),
        ("patient:4711", Subject(PATH, "4711", "patient")),
        ("patient:a:b", Subject(PATH, "a:b", "patient")),
    ],
)
def test_how_people_name_a_subject(text: str, subject: Subject) -> None:
    assert Subject.named(text) == subject
    assert subject.id == text


@pytest.mark.parametrize("text", ["", "alice", ":x", "patient:"])
def test_what_names_nobody(text: str) -> None:
    with pytest.raises(ValueError, match="KIND:VALUE"):
        Subject.named(text)


def test_a_value_stands_in_no_record_and_once_in_a_segment(world: World, writer: SegmentWriter) -> None:
    for _ in range(3):
        call(writer)
    entries = [decode(Event.CALL_INTENT, payload) for payload in frames(world, INTENT)]
    assert [entry.principal for entry in entries if isinstance(entry, Intent)] == [0, 0, 0]
    assert len(frames(world, SUBJECT)) == 3
    for payload in frames(world, INTENT) + frames(world, SUBJECT):
        for value in (b"alice", b"192.0.2.1", b"4711", b"key1"):
            assert value not in payload


def test_a_reader_with_the_intake_key_sees_the_values(world: World, writer: SegmentWriter, intake: Intake) -> None:
    call(writer)
    (row,) = query(world.record, open_plain, names=Names(Nothing(), intake.open), principal="user:iss/*")
    shown = {name: row[name] for name in ("principal", "credential", "resource", "source", "status")}
    assert shown == {
        "principal": "user:iss/alice",
        "credential": "key1",
        "resource": "/p/4711/x",
        "source": "192.0.2.1",
        "status": 200,
    }


def test_without_names_nobody_is_named(world: World, writer: SegmentWriter) -> None:
    call(writer)
    (row,) = query(world.record, open_plain)
    assert (row["principal"], row["credential"], row["resource"]) == ("hidden:0", "", "/p/hidden:2/x")


@pytest.mark.parametrize(("subject", "number"), [("patient:4711", 2), ("user:iss/bob", 1), ("source:192.0.2.9", 0)])
def test_what_names_a_subject(world: World, writer: SegmentWriter, intake: Intake, subject: str, number: int) -> None:
    call(writer)
    call(writer, "user:iss/bob")
    names = Names(Nothing(), intake.open)
    assert len(list(query(world.record, open_plain, names=names, subject=subject))) == number


def test_what_was_erased_says_so_though_keys_are_there(world: World, writer: SegmentWriter, intake: Intake) -> None:
    call(writer)
    known = Nothing()
    known.gone = {0: "abc", 2: "def"}
    (row,) = query(world.record, open_plain, names=Names(known, intake.open))
    assert (row["principal"], row["credential"], row["resource"]) == ("erased:abc", "", "/p/erased:def/x")


def test_what_is_neither_known_nor_erased_is_a_problem(world: World, writer: SegmentWriter, intake: Intake) -> None:
    """Also where the state database was emptied: that is no erasure."""
    call(writer)
    intake.private.clear()
    problems: list[RecordError] = []
    (row,) = query(world.record, open_plain, names=Names(Nothing(), intake.open), on_problem=problems.append)
    assert (row["principal"], row["source"]) == ("lost:0", "lost:1")
    assert len(problems) == 3
    assert "neither known nor erased" in str(problems[0])
    with pytest.raises(RecordError):
        list(query(world.record, open_plain, names=Names(Nothing(), intake.open)))


def test_a_reference_to_another_segments_subject_names_nobody(
    world: World, writer: SegmentWriter, intake: Intake
) -> None:
    call(writer)
    with_subjects, other = world.writer("w", intake=intake), Intent(0, (), "GET", "h", "r", "/", 99, "up")
    with_subjects.append(INTENT, encode(other))
    with_subjects.close()
    problems: list[RecordError] = []
    names = Names(Nothing(), intake.open)
    rows = list(query(world.record, open_plain, names=names, on_problem=problems.append))
    assert [row["principal"] for row in rows if row["outcome"] == "open"] == ["lost:0"]
    assert all("is not in this segment" in str(problem) for problem in problems)
    assert len(problems) == 2


def test_the_next_segment_begins_anew(world: World, writer: SegmentWriter) -> None:
    call(writer)
    world.clock.advance(86_400)
    call(writer)
    assert len(world.segments()) == 2
    assert len(frames(world, SUBJECT)) == 6


def test_a_record_is_of_the_segment_it_was_settled_into(world: World, writer: SegmentWriter, intake: Intake) -> None:
    """Though midnight falls between the two."""
    call(writer)
    writer.settle()
    who = writer.refer(PRINCIPAL, "user:iss/alice", "key1")
    world.clock.advance(86_400)
    segment, _ = writer.append(INTENT, encode(Intent(who, (), "GET", "h", "r", "/", "", "up")))
    writer.flush()
    assert world.segments()[0].name[-12:-4] == segment.hex()[:8]
    names = Names(Nothing(), intake.open)
    assert {row["principal"] for row in query(world.record, open_plain, names=names)} == {"user:iss/alice"}


def test_a_failed_write_loses_no_subject(world: World, writer: SegmentWriter, intake: Intake) -> None:
    """The segment is given up with the frames that were to be referred to."""
    world.disk.fault = lambda name, path, done: OSError(5, "no") if name == "write" and path.suffix == ".seg" else None
    with pytest.raises(RecordUnavailable):
        call(writer)
    world.disk.fault = None
    world.clock.advance(1)
    call(writer)
    (row,) = query(world.record, open_plain, names=Names(Nothing(), intake.open))
    assert row["principal"] == "user:iss/alice"


def test_remembering_is_bounded(world: World, writer: SegmentWriter) -> None:
    writer.settle()
    first = [writer.refer(SOURCE, str(number)) for number in range(KNOWN)]
    assert writer.refer(SOURCE, "0") == first[0]
    assert writer.refer(SOURCE, "one more") == KNOWN
    assert writer.refer(SOURCE, "0") == KNOWN + 1


def test_a_turned_intake_key_ends_the_segment(world: World, writer: SegmentWriter, intake: Intake) -> None:
    call(writer)
    writer.renew()
    call(writer)
    assert len(world.segments()) == 1
    intake.turn()
    writer.renew()
    assert [frame.event for frame in read_frames(world.segments()[0])][-1] == Event.SEGMENT_END.code
    call(writer)
    headers = [SegmentReader(path).header.intake for path in world.segments()]
    assert len(set(headers)) == 2
    assert world.recorder().stop()
    assert world.verify().ok


def test_a_turned_intake_key_ends_a_busy_segment_with_its_next_record(
    world: World, writer: SegmentWriter, intake: Intake
) -> None:
    writer.append(INTENT, encode(Intent("", (), "GET", "h", "r", "/", "", "up")))
    intake.turn()
    writer.renew()
    writer.flush()
    assert len(world.segments()) == 1
    call(writer)
    assert len(world.segments()) == 2


def test_a_key_that_turns_while_a_segment_begins_is_not_missed(world: World) -> None:
    """Who turned it lists the segments after that, and destroys the old one when they have ended."""
    old, new = Intake(), Intake()
    asked = iter([old.public])  # the first time; then the new one
    writer = world.writer(intake=lambda: next(asked, new.public))
    call(writer)
    headers = {path.name: SegmentReader(path).header.intake for path in world.segments()}
    assert sorted(headers.values()) == sorted([old.public.id, new.public.id])
    ended = next(path for path in world.segments() if headers[path.name] == old.public.id)
    assert [frame.event for frame in read_frames(ended)] == [Event.SEGMENT_END.code]


def test_no_segment_begins_without_the_intake_key(world: World) -> None:
    def gone() -> Recipient:
        raise KeyMaterialError("intake.pub: no such file")

    with pytest.raises(RecordUnavailable):
        call(world.writer(intake=gone))


def test_a_segment_from_before_there_were_subjects_is_read(world: World) -> None:
    """Its header has no such members, and its values stand in the clear."""
    old = SegmentHeader(1, SEGMENT.hex(), "worker-0", "0" * 16, world.clock.wall(), "b", "plain", "")
    sealed = base64.b64encode(world.recipient.seal(KEY, b"interlock record segment 1 " + SEGMENT)).decode()
    segment = Segment(msgspec.structs.replace(old, sealed=sealed), KEY)
    members = msgspec.json.decode(segment.head[12:])
    del members["intake"], members["subjects"]
    body = msgspec.json.encode(members)
    frame = segment.frame(INTENT, encode(Intent("user:a/b", (), "GET", "h", "r", "/a", "::1", "up")), 1)[1]
    folder = world.record / "segments"
    folder.mkdir()
    (folder / segment.file_name).write_bytes(segment.head[:8] + len(body).to_bytes(4, "big") + body + frame)
    names = Names(Nothing(), Intake().open)
    (row,) = query(world.record, open_plain, names=names, subject="user:a/b")
    assert (row["principal"], row["resource"], row["source"]) == ("user:a/b", "/a", "::1")


def test_guesses_cannot_be_compared_with_the_commitment(intake: Intake) -> None:
    """Whoever has the data key can recompute commitments; of a value they say nothing without the content key."""
    segment = Segment(SegmentHeader(1, SEGMENT.hex(), "w", "0" * 16, 1, "", "", ""), KEY)
    sealer, guess = SubjectSealer(SEGMENT, b"x" * 32), Subject(PATH, "4711", "patient")
    frame = segment.frame(SUBJECT, sealer.seal(0, guess), 1)[1]
    commitment, salt = FRAME_HEADER.unpack_from(frame)[8], salts(commitment_key(KEY), 0, 1)
    payload = frame_reader_payload(segment, frame)
    assert sha256(salt + payload).digest() == commitment  # so far the holder of the data key comes
    for value in range(5000):
        again = SubjectSealer(SEGMENT, os.urandom(32)).seal(0, Subject(PATH, str(value), "patient"))
        assert sha256(salt + again).digest() != commitment


def frame_reader_payload(segment: Segment, frame: bytes) -> bytes:
    from interlock.audit.segment import FrameReader

    return FrameReader(KEY).open(frame)


def test_the_subject_key_is_bound_to_its_segment(world: World, writer: SegmentWriter, intake: Intake) -> None:
    call(writer)
    with SegmentReader(world.segments()[0]) as reader:
        header = reader.header
    key = subject_key(header, intake.open)
    assert len(key) == 32
    with pytest.raises(KeyMaterialError):
        intake.open(header.intake, base64.b64decode(header.subjects), intake_info(bytes(16)))
    with pytest.raises(KeyMaterialError):
        subject_key(msgspec.structs.replace(header, segment=bytes(16).hex()), intake.open)
