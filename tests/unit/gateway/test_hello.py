"""ClientHellos of the real `ssl`, whole, byte by byte, cut into records, and bent."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.gateway.hello import HELLO_BYTES, NO_HELLO, Incomplete, fingerprint, server_name


def hello(name: str | None = "api.example.com", ciphers: str = "", alpn: list[str] | None = None) -> bytes:
    """What a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ciphers:
        context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(alpn)
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


class Counted(bytes):
    """Counts what is taken out of it, and out of what was taken."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, int):
            return found
        Counted.taken += len(found)
        return Counted(found)


def flood(length: int, size: int) -> bytes:
    """As much as is looked at of a hello that claims `length` bytes and comes in records of `size`."""
    record = b"\x16\x03\x01" + size.to_bytes(2, "big") + bytes(size)
    begin = b"\x16\x03\x01\x00\x04\x01" + length.to_bytes(3, "big")
    return (begin + record * HELLO_BYTES)[:HELLO_BYTES]


def test_a_hello_in_thousands_of_records_is_gone_through_once() -> None:
    Counted.taken = 0
    with pytest.raises(Incomplete):
        server_name(Counted(flood(HELLO_BYTES - 9, 1)))
    assert Counted.taken <= HELLO_BYTES


@pytest.mark.parametrize("size", [0, 1])
def test_a_hello_that_never_comes_to_its_end_is_none_at_once(size: int) -> None:
    Counted.taken = 0
    raw = flood(0xFFFFFF if size else 1, size)
    for end in (HELLO_BYTES // 2, HELLO_BYTES):
        assert server_name(Counted(raw[:end])) == ""
        assert fingerprint(raw[:end]) == b""
    assert Counted.taken <= 64


def test_the_longest_hello_that_there_is_room_for_is_read() -> None:
    padding = HELLO_BYTES - len(made([], [(21, b"")]))
    for more, whole in ((0, True), (1, False)):
        raw = made([], [(21, bytes(padding + more))])
        assert (fingerprint(raw) != b"") is whole


def test_a_name_of_another_type_or_of_no_ascii_is_none() -> None:
    at = HELLO.index(b"api.example.com")
    assert server_name(HELLO[: at - 3] + b"\x01" + HELLO[at - 2 :]) == ""
    assert server_name(HELLO[:at] + b"\xff" + HELLO[at + 1 :]) == ""


def named(name: bytes) -> bytes:
    """A hello with that name, whatever it is."""
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    return made([b"\x13\x01"], [(0, len(entry).to_bytes(2, "big") + entry)])


@pytest.mark.parametrize(
    "name",
    [
        b"b" * 12_000,
        b"b" * 256,
        b"",
        b"a.example\r\n",
        b"a.example\n",
        b"a.example\r\nlevel=error event=forged",
        b"\x1b[31ma.example",
        b"a.example\0",
        b"a b",
        b"a/b",
        b'a"',
    ],
)
def test_a_name_that_no_host_has_does_not_get_to_the_record(name: bytes) -> None:
    assert server_name(named(name)) == ""


@pytest.mark.parametrize("name", [b"a", b"b" * 255, b"_dmarc.XN--E1A-2.example.", b"192.0.2.1"])
def test_a_name_that_a_host_may_have_is_read(name: bytes) -> None:
    assert server_name(named(name)) == name.decode().lower()


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


# -- the fingerprint


def test_connections_of_one_program_have_the_same() -> None:
    assert len(fingerprint(HELLO)) == 8
    for other in (hello(), hello("another.example.com"), hello(None), hello(alpn=["http/1.1"]), in_records(HELLO, 50)):
        assert fingerprint(other) == fingerprint(HELLO)
    assert fingerprint(HELLO + b"what follows") == fingerprint(HELLO)


def test_another_program_has_another() -> None:
    assert fingerprint(hello(ciphers="ECDHE-RSA-AES128-GCM-SHA256")) != fingerprint(HELLO)


def test_the_order_and_grease_do_not_count() -> None:
    """Some programs shuffle their extensions, and strew in values that mean nothing (RFC 8701)."""
    suites = [b"\x13\x01", b"\x13\x02", b"\xc0\x2b"]
    kinds = {23: b"", 10: b"\0\4\0\x1d\0\x17", 43: b"\4\3\4\3\3", 13: b"\0\2\4\3"}
    plain = made(suites, list(kinds.items()))
    grease = [(0x1A1A, b""), *reversed(kinds.items()), (0xEAEA, b"\0"), (21, bytes(99)), (41, b"x")]
    assert fingerprint(made([b"\x0a\x0a", *reversed(suites)], grease)) == fingerprint(plain)
    assert fingerprint(made(suites, [*kinds.items(), (5, b"")])) != fingerprint(plain)
    assert fingerprint(made(suites, list({**kinds, 13: b"\0\2\4\1"}.items()))) != fingerprint(plain)


def made(suites: list[bytes], extensions: list[tuple[int, bytes]]) -> bytes:
    listed = b"".join(suites)
    tail = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for kind, data in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + len(listed).to_bytes(2, "big") + listed + b"\1\0"
    body += len(tail).to_bytes(2, "big") + tail
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(message).to_bytes(2, "big") + message


@given(st.binary(max_size=300) | st.integers(0, len(HELLO)).map(lambda size: HELLO[:size]))
def test_what_is_no_whole_hello_has_none(raw: bytes) -> None:
    if raw != HELLO:
        assert fingerprint(raw) == b""
    assert fingerprint(NO_HELLO) == b""
    assert server_name(NO_HELLO) == ""


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_any_bent_hello_has_one_or_none(at: int, value: int) -> None:
    assert len(fingerprint(HELLO[:at] + bytes([value]) + HELLO[at + 1 :])) in (0, 8)
