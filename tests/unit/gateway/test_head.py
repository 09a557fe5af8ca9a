"""What a head says, once it is accepted; refusals are the corpus's (`test_smuggling`)."""

from __future__ import annotations

import pytest

from interlock.gateway.http1 import Malformed, ReadLimits, RequestHead, parse_request_head, parse_response_head
from interlock.gateway.http1.head import _whole_head
from interlock.gateway.http1.limits import REQUEST_LIMITS
from interlock.gateway.http1.names import LEARNED, REQUEST_NAMES
from interlock.model import Reason
from tests.corpus.smuggling import get, post


def head(*fields: bytes, **others: bytes) -> RequestHead:
    return parse_request_head(get(*fields, **others))


def test_request() -> None:
    found = parse_request_head(
        post(
            b"Content-Length: 12",
            b"authorization: Bearer x",
            b"X-API-Key: ilk_y",
            b"Origin: https://app.example",
            b"Expect: 100-continue",
            b"X-Other:  z ",
        )
    )
    assert (found.method, found.target, found.http10) == ("POST", b"/a", False)
    assert (found.content_length, found.chunked, found.has_body) == (12, False, True)
    assert (found.authorization, found.authorization_count) == (b"Bearer x", 1)
    assert (found.api_key, found.api_key_count) == (b"ilk_y", 1)
    assert found.origin == b"https://app.example"
    assert found.expect_continue
    assert found.keep_alive
    assert found.headers == [
        (b"host", b"api.example"),
        (b"content-length", b"12"),
        (b"authorization", b"Bearer x"),
        (b"x-api-key", b"ilk_y"),
        (b"origin", b"https://app.example"),
        (b"expect", b"100-continue"),
        (b"x-other", b"z"),
    ]


def test_two_credentials_are_counted() -> None:
    found = head(b"Authorization: Bearer x", b"AUTHORIZATION: Bearer y", b"X-Api-Key: a", b"x-api-key: b")
    assert found.authorization_count == 2
    assert found.api_key_count == 2


def test_no_credential_is_none_and_an_empty_one_is_not() -> None:
    assert head().authorization is None
    assert head(b"Authorization:").authorization == b""
    assert head(b"X-API-Key:").api_key_count == 1


@pytest.mark.parametrize("scheme", [b"DPoP", b"dpop", b"DPOP"])
@pytest.mark.parametrize("name", [b"DPoP", b"dpop", b"DPOP", b"Dpop"])
def test_a_token_and_its_proof(scheme: bytes, name: bytes) -> None:
    found = head(b"Authorization: %b  token " % scheme, b"%b: a.b.c" % name)
    assert found.dpop is not None
    assert (found.dpop.token, found.dpop.proof) == (b"token", b"a.b.c")
    assert found.bearer is None
    assert found.authorization_count == 1


def test_what_there_is_of_a_proof() -> None:
    for nothing in (head(), head(b"Authorization: Bearer x"), head(b"Authorization: DPoP"), head(b"X-DPoP: a")):
        assert nothing.dpop is None
    alone = head(b"DPoP: a.b.c", b"Authorization: Bearer x").dpop
    assert alone is not None
    assert (alone.token, alone.proof) == (None, b"a.b.c")
    without = head(b"Authorization: DPoP x").dpop
    assert without is not None
    assert (without.token, without.proof) == (b"x", None)


@pytest.mark.parametrize(
    "proofs", [(b"a.b.c", b"a.b.c"), (b"", b"a.b.c"), (b"a.b.c", b""), (b"", b""), (b"a", b"b", b"c")]
)
def test_of_several_proofs_none_is_chosen(proofs: tuple[bytes, ...]) -> None:
    found = head(b"Authorization: DPoP x", *(b"DPoP: " + proof for proof in proofs)).dpop
    assert found is not None
    assert found.proof == b", ".join(proofs)


def test_a_proof_is_the_callers_and_stays_on_the_way() -> None:
    with pytest.raises(Malformed):
        head(b"DPoP: a.b.c", b"Connection: close, dpop")


