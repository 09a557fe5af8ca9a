"""The bytes of a segment, checked by code that shares nothing with the writer but the primitives."""

from __future__ import annotations

import base64
import hashlib
import json
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from interlock.audit.header import SegmentHeader, decode_header, encode_header, key_info
from interlock.audit.segment import MAX_FRAME, MAX_PLAINTEXT, NOTHING, FrameReader, Segment, format_id, parse_id
from interlock.errors import RecordError
from tests.unit.audit.storage import PlainRecipient, open_plain

KEY = bytes(range(32))
HEADER = SegmentHeader(1, "00112233445566778899aabbccddeeff", "worker-3", "0123456789abcdef", 1_700_000_000_000_000_000,
                       "boot", "recipient", "c2VhbGVk")  # fmt: skip


def test_the_file_begins_with_magic_length_and_json() -> None:
    head = encode_header(HEADER)
    assert head[:8] == b"ILKSEG1\n"
    (length,) = struct.unpack(">I", head[8:12])
    assert json.loads(head[12:]) == {
        "version": 1,
        "segment": "00112233445566778899aabbccddeeff",
        "writer": "worker-3",
        "instance": "0123456789abcdef",
        "opened_ns": 1_700_000_000_000_000_000,
        "boot_id": "boot",
        "recipient": "recipient",
        "sealed": "c2VhbGVk",
        "class": 0,
        "intake": "",
        "subjects": "",
    }
    assert len(head) == 12 + length
    assert decode_header(head + b"frames") == (HEADER, len(head))
    assert Segment(HEADER, KEY).file_name == "20231114T221320Z-worker-3-00112233.seg"


def test_a_frame_is_what_the_format_says() -> None:
    segment = Segment(HEADER, KEY)
    segment.frame(7, b"first", 1)
    sequence, frame = segment.frame(2, b"plaintext", 0x0102030405060708, 0)
    assert sequence == 1
    length, version, event, class_, flags, number, time_ns, refers = struct.unpack(">IBBBBQQQ", frame[:32])
    assert (length, version, event, class_, flags) == (len(frame), 1, 2, 0, 0)
    assert (number, time_ns, refers) == (1, 0x0102030405060708, 0)
    assert len(frame) == 64 + len(b"plaintext") + 16
    plaintext = AESGCM(KEY).decrypt(bytes(4) + struct.pack(">Q", 1), frame[64:], frame[:64])
    assert plaintext == b"plaintext"
    commit = HKDF(SHA256(), 32, None, b"interlock record commitment 1").derive(KEY)
    stream = Cipher(algorithms.AES(commit), modes.CTR(bytes(16))).encryptor().update(bytes(64))
    assert frame[32:64] == hashlib.sha256(stream[32:] + plaintext).digest()


def test_a_frame_about_another_segment_names_it_under_authentication() -> None:
    segment = Segment(HEADER, KEY)
    other = bytes(range(16))
    _, frame = segment.frame(2, b"x", 1, 5, other)
    assert frame[7] == 1
    assert frame[64:80] == other
    assert FrameReader(KEY).open(frame) == b"x"
    swapped = frame[:64] + bytes(16) + frame[80:]
    with pytest.raises(RecordError):
        FrameReader(KEY).open(swapped)


def test_nothing_is_referred_to_by_default() -> None:
    _, frame = Segment(HEADER, KEY).frame(2, b"x", 1)
    assert struct.unpack(">Q", frame[24:32])[0] == NOTHING == 2**64 - 1


def test_salts_go_on_over_their_batches() -> None:
    segment = Segment(HEADER, KEY)
    reader = FrameReader(KEY)
    commitments = set()
    for number in range(600):
        sequence, frame = segment.frame(1, b"same", 1)
        assert sequence == number
        assert reader.open(frame) == b"same"
        commitments.add(frame[32:64])
    assert len(commitments) == 600  # equal plaintexts cannot be told by their commitments


def test_any_flipped_bit_of_a_frame_is_refused() -> None:
    segment = Segment(HEADER, KEY)
    _, frame = segment.frame(1, b"some plaintext", 1, 0)
    reader = FrameReader(KEY)
    for at in range(len(frame)):
        for bit in range(8):
            bad = bytearray(frame)
            bad[at] ^= 1 << bit
            with pytest.raises(RecordError):
                reader.open(bytes(bad))


