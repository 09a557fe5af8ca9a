"""Which fields pass, in both directions, and whose word is taken on where a call came from."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.gateway.fields import (
    _FORWARDED_PAIR,
    _connected,
    _elements,
    _nodes,
    client_address,
    forwarded_head,
    origin_fields,
    request_fields,
    response_fields,
    trace_parent,
)
from interlock.gateway.http1 import RequestHead, parse_request_head, parse_response_head
from interlock.gateway.peer import Peer
from interlock.model import PeerCertificate
from tests.corpus.smuggling import get, post

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def head(*fields: bytes) -> RequestHead:
    return parse_request_head(get(*fields))


def forwarded(
    request: RequestHead, *, peer: str = "192.0.2.7", trusted: bool = False, credentials: bool = False, source: str = ""
) -> dict[bytes, list[bytes]]:
    """Our field lines, by lower-case name; every one must be a whole line."""
    passed = request_fields(request, forward_credentials=credentials)
    origin = origin_fields(request, peer=peer, source=source or peer, scheme="https", trusted=trusted)
    lines = b"".join(passed + origin)
    found: dict[bytes, list[bytes]] = {}
    assert lines.endswith(b"\r\n")
    for line in lines[:-2].split(b"\r\n"):
        name, _, value = line.partition(b": ")
        found.setdefault(name.lower(), []).append(value)
    return found


SPOOFED = (
    b"X-Forwarded-For: 127.0.0.1",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Host: internal",
    b"X-Forwarded-Port: 1",
    b"X-Forwarded-Prefix: /admin",
    b"X-Real-IP: 127.0.0.1",
    b"True-Client-IP: 127.0.0.1",
    b"Forwarded: for=127.0.0.1",
    b"Via: 1.0 nowhere",
)


def test_an_untrusted_peer_is_not_believed() -> None:
    assert forwarded(head(*SPOOFED, b"Accept: */*")) == {
        b"accept": [b"*/*"],
        b"x-forwarded-for": [b"192.0.2.7"],
        b"x-forwarded-proto": [b"https"],
        b"x-forwarded-host": [b"api.example"],
        b"x-real-ip": [b"192.0.2.7"],
        b"forwarded": [b'for=192.0.2.7;proto=https;host="api.example"'],
        b"via": [b"1.1 interlock"],
    }


def test_one_callers_origin_is_not_anothers() -> None:
    first = forwarded(head(), peer="192.0.2.1")
    second = forwarded(head(), peer="2001:db8::1")
    assert first[b"x-forwarded-for"] == [b"192.0.2.1"]
    assert second[b"x-forwarded-for"] == [b"2001:db8::1"]
    assert second[b"forwarded"] == [b'for="[2001:db8::1]";proto=https;host="api.example"']


def test_a_trusted_proxy_is_appended_to() -> None:
    found = forwarded(
        head(
            b"X-Forwarded-For: 198.51.100.1",
            b"x-forwarded-for: 10.1.1.1",
            b"X-Forwarded-Proto: http",
            b"X-Forwarded-Host: www.example",
            b"X-Forwarded-Port: 443",
            b"X-Forwarded-User: admin",
            b"X-Forwarded-Email: admin@example.com",
            b"X-Real-IP: 6.6.6.6",
            b"True-Client-IP: 6.6.6.6",
            b"Forwarded: for=198.51.100.1",
            b"Via: 2 edge",
        ),
        peer="10.0.0.1",
        trusted=True,
        source="198.51.100.1",
    )
    assert found == {
        b"x-forwarded-for": [b"198.51.100.1, 10.1.1.1, 10.0.0.1"],
        b"x-forwarded-proto": [b"http"],
        b"x-forwarded-host": [b"www.example"],
        b"x-forwarded-port": [b"443"],
        b"x-real-ip": [b"198.51.100.1"],
        b"forwarded": [b'for=198.51.100.1, for=10.0.0.1;proto=https;host="api.example"'],
        b"via": [b"2 edge, 1.1 interlock"],
    }


def test_a_trusted_proxy_that_says_nothing_or_too_much() -> None:
    found = forwarded(
        head(b"X-Forwarded-Proto: http", b"X-Forwarded-Proto: https", b"X-Forwarded-For: " + b"1.1.1.1, " * 500),
        peer="10.0.0.1",
        trusted=True,
    )
    assert found[b"x-forwarded-proto"] == [b"https"]
    assert found[b"x-forwarded-for"] == [b"10.0.0.1"]
    assert found[b"x-forwarded-host"] == [b"api.example"]
    found = forwarded(head(b"X-Forwarded-Proto: gopher", b"X-Forwarded-Port: 1", b"X-Forwarded-Port: 2"), trusted=True)
    assert found[b"x-forwarded-proto"] == [b"https"]
    assert b"x-forwarded-port" not in found


@pytest.mark.parametrize(
    ("field", "source", "trusted", "is_told"),
    [
        (None, "10.0.0.1", False, True),
        (b"X-Forwarded-For: 192.0.2.7", "10.0.0.1", False, True),  # a stranger's invention
        (None, "10.0.0.1", True, True),  # the proxy itself calls
        (b"X-Forwarded-For: 192.0.2.7", "192.0.2.7", True, False),
        (b"X-Forwarded-For: unknown", "10.0.0.1", True, False),
        (b"Forwarded: for=_hidden", "10.0.0.1", True, False),
        (b"Via: 1.1 edge", "10.0.0.1", True, False),
    ],
)
def test_a_proxys_certificate_is_nobodys_who_calls_through_it(
    field: bytes | None, source: str, trusted: bool, is_told: bool
) -> None:
    """Tokens that are bound to it would be good for whoever calls through the same proxy."""
    peer = Peer("10.0.0.1", trusted=trusted, certificate=PeerCertificate(b"certificate", b"f" * 32))
    call: Any = SimpleNamespace(peer=peer, source=source, head=head(*([field] if field else [])))
    told = _connected(call)
    assert told.startswith(b"interlock-source: %b\r\n" % source.encode())
    assert (b"interlock-certificate: " in told) is is_told


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_part_of_the_node_is_told_by_our_word_alone_whence_a_call_came(own: bool, trusted: bool) -> None:
    call: Any = SimpleNamespace(
        peer=Peer("10.0.0.1", trusted=trusted),
        source="198.51.100.1",
        head=head(*SPOOFED, b"Interlock-Source: 127.0.0.1", b"Accept: */*"),
        route=SimpleNamespace(own=own, forward_credentials=True, pool=SimpleNamespace(authority=b"up")),
        target=SimpleNamespace(wire=b"/oauth/token"),
        trace="ab" * 16,
        method="POST",
    )
    for _ in range(2):
        names = [line.partition(b":")[0] for line in forwarded_head(call, b"interlock-identity: x\r\n").split(b"\r\n")]
        origin = {b"x-forwarded-for", b"x-real-ip", b"forwarded", b"via"}
        if own:
            assert names[1:] == [b"host", b"Accept", b"traceparent", b"interlock-source", b"", b""]
        else:
            assert origin <= set(names)
            assert b"interlock-source" not in names


def test_credentials_pass_only_when_asked_for() -> None:
    request = head(b"Authorization: Bearer x", b"X-API-Key: y", b"Cookie: z", b"DPoP: a.b.c")
    without = forwarded(request)
    assert b"authorization" not in without
    assert b"x-api-key" not in without
    assert b"dpop" not in without
    assert without[b"cookie"] == [b"z"]
    with_them = forwarded(request, credentials=True)
    assert with_them[b"authorization"] == [b"Bearer x"]
    assert with_them[b"x-api-key"] == [b"y"]
    assert with_them[b"dpop"] == [b"a.b.c"]


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("trusted", [False, True])
def test_never_ours_nor_hop_by_hop(trusted: bool, credentials: bool) -> None:
    fields = (
        b"Interlock-Identity: forged",
        b"interlock_identity: forged",
        b"X-Interlock-Identity: forged",
        b"Keep-Alive: 5",
        b"Proxy-Authorization: Basic x",
        b"TE: trailers",
        b"Connection: x-private",
        b"X-Private: 1",
        b"Any_Thing: 1",
        b"X-Original-URL: /admin",
        b"Expect: 100-continue",
    )
    found = forwarded(head(*fields), trusted=trusted, credentials=credentials)
    assert set(found) == {
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded", b"via")
    }


def test_framing_is_ours() -> None:
    known = parse_request_head(post(b"Content-Length: 0005"))
    assert forwarded(known)[b"content-length"] == [b"5"]
    chunks = parse_request_head(post(b"transfer-encoding: Chunked"))
    assert forwarded(chunks)[b"transfer-encoding"] == [b"chunked"]
    assert b"content-length" not in forwarded(chunks)
    assert b"content-length" not in forwarded(head())
    assert forwarded(parse_request_head(post(b"Content-Length: 0")))[b"content-length"] == [b"0"]


def test_asking_twice_gives_the_same() -> None:
    request = head(b"Accept: */*")
    assert forwarded(request) == forwarded(request)
    assert request.plain == [b"Accept: */*\r\n"]


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ((), "10.0.0.1"),
        ((b"X-Forwarded-For: 198.51.100.1",), "198.51.100.1"),
        ((b"X-Forwarded-For: 6.6.6.6, 198.51.100.1",), "198.51.100.1"),
        ((b"X-Forwarded-For: 6.6.6.6, 198.51.100.1, 10.9.9.9",), "198.51.100.1"),
        ((b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: 198.51.100.1, 10.9.9.9"), "198.51.100.1"),
        ((b"X-Forwarded-For: 10.1.1.1, 10.2.2.2",), "10.1.1.1"),
        ((b"X-Forwarded-For: 198.51.100.1:4711",), "198.51.100.1"),
        ((b"X-Forwarded-For: [2001:db8::1]:4711",), "2001:db8::1"),
        ((b"X-Forwarded-For: 2001:db8::1",), "2001:db8::1"),
        ((b"X-Forwarded-For: ::ffff:198.51.100.1",), "198.51.100.1"),
        ((b"X-Forwarded-For: ::ffff:10.1.1.1",), "10.1.1.1"),
        ((b"X-Forwarded-For: 198.51.100.1, nonsense",), "10.0.0.1"),
        ((b"X-Forwarded-For: 198.51.100.1, nonsense, 10.2.2.2",), "10.2.2.2"),
        ((b"X-Forwarded-For: 6.6.6.6,",), "10.0.0.1"),
        ((b"X-Forwarded-For: fe80::1%eth0",), "10.0.0.1"),
        ((b"X-Forwarded-For: 0x0a.1.1.1",), "10.0.0.1"),
        ((b"Forwarded: for=198.51.100.1",), "198.51.100.1"),
        ((b'Forwarded: for=6.6.6.6, For="[2001:db8::1]:4711";proto=http;by=10.2.2.2',), "2001:db8::1"),
        ((b'Forwarded: for="6.6.6.6, for=198.51.100.1"',), "10.0.0.1"),
        ((b"Forwarded: for=198.51.100.1, for=unknown",), "10.0.0.1"),
        ((b"Forwarded: for=198.51.100.1, proto=http",), "10.0.0.1"),
        ((b'Forwarded: for="198.51.100.1',), "10.0.0.1"),
        ((b"Forwarded: for=198.51.100.1", b"X-Forwarded-For: 198.51.100.1"), "198.51.100.1"),
        ((b"Forwarded: for=6.6.6.6", b"X-Forwarded-For: 198.51.100.1"), None),
        ((b"Forwarded: for=unknown", b"X-Forwarded-For: 198.51.100.1"), None),
        ((b"X-Real-IP: 6.6.6.6", b"True-Client-IP: 6.6.6.6"), "10.0.0.1"),
        ((b"X_Forwarded_For: 6.6.6.6",), "10.0.0.1"),
    ],
)
def test_client_address(fields: tuple[bytes, ...], address: str | None) -> None:
    assert client_address(head(*fields), ip_address("10.0.0.1"), PROXIES) == address


@pytest.mark.parametrize("flood", [b"a" * 30_000, b"a=" * 15_000, b"for=;" * 6_000, b'""' * 15_000, b'a="' * 10_000])
def test_what_a_caller_makes_of_a_forwarded_field_does_not_hide_who_calls(flood: bytes) -> None:
    request = head(b"Forwarded: " + flood + b", for=192.0.2.7")
    assert client_address(request, ip_address("10.0.0.1"), PROXIES) == "192.0.2.7"


def test_a_name_in_a_forwarded_field_is_tried_from_its_first_letter_only() -> None:
    """Else every letter of a long one costs as much as all that follow it."""
    name = b"a-1" * 1_000
    for text in (name + b"=b", b";" + name + b'="b"'):
        begin = text.index(b"a")
        assert [at for at in range(len(text)) if _FORWARDED_PAIR.match(text, at)] == [begin]


class Counted(bytes):
    """Counts what is copied when it is put together with something, piece by piece."""

    copied = 0

    def split(self, *args: Any) -> list[Any]:
        return [Counted(part) for part in super().split(*args)]

    def __add__(self, other: Any) -> Counted:
        Counted.copied += len(self) + len(other)
        return Counted(bytes(self) + bytes(other))

    def __radd__(self, other: Any) -> Counted:
        return Counted(other) + self


def test_a_forwarded_field_of_quotes_is_put_together_once() -> None:
    value = Counted(b'"a"' * 10_000 + b",b")
    assert _elements(value) == [b'"a"' * 10_000, b"b"]
    assert Counted.copied <= len(value)


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        (b"", [b""]),
        (b",", [b"", b""]),
        (b"a,b,,c", [b"a", b"b", b"", b"c"]),
        (b'"a,b",c', [b'"a,b"', b"c"]),
        (b'a="b,c"d"e",f="g",', [b'a="b,c"d"e"', b'f="g"', b""]),
        (b'a,b"c,"d,e,f', [b"a", b'b"c,"d', b"e", b"f"]),
        (b'a,"', [b""]),
    ],
)
def test_the_elements_of_a_forwarded_field(value: bytes, elements: list[bytes]) -> None:
    assert _elements(value) == elements


@pytest.mark.parametrize(
    ("value", "nodes"),
    [
        (b'for="[2001:db8::1]:80";proto=https;by=x', [b"[2001:db8::1]:80"]),
        (b"proto=http; FOR=a , for=b;for=c", [b"a", b"c"]),
        (b'by="x"for=a,x-for=b,for-=c', [b"a", b"", b""]),
        (b'for = a,for=,for="",for=a=for=b', [b"", b"", b"", b"b"]),
        (b'for="a\\b",for=a\\b,=for=a', [b"", b"a\\b", b"a"]),
    ],
)
def test_the_nodes_of_a_forwarded_field(value: bytes, nodes: list[bytes]) -> None:
    assert _nodes(value) == nodes


TRACE = b"0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("fields", "trace"),
    [
        ((), ""),
        ((b"Traceparent: 00-" + TRACE + b"-b7ad6b7169203331-01",), TRACE.decode()),
        ((b"Traceparent: 00-" + TRACE + b"-b7ad6b7169203331-01",) * 2, ""),
        ((b"Traceparent: 00-" + TRACE.upper() + b"-b7ad6b7169203331-01",), ""),
        ((b"Traceparent: 01-" + TRACE + b"-b7ad6b7169203331-01",), ""),
        ((b"Traceparent: 00-" + b"0" * 32 + b"-b7ad6b7169203331-01",), ""),
        ((b"Traceparent: 00-" + TRACE + b"-0000000000000000-01",), ""),
        ((b"Traceparent: 00-" + TRACE + b"-b7ad6b7169203331-01-x",), ""),
        ((b"Traceparent: x",), ""),
    ],
)
def test_trace_parent(fields: tuple[bytes, ...], trace: str) -> None:
    assert trace_parent(head(*fields)) == trace


def test_answers() -> None:
    raw = (
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nAccess-Control-Allow-Origin: *\r\n"
        b"Access-Control-Max-Age: 5\r\nConnection: x-a\r\nX-A: b\r\nContent-Length: 1\r\n\r\n"
    )
    found = parse_response_head(raw, "GET")
    assert response_fields(found, own_cors=True) == [b"Content-Type: text/plain\r\n"]
    assert response_fields(found) == [
        b"Content-Type: text/plain\r\n",
        b"Access-Control-Allow-Origin: *\r\n",
        b"Access-Control-Max-Age: 5\r\n",
    ]
