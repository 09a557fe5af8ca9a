from __future__ import annotations

import pytest

from interlock.config.hosts import (
    is_loopback,
    parse_address,
    parse_host,
    parse_https,
    parse_network,
    parse_origin,
    parse_upstream,
)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("localhost:8080", "localhost", 8080, True),
        ("[::1]:8443", "::1", 8443, True),
        ("0.0.0.0:8443", "0.0.0.0", 8443, False),
        ("[::]:0", "::", 0, False),
        ("10.0.0.5:80", "10.0.0.5", 80, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text)
    assert (address, address.host, address.port, address.loopback) == (text, host, port, loopback)
    assert address.wildcard == (host in ("0.0.0.0", "::"))


def test_an_address_has_one_form() -> None:
    assert parse_address("[0:0:0:0:0:0:0:1]:80") == parse_address("[::1]:80")


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "*:8080", "127.0.0.1", "127.0.0.1:99999", "example.com:80", "::1:80", "1.2.3:80", 8080, None],
)
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "::ffff:10.0.0.1", ""])
def test_what_only_looks_like_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_networks() -> None:
    assert parse_network("10.0.0.0/8") == "10.0.0.0/8"
    assert parse_network("192.0.2.7") == "192.0.2.7/32"
    for wrong in ("0.0.0.0/0", "::/0", "10.0.0.1/8", "10.0.0.0/33", "everyone", 10, None):
        with pytest.raises(ValueError):
            parse_network(wrong)


def test_hosts_are_matched_in_small_letters() -> None:
    assert parse_host("API.Example.com") == "api.example.com"
    assert parse_host("*.example.com") == "*.example.com"
    assert parse_host("[::0001]") == "[::1]"
    for wrong in ("a..b", "-a.com", "a.*.com", "*", "a_b.com", "a.com:80", "ex ample", "é.com", "", "a." + "b" * 64):
        with pytest.raises(ValueError):
            parse_host(wrong)


def test_upstreams_and_origins_are_scheme_host_and_port() -> None:
    assert parse_upstream("http://127.0.0.1:9000/") == "http://127.0.0.1:9000"
    assert parse_upstream("https://API.example.com") == "https://api.example.com"
    assert parse_upstream("http://[::1]:9000") == "http://[::1]:9000"
    assert parse_origin("https://app.example.com:8443") == "https://app.example.com:8443"
    assert parse_origin("*") == "*"


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9000",
        "ftp://127.0.0.1",
        "http://",
        "http://host/path",
        "http://host?x=1",
        "http://host#x",
        "http://user:password@host",
        "http://user@host",
        "http://host:0",
        "http://host:99999",
        "http://host\r\nX: y",
        "http://ho st",
        "http://*.example.com",
        "http://${env:HOST}",
        "file:///etc/passwd",
        "unix:/run/x.sock",
        9000,
        None,
    ],
)
def test_what_is_no_upstream(text: object) -> None:
    with pytest.raises(ValueError) as raised:
        parse_upstream(text)
    assert "password@" not in str(raised.value)


def test_what_is_fetched_is_https_but_for_loopback() -> None:
    assert parse_https("https://login.example.com/realms/a") == "https://login.example.com/realms/a"
    assert parse_https("http://127.0.0.1:9999/x") == "http://127.0.0.1:9999/x"
    for wrong in ("http://login.example.com", "http://127.0.0.1.evil.example", "http://127.0.0.1@evil.example/"):
        with pytest.raises(ValueError):
            parse_https(wrong)