def test_a_frame_of_another_key_or_cut_is_refused() -> None:
    _, frame = Segment(HEADER, KEY).frame(1, b"x", 1)
    with pytest.raises(RecordError):
        FrameReader(bytes(32)).open(frame)
    with pytest.raises(RecordError):
        FrameReader(KEY).open(frame[:-1])
    with pytest.raises(RecordError):
        FrameReader(KEY).open(frame[:70])


def test_a_frame_too_large_uses_no_sequence() -> None:
    segment = Segment(HEADER, KEY)
    with pytest.raises(RecordError):
        segment.frame(1, bytes(MAX_PLAINTEXT + 1), 1)
    sequence, frame = segment.frame(1, bytes(MAX_PLAINTEXT), 1)
    assert (sequence, len(frame)) == (0, MAX_FRAME - 16), "room for the segment that a frame may refer to"


def test_a_data_key_is_bound_to_its_segment_as_the_format_page_says() -> None:
    assert key_info(b"s" * 16) == b"interlock record segment 1 " + b"s" * 16


def test_each_segment_has_its_own_key_sealed_to_the_recipient() -> None:
    seen = set()
    for _ in range(3):
        segment = Segment.create("w", PlainRecipient(), 1)
        key = open_plain(segment.header.recipient, base64.b64decode(segment.header.sealed), key_info(segment.id))
        assert FrameReader(key).open(segment.frame(1, b"x", 1)[1]) == b"x"
        assert key not in segment.head
        seen |= {key, segment.id}
    assert len(seen) == 6


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a b", "-a", "x" * 33, "ü"])
def test_a_writer_has_a_name_fit_for_files(name: str) -> None:
    with pytest.raises(RecordError):
        Segment.create(name, PlainRecipient(), 1)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"ILKSEG1\n",
        b"ILKSEG2\n" + encode_header(HEADER)[8:],
        encode_header(HEADER)[:-1],
        b"ILKSEG1\n" + b"\xff\xff\xff\xff" + b"{}",
        b"ILKSEG1\n" + b"\x00\x00\x00\x02{}",
        encode_header(HEADER).replace(b'"version":1', b'"version":2'),
        encode_header(HEADER).replace(b'"segment":"00', b'"segment":"zz'),
    ],
)
def test_a_header_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(RecordError):
        decode_header(head)


def test_a_later_header_may_say_more() -> None:
    body = encode_header(HEADER)[12:].replace(b'"class":0', b'"class":0,"later":[1]')
    assert decode_header(b"ILKSEG1\n" + struct.pack(">I", len(body)) + body)[0] == HEADER


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_the_text_form_of_a_name_is_one_to_one(segment: bytes, sequence: int) -> None:
    assert parse_id(format_id((segment, sequence))) == (segment, sequence)


@pytest.mark.parametrize(
    "text", ["", "x", "00-1", "0" * 32, "0" * 32 + "-", "0" * 32 + "-x", "z" * 32 + "-1", "0" * 32 + "-²"]
)
def test_what_names_no_record_is_refused(text: str) -> None:
    with pytest.raises(RecordError):
        parse_id(text)


def test_frames_made_together_are_the_frames_made_alone() -> None:
    """Over the end of a stretch of salts, too."""
    entries = [
        (number % 7, b"%d" % number, number, number, bytes(16) if number % 5 == 0 else b"") for number in range(3000)
    ]
    alone, together = Segment(HEADER, KEY), Segment(HEADER, KEY)
    expected = [alone.frame(event, text, time, refers, other)[1] for event, text, time, refers, other in entries]
    for start, end in ((0, 1), (1, 250), (250, 260), (260, 600), (600, 1100), (1100, 3000)):
        added = [together.add(*entry) for entry in entries[start:end]]
        assert added == list(range(start, end))
        assert together.waiting == end - start
        assert together.take() == b"".join(expected[start:end])
    assert (together.waiting, together.take()) == (0, b"")
    opener = FrameReader(KEY)
    assert all(opener.open(frame) == b"%d" % number for number, frame in enumerate(expected))
