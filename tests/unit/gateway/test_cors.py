"""An origin is answered only if it is listed, letter by letter."""

from __future__ import annotations

import pytest

from interlock.gateway.cors import EXPOSED, PREFLIGHT_VARY, VARY, is_preflight, preflight_headers, response_headers
from interlock.gateway.http1 import RequestHead, parse_request_head
from interlock.snapshot import CorsSpec

APP = b"https://app.example"
CORS = CorsSpec(origins=["https://app.example"], credentials=True, max_age=60)


def options(*fields: bytes, method: bytes = b"OPTIONS") -> RequestHead:
    lines = b"".join(field + b"\r\n" for field in fields)
    return parse_request_head(method + b" /a HTTP/1.1\r\nHost: api.example\r\n" + lines + b"\r\n")


ASK = b"Access-Control-Request-Method: PUT"


def test_is_preflight() -> None:
    assert is_preflight(options(b"Origin: " + APP, ASK)) == "PUT"
    assert is_preflight(options(ASK)) is None
    assert is_preflight(options(b"Origin: " + APP)) is None
    assert is_preflight(options(b"Origin: " + APP, ASK, method=b"GET")) is None
    assert is_preflight(options(b"Origin: " + APP, ASK, ASK)) is None
    assert is_preflight(options(b"Origin: " + APP, b"Access-Control-Request-Method: BREW")) is None


def test_listed() -> None:
    assert response_headers(CORS, APP) == [
        b"access-control-allow-origin: https://app.example\r\n",
        b"access-control-allow-credentials: true\r\n",
        EXPOSED,
        VARY,
    ]


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"",
        b"null",
        b"*",
        b"https://APP.example",
        b"http://app.example",
        b"https://app.example:443",
        b"https://app.example.evil.example",
        b"https://evil.example/https://app.example",
        b"https://app.example, https://evil.example",
        b"\xff",
    ],
)
def test_not_listed(origin: bytes | None) -> None:
    assert response_headers(CORS, origin) == [VARY]


def test_any_origin_never_with_credentials() -> None:
    cors = CorsSpec(origins=["*"], credentials=True)
    for origin in (APP, b"null"):
        assert response_headers(cors, origin) == [b"access-control-allow-origin: *\r\n", EXPOSED, VARY]


def test_preflight() -> None:
    assert preflight_headers(CORS, options(b"Origin: " + APP, ASK), ["GET", "PUT"]) == [
        b"access-control-allow-origin: https://app.example\r\n",
        b"access-control-allow-credentials: true\r\n",
        b"access-control-allow-methods: GET, PUT\r\n",
        b"access-control-allow-headers: authorization, content-type, dpop, x-api-key\r\n",
        b"access-control-max-age: 60\r\n",
        PREFLIGHT_VARY,
    ]
    named = CorsSpec(origins=["https://app.example"], methods=["PUT"], headers=["X-One", "X-Two"])
    lines = preflight_headers(named, options(b"Origin: " + APP, ASK), ["GET"])
    assert b"access-control-allow-methods: PUT\r\n" in lines
    assert b"access-control-allow-headers: X-One, X-Two\r\n" in lines


def test_preflight_refused_says_nothing() -> None:
    for cors, origin, methods in (
        (CORS, b"https://evil.example", None),
        (CORS, APP, ["GET"]),
        (CorsSpec(origins=["https://app.example"], methods=["GET"]), APP, ["GET", "PUT"]),
    ):
        assert preflight_headers(cors, options(b"Origin: " + origin, ASK), methods) == [PREFLIGHT_VARY]
