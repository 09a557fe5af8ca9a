"""Streams: what a receiver may set, where may be pushed to, and how one is shown."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.errors import UsageError
from interlock.issuer.signals.events import CREDENTIAL_CHANGE, SESSION_REVOKED, SUPPORTED
from interlock.issuer.signals.stream import (
    POLL,
    PUSH,
    check_authorization,
    check_supplied,
    configuration,
    delivered,
    is_allowed,
    push_url,
    read_wanted,
)
from interlock.store.signals import Stream

URL = "https://receiver.example.com/events"
STREAM = Stream(id="f67e39a0", client_id="shop", audience=("shop",), created=1, method="push", url=URL)


def test_the_example_of_creating_a_stream() -> None:
    # SSF 1.0 section 8.1.1.1.
    wanted = read_wanted(
        {
            "delivery": {"method": PUSH, "endpoint_url": URL},
            "events_requested": ["urn:example:secevent:events:type_2", SESSION_REVOKED],
            "description": "Stream for Receiver A",
            "unknown": 1,
        }
    )
    assert (wanted.method, wanted.url, wanted.description) == (PUSH, URL, "Stream for Receiver A")
    assert delivered(wanted.events) == (SESSION_REVOKED,), "what is not known is not promised"
    assert read_wanted({}).method is None


def test_who_asks_for_nothing_hears_all_there_is() -> None:
    assert delivered(None) == SUPPORTED
    assert delivered((CREDENTIAL_CHANGE, SESSION_REVOKED)) == (SESSION_REVOKED, CREDENTIAL_CHANGE)
    assert delivered(()) == ()


@pytest.mark.parametrize(
    "body",
    [
        {"events_requested": "x"},
        {"events_requested": [1]},
        {"events_requested": ["x"] * 65},
        {"description": 1},
        {"delivery": "push"},
        {"delivery": {}},
        {"delivery": {"method": "urn:ietf:rfc:9999"}},
        {"delivery": {"method": PUSH}},
        {"delivery": {"method": PUSH, "endpoint_url": "http://receiver.example.com/"}},
        {"delivery": {"method": PUSH, "endpoint_url": URL, "authorization_header": "a\r\nHost: b"}},
        {"delivery": {"method": PUSH, "endpoint_url": URL, "authorization_header": 1}},
        {"delivery": {"method": PUSH, "endpoint_url": URL, "authorization_header": ""}},
        {"delivery": {"method": PUSH, "endpoint_url": URL, "authorization_header": "x" * 5000}},
    ],
)
def test_what_cannot_be_set_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        read_wanted(body)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "https://user:pass@receiver.example.com/",
        "https://receiver.example.com/a?b",
        "https://receiver.example.com/a#b",
        "https://receiver.example.com/a/../b",
        "https://receiver.example.com/a/./b",
        "https://receiver.example.com/a%2e%2e/b",
        "https://receiver.example.com\\@evil.example.com/",
        "https://receiver.example.com/a\\b",
        "https://receiver.example.com/*",
        "file:///etc/passwd",
        "gopher://receiver.example.com/",
        "//receiver.example.com/",
        "unix:/run/x.sock",
        "https://",
        "https://receiver.example.com/ a",
        "https://récepteur.example.com/",
        "https://receiver.example.com:0/",
        "",
        None,
        7,
    ],
)
def test_urls_of_two_readings_are_never_pushed_to(url: Any) -> None:
    with pytest.raises(UsageError):
        push_url(url)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (URL, True),
        (URL + "/", False),
        (URL + "2", False),
        ("https://receiver.example.com:8443/events", False),
        ("https://RECEIVER.example.com/events", False),
        ("https://wide.example.com/ssf/a", True),
        ("https://wide.example.com/ssf/a/b", True),
        ("https://wide.example.com/ssf", False),
        ("https://wide.example.com/ssfx", False),
        ("https://wide.example.com.evil.example.net/ssf/a", False),
        ("http://127.0.0.1:9000/", False),
        ("https://everything.example.com/x", True),
        ("https://everything.example.com.evil.example.net/x", False),
    ],
)
def test_only_where_the_operator_allowed(url: str, allowed: bool) -> None:
    places = [URL, "https://wide.example.com/ssf/*", "https://everything.example.com/*"]
    assert is_allowed(url, places) is allowed
    assert not is_allowed(url, [])


def test_a_stream_is_shown_without_what_it_is_pushed_with() -> None:
    stream = Stream(**{**_fields(), "authorization": b"sealed", "key": "k"})
    shown = configuration(stream, "https://id.example.com", "https://id.example.com/oauth/ssf/poll")
    assert shown["delivery"] == {"method": PUSH, "endpoint_url": URL}
    assert shown["aud"] == "shop"
    assert "authorization" not in str(shown)
    assert "sealed" not in repr(stream)
    polled = Stream(id="p", client_id="shop", audience=("a", "b"), created=1)
    shown = configuration(polled, "https://id.example.com", "https://id.example.com/poll?stream_id=p")
    assert shown["delivery"] == {"method": POLL, "endpoint_url": "https://id.example.com/poll?stream_id=p"}
    assert shown["aud"] == ["a", "b"]


def _fields() -> dict[str, Any]:
    return {name: getattr(STREAM, name) for name in STREAM.__struct_fields__}


def test_what_we_supply_can_be_repeated_and_not_changed() -> None:
    shown = configuration(STREAM, "https://id.example.com", "")
    check_supplied({"stream_id": "f67e39a0", "aud": "shop", "iss": "https://id.example.com"}, shown)
    check_supplied({"description": "another"}, shown)
    for body in ({"aud": "bank"}, {"iss": "https://evil"}, {"stream_id": "x"}, {"events_delivered": []}):
        with pytest.raises(UsageError):
            check_supplied(body, shown)


def test_a_header_field_is_one_line() -> None:
    check_authorization("Bearer abc")
    for value in ("a\nb", "a\rb", "ü", "a\x00b", "", None):
        with pytest.raises(UsageError):
            check_authorization(value)