@pytest.mark.parametrize(
    ("value", "host", "hostname"),
    [
        (b"API.Example", b"api.example", "api.example"),
        (b"api.example:8080", b"api.example:8080", "api.example"),
        (b"api.example.", b"api.example.", "api.example"),
        (b"api.example.:80", b"api.example.:80", "api.example"),
        (b"127.0.0.1:1", b"127.0.0.1:1", "127.0.0.1"),
        (b"[::1]", b"[::1]", "[::1]"),
        (b"[2001:DB8:0::1]:443", b"[2001:db8:0::1]:443", "[2001:db8::1]"),
        (b"a_b.example", b"a_b.example", "a_b.example"),
    ],
)
def test_host(value: bytes, host: bytes, hostname: str) -> None:
    for _ in range(2):  # the second time from memory
        found = head(host=b"Host: " + value + b"\r\n")
        assert (found.host, found.hostname) == (host, hostname)


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        (b"HTTP/1.1", (), True),
        (b"HTTP/1.1", (b"Connection: close",), False),
        (b"HTTP/1.1", (b"Connection: Keep-Alive, CLOSE",), False),
        (b"HTTP/1.1", (b"Connection: keep-alive", b"connection: close"), False),
        (b"HTTP/1.1", (b"Connection: x-close",), True),
        (b"HTTP/1.1", (b"Connection: ,",), True),
        (b"HTTP/1.0", (), False),
        (b"HTTP/1.0", (b"Connection: keep-alive",), True),
        (b"HTTP/1.0", (b"Connection: keep-alive, close",), False),
    ],
)
def test_keep_alive(version: bytes, fields: tuple[bytes, ...], kept: bool) -> None:
    assert head(*fields, version=version).keep_alive is kept


def test_expectation_of_an_old_client_is_ignored() -> None:
    assert not head(b"Expect: 100-continue", version=b"HTTP/1.0").expect_continue


def passing(*fields: bytes) -> list[bytes]:
    return head(*fields).plain


@pytest.mark.parametrize(
    "field",
    [
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic x",
        b"TE: trailers",
        b"Trailer: X",
        b"Expect: 100-continue",
        b"HTTP2-Settings: x",
        b"X_Forwarded_For: 10.0.0.1",
        b"Any_Name: x",
        b"X-Forwarded-For: 10.0.0.1",
        b"x-forwarded-anything: x",
        b"X.Forwarded.For: 10.0.0.1",
        b"X-Real-IP: 10.0.0.1",
        b"True-Client-IP: 10.0.0.1",
        b"Forwarded: for=10.0.0.1",
        b"Via: 1.1 x",
        b"Interlock-Identity: x",
        b"INTERLOCK-IDENTITY: x",
        b"interlock_identity: x",
        b"Interlock.Identity: x",
        b"Inter-lock-Identity: x",
        b"X-Interlock-Identity: x",
        b"Interlock: x",
        b"X-Original-URL: /admin",
        b"X-Rewrite-URL: /admin",
        b"X-HTTP-Method-Override: DELETE",
        b"X-HTTP-Method: DELETE",
        b"Proxy: http://internal.example",
        b"Client-Cert: x",
        b"Remote-User: admin",
        b"Remote.User: admin",
        b"X-Forwarded-User: admin",
        b"X-Auth-Request-Email: admin",
        b"X-SSL-Client-Verify: SUCCESS",
        b"X.SSL.Client.Verify: SUCCESS",
        b"Authorization: Bearer x",
        b"Author.ization: x",
        b"X-API-Key: x",
        b"X~API~Key: x",
        b"DPoP: x",
        b"d_pop: x",
        b"Content-Length: 0",
        b"Content.Length: 5",
    ],
)
def test_not_plain(field: bytes) -> None:
    assert passing(field) == ([] if field != b"Author.ization: x" else [b"Author.ization: x\r\n"])


def test_plain_passes_as_it_is() -> None:
    lines = (b"Accept: */*", b"x-custom:y", b"Cookie: a=b; c=d", b"X.Dotted: 1", b"Traffic: light")
    assert passing(*lines) == [b"Accept: */*\r\n", b"x-custom: y\r\n", *(line + b"\r\n" for line in lines[2:])]


def test_connection_takes_away_what_it_names() -> None:
    assert passing(b"X-A: 1", b"Connection: x-a, X-B", b"x-b: 2", b"X-C: 3") == [b"X-C: 3\r\n"]


def test_what_is_remembered_of_names_is_bounded() -> None:
    for number in range(LEARNED * 3):
        head(b"X-Learned-%d: y" % number)
    assert len(REQUEST_NAMES.kinds) <= LEARNED + 200
    assert passing(b"Interlock-Identity: x", b"X-Learned-1: y") == [b"X-Learned-1: y\r\n"]
    before = len(REQUEST_NAMES.kinds)
    head(b"X-" + b"a" * 200 + b": y")
    assert len(REQUEST_NAMES.kinds) == before


