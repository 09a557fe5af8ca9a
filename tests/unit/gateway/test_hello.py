"""ClientHellos of the real `ssl`, whole, byte by byte, cut into records, and bent."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.gateway.hello import Incomplete, server_name


def hello(name: str | None = "api.example.com") -> bytes:
    """What a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLO = hello()


def in_records(raw: bytes, size: int) -> bytes:
    """The same handshake message in records of at most `size` bytes (RFC 8446 section 5.1)."""
    message = raw[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(raw[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_the_name_is_read() -> None:
    assert server_name(HELLO) == "api.example.com"
    assert server_name(HELLO + b"what follows") == "api.example.com"


def test_the_name_is_lower_case() -> None:
    assert server_name(hello("API.Example.COM")) == "api.example.com"


def test_no_name() -> None:
    assert server_name(hello(None)) == ""


def test_every_beginning_is_incomplete() -> None:
    for size in range(len(HELLO)):
        with pytest.raises(Incomplete):
            server_name(HELLO[:size])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_hello_in_several_records(size: int) -> None:
    cut = in_records(HELLO, size)
    assert server_name(cut) == "api.example.com"
    for end in (1, 5, 6, len(cut) // 2, len(cut) - 1):
        with pytest.raises(Incomplete):
            server_name(cut[:end])


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # another handshake message
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # an empty hello
        HELLO[:1] + HELLO[1:5] + b"\x01\x00\x00\x05hello",
        in_records(HELLO, 100)[:105] + b"\x17\x03\x03\x00\x00",  # something else in its middle
    ],
)
def test_what_is_no_hello_has_no_name(raw: bytes) -> None:
    try:
        assert server_name(raw) == ""
    except Incomplete:
        assert raw[:1] == b"\x16"


def test_a_name_of_another_type_or_of_no_ascii_is_none() -> None:
    at = HELLO.index(b"api.example.com")
    assert server_name(HELLO[: at - 3] + b"\x01" + HELLO[at - 2 :]) == ""
    assert server_name(HELLO[:at] + b"\xff" + HELLO[at + 1 :]) == ""


@given(st.binary(max_size=400))
def test_any_bytes_give_a_name_or_wait_for_more(raw: bytes) -> None:
    try:
        assert isinstance(server_name(raw), str)
    except Incomplete:
        pass


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_any_bent_hello_gives_a_name_or_waits_for_more(at: int, value: int) -> None:
    """A length that lies never makes it read beyond what is there, nor fail."""
    try:
        assert isinstance(server_name(HELLO[:at] + bytes([value]) + HELLO[at + 1 :]), str)
    except Incomplete:
        pass
