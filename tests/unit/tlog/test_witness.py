"""The forms of C2SP tlog-witness: its own examples, and what is not one."""

from __future__ import annotations

import pytest

from interlock.errors import LogError
from interlock.tlog import (
    AddCheckpoint,
    format_add_checkpoint,
    parse_add_checkpoint,
    parse_checkpoint,
    parse_cosignatures,
    parse_note,
    parse_size,
    timestamp_of,
)

# "Example request body" and "Example response body" of the specification. Its note is of a tree smaller than the old
# size, and its keys are not given: it is an example of the form only.
REQUEST = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\N{EM DASH} example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\N{EM DASH} example.com/behind-the-sofa \
opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6265UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""
RESPONSE = """\
\N{EM DASH} witness.example/w1 \
CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
\N{EM DASH} witness.example/w1 \
I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
\N{EM DASH} witness.example/w2 \
AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
"""


def test_the_specifications_request_is_read_and_written() -> None:
    request = parse_add_checkpoint(REQUEST.encode())
    assert (request.old, len(request.proof)) == (20852014, 4)
    assert all(len(one) == 32 for one in request.proof)
    note = parse_note(request.checkpoint)
    assert parse_checkpoint(note.text).size == 20852163
    assert len(note.signatures) == 2
    assert format_add_checkpoint(request) == REQUEST.encode()


def test_the_specifications_answer_is_read() -> None:
    found = parse_cosignatures(RESPONSE.encode())
    assert [one.name for one in found] == ["witness.example/w1", "witness.example/w1", "witness.example/w2"]
    assert [str(one) for one in found] == RESPONSE.splitlines()
    with pytest.raises(LogError):
        timestamp_of(found[0])  # it is no real cosignature: its time is beyond 2^63


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0",
        b"\n\nx",
        b"old\n\nx",
        b"old \n\nx",
        b"old 00\n\nx",
        b"old 01\n\nx",
        b"old +1\n\nx",
        b"old -1\n\nx",
        b"old 1 \n\nx",
        b" old 1\n\nx",
        b"old  1\n\nx",
        b"Old 1\n\nx",
        b"old 0x1\n\nx",
        b"old 9223372036854775808\n\nx",
        b"old 1\r\n\r\nx",
        b"old 1\nPlRN\n\nx",
        b"old 1\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkax=\n\nx",  # unused bits
        b"old 1\n" + 64 * b"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n" + b"\nx",
        "old \N{ARABIC-INDIC DIGIT ONE}\n\nx".encode(),
        b"old 1\n\xff\n\nx",
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(LogError):
        parse_add_checkpoint(body)


def test_63_lines_are_a_proof() -> None:
    assert len(parse_add_checkpoint(b"old 1\n" + 63 * (b"A" * 43 + b"=\n") + b"\nx").proof) == 63


def test_what_would_not_read_back_is_not_written() -> None:
    for request in (AddCheckpoint(-1, (), b"x"), AddCheckpoint(1, (b"short",), b"x")):
        with pytest.raises(LogError):
            format_add_checkpoint(request)


@pytest.mark.parametrize("data", [b"", b"\n", b"x\n", RESPONSE.encode()[:-1], RESPONSE.encode() + b"\n", b"\xff\n"])
def test_what_are_no_cosignatures_is_refused(data: bytes) -> None:
    with pytest.raises(LogError):
        parse_cosignatures(data)


def test_a_size_is_a_decimal_and_a_newline() -> None:
    assert parse_size(b"20852163\n") == 20852163
    assert parse_size(b"0\n") == 0
    for data in (b"", b"\n", b"1", b"01\n", b"1\n\n", b"-1\n", b"one\n", b"\xff\n"):
        with pytest.raises(LogError):
            parse_size(data)