def test_limits() -> None:
    limits = ReadLimits(head_size=200, head_count=3, target_size=10)
    assert parse_request_head(get(b"A: b", b"C: d"), limits).method == "GET"
    for raw, reason in (
        (get(b"A: b", b"C: d", b"E: f"), Reason.HEAD_TOO_LARGE),
        (get(b"A: " + b"b" * 200), Reason.HEAD_TOO_LARGE),
        (get(target=b"/1234567890"), Reason.TARGET_TOO_LONG),
    ):
        with pytest.raises(Malformed) as refused:
            parse_request_head(raw, limits)
        assert refused.value.reason is reason


# -- answers


def answer(*fields: bytes, status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    return version + b" " + status + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def test_response() -> None:
    found = parse_response_head(
        answer(
            b"Content-Type: text/plain",
            b"Content-Length: 5",
            b"Server: nginx/1.2",
            b"X-Powered-By: PHP/4",
            b"X-AspNet-Version: 4",
            b"X-Runtime: 0.1",
            b"Keep-Alive: timeout=5",
            b"Alt-Svc: h3=':443'",
            b"X-Accel-Redirect: /internal",
            b"Interlock-Identity: x",
            b"interlock_identity: x",
            b"Set-Cookie: a=b",
            b"Access-Control-Allow-Origin: *",
            b"Connection: x-private, keep-alive",
            b"X-Private: 1",
        ),
        "GET",
    )
    assert (found.status, found.phrase, found.content_length, found.chunked) == (200, b"OK", 5, False)
    assert found.keep_alive
    assert not found.until_close
    assert found.fields == [b"Content-Type: text/plain\r\n", b"Set-Cookie: a=b\r\n"]
    assert found.access_control == [b"Access-Control-Allow-Origin: *\r\n"]


@pytest.mark.parametrize(
    ("raw", "method", "length", "is_chunked", "until_close", "keep_alive"),
    [
        (answer(), "GET", -1, False, True, False),
        (answer(b"Content-Length: 3"), "GET", 3, False, False, True),
        (answer(b"Content-Length: 3"), "HEAD", 3, False, False, True),
        (answer(), "HEAD", -1, False, False, True),
        (answer(b"Transfer-Encoding: chunked"), "GET", -1, True, False, True),
        (answer(b"Transfer-Encoding: chunked"), "HEAD", -1, False, False, True),
        (answer(status=b"204 No Content"), "GET", -1, False, False, True),
        (answer(b"Content-Length: 0", status=b"204 No Content"), "DELETE", -1, False, False, True),
        (answer(b"Content-Length: 9", status=b"304 Not Modified"), "GET", 9, False, False, True),
        (answer(b"Content-Length: 3", b"Connection: close"), "GET", 3, False, False, False),
        (answer(b"Content-Length: 3", version=b"HTTP/1.0"), "GET", 3, False, False, False),
        (answer(b"Content-Length: 3", b"Connection: keep-alive", version=b"HTTP/1.0"), "GET", 3, False, False, True),
        (answer(status=b"100 Continue"), "POST", -1, False, False, True),
        (answer(b"Content-Length: 3", status=b"200 "), "GET", 3, False, False, True),
        (answer(b"Content-Length: 3", status=b"200"), "GET", 3, False, False, True),
        (answer(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 3"), "GET", 3, False, False, True),
    ],
)
def test_response_framing(
    raw: bytes, method: str, length: int, is_chunked: bool, until_close: bool, keep_alive: bool
) -> None:
    found = parse_response_head(raw, method)
    assert found.content_length == length
    assert found.chunked is is_chunked
    assert found.until_close is until_close
    assert found.keep_alive is keep_alive


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        answer(b"Content-Length: 3", b"Content-Length: 3"),
        answer(b"Content-Length: 3", b"Content-Length: 4"),
        answer(b"Content-Length: 3, 3"),
        answer(b"Content-Length: +3"),
        answer(b"Content-Length : 3"),
        answer(b"Transfer-Encoding: gzip, chunked"),
        answer(b"Transfer-Encoding: chunked, chunked"),
        answer(b"Transfer-Encoding: xchunked"),
        answer(b"Transfer-Encoding: chunked", version=b"HTTP/1.0"),
        answer(b"X: a\r\n b"),
        answer(b"X: a\nY: b"),
        answer(b"X: a\rY: b"),
        answer(b"X: a\x00"),
        answer(b"X y: a"),
        answer(b"nonsense"),
        answer(version=b"HTTP/2.0"),
        answer(version=b"ICY"),
        answer(status=b"99 X"),
        answer(status=b"600 X"),
        answer(status=b"2000 OK"),
        answer(status=b"+20 OK"),
        answer(status=b" 200 OK"),
        answer(status=b"101 Switching Protocols"),
        answer(b"Upgrade: x", b"Connection: upgrade", status=b"101 Switching Protocols"),
        answer(b"Connection: content-length", b"Content-Length: 3"),
        answer(*(b"X-%d: y" % number for number in range(300))),
        answer(b"X: " + b"a" * 70_000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n",
        b"",
    ],
)
def test_response_refused(raw: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse_response_head(raw, "GET")
    assert refused.value.reason is Reason.UPSTREAM_INVALID


# -- what is remembered of field lines


FIELDS = b"Host: a.example\r\nAuthorization: Bearer one\r\nX-Plain: 1\r\n\r\n"


def seen(head: RequestHead) -> tuple[object, ...]:
    skipped = ("block",)
    return tuple(getattr(head, name) for name in RequestHead.__slots__ if name not in skipped)


@pytest.mark.parametrize("fields", [FIELDS, b"Content-Length: 0\r\n" + FIELDS, b"Content-Length: 29\r\n" + FIELDS])
def test_a_second_request_with_the_same_lines_is_read_as_the_first_time(fields: bytes) -> None:
    for line in (
        b"GET /first HTTP/1.1\r\n",
        b"POST /oauth/token HTTP/1.1\r\n",
        b"DELETE / HTTP/1.1\r\n",
        b"GET /second?q=1 HTTP/1.1\r\n",
        b"HEAD * HTTP/1.1\r\n",
        b"HEAD / HTTP/1.0\r\n",
    ):
        for _ in range(2):
            try:
                expected: object = seen(_whole_head(line + fields, REQUEST_LIMITS))
            except Malformed as problem:
                expected = problem.reason
            try:
                found: object = seen(parse_request_head(line + fields))
            except Malformed as problem:
                found = problem.reason
            assert found == expected


def test_one_byte_of_difference_is_another_request() -> None:
    one = parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS)
    two = parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS.replace(b"one", b"two"))
    again = parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS)
    assert (one.bearer, two.bearer, again.bearer) == (b"one", b"two", b"one")
    assert again.block is one.block
    assert two.block is not one.block


@pytest.mark.parametrize(
    "fields",
    [
        b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"Host: a\r\nExpect: 100-continue\r\n\r\n",
        b"Host: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"Host: a\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
        b"Host: a\r\nDPoP: a.b.c\r\n\r\n",
        b"Host: a\r\nAuthorization: DPoP x\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_read_every_time(fields: bytes) -> None:
    assert parse_request_head(b"POST / HTTP/1.1\r\n" + fields).block is None


def test_bodies_of_many_lengths_take_nobody_s_place() -> None:
    plain = parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS).block
    for length in range(3000):
        head = parse_request_head(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % length + FIELDS)
        assert (head.content_length, head.has_body) == (length, length > 0)
        assert head.block is not None
    assert parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS).block is plain


@pytest.mark.parametrize(
    "line",
    [
        b"get / HTTP/1.1\r\n",
        b"TRACE / HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET /\x01 HTTP/1.1\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\r\n",
        b"GET /\xff HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n",
    ],
)
def test_known_lines_excuse_no_request_line(line: bytes) -> None:
    parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS)
    with pytest.raises(Malformed):
        parse_request_head(line + FIELDS)


def test_known_lines_excuse_no_limit() -> None:
    parse_request_head(b"GET / HTTP/1.1\r\n" + FIELDS)
    for limits in (ReadLimits(head_count=2), ReadLimits(head_size=40), ReadLimits(target_size=3)):
        with pytest.raises(Malformed):
            parse_request_head(b"GET /abc HTTP/1.1\r\n" + FIELDS, limits)


def test_what_was_refused_is_refused_again() -> None:
    for _ in range(3):
        with pytest.raises(Malformed):
            parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n")


def test_a_known_line_of_an_answer_means_the_same_again() -> None:
    raw = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-A: b\r\nContent-Length: 1\r\n\r\n"
    first, second = parse_response_head(raw, "GET"), parse_response_head(raw, "GET")
    assert first.fields == second.fields == [b"X-A: b\r\n"]
    assert first.content_length == second.content_length == 1
    named = parse_response_head(raw.replace(b"Content-Length", b"Connection: x-a\r\nContent-Length"), "GET")
    assert named.fields == [], "a line that passes elsewhere is still dropped where Connection names it"
