from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.config import Param, Pattern, parse_pattern


@pytest.mark.parametrize(
    ("text", "methods", "host", "segments", "prefix"),
    [
        ("GET /a", {"GET"}, "", ("a",), False),
        ("/a", None, "", ("a",), False),
        ("* /a", None, "", ("a",), False),
        ("/", None, "", (), False),
        ("/*", None, "", (), True),
        ("GET,POST /a/*", {"GET", "POST"}, "", ("a",), True),
        ("/a/", None, "", ("a", ""), False),
        ("GET api.example.com /a/{id}", {"GET"}, "api.example.com", ("a", Param("id")), False),
        ("api.example.com POST /accounts", {"POST"}, "api.example.com", ("accounts",), False),
        ("*.Example.com /x", None, "*.example.com", ("x",), False),
        ("* *.example.com /x", None, "*.example.com", ("x",), False),
        ("localhost /x", None, "localhost", ("x",), False),
        ("[::1] /x", None, "[::1]", ("x",), False),
        ("/a/{b}/c/{d}", None, "", ("a", Param("b"), "c", Param("d")), False),
        ("/.well-known/x~y,z", None, "", (".well-known", "x~y,z"), False),
    ],
)
def test_patterns(
    text: str, methods: set[str] | None, host: str, segments: tuple[str | Param, ...], prefix: bool
) -> None:
    pattern = parse_pattern(text)
    assert pattern == Pattern(None if methods is None else frozenset(methods), host, segments, prefix)
    assert Pattern.from_texts(pattern.methods, pattern.host, pattern.texts(), pattern.prefix) == pattern


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("GET", "begins with /"),
        ("GET a", "begins with /"),
        ("get /a", "capitals: GET"),
        ("Get,POST /a", "capitals: GET"),
        ("FETCH /a", "not a method"),
        ("TRACE /a", "not a method"),
        ("CONNECT /a", "not a method"),
        ("GET,GET /a", "twice"),
        ("GET POST /a", "comma"),
        ("* GET /a", "comma"),
        ("a.example b.example /a", "two hosts"),
        ("a.example:8443 /a", "port"),
        ("a_b.example /a", "not a host"),
        ("/a//b", "empty segment"),
        ("//", "empty segment"),
        ("/a//*", "empty segment"),
        ("/a/*/b", "only at the end"),
        ("/a*", "only at the end"),
        ("/**", "only at the end"),
        ("/a/{b}c", "whole segment"),
        ("/a/{}", "whole segment"),
        ("/a/{1b}", "whole segment"),
        ("/a/{b-c}", "whole segment"),
        ("/a/{b", "whole segment"),
        ("/{a}/{a}", "same parameter twice"),
        ("/a/../b", "dot segments"),
        ("/./a", "dot segments"),
        ("/a%2Fb", "characters"),
        ("/a%2e%2e/b", "characters"),
        ("/a;x=1", "characters"),
        ("/a\\b", "characters"),
        ("/é", "characters"),
        ("/a\0", "characters"),
        ("/a?b=c", "query"),
        ("/a#b", "query"),
        ("/" + "a/" * 65 + "b", "segments"),
        ("/" + "a" * 3000, "too long"),
    ],
)
def test_what_is_no_pattern(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pattern(text)


def test_a_pattern_knows_its_text_with_single_spaces() -> None:
    pattern = parse_pattern("GET   api.example.com\t/a/{id}/*")
    assert pattern.text == "GET api.example.com /a/{id}/*"
    assert pattern.path == "/a/{id}/*"
    assert pattern.params == ("id",)
    assert pattern.mask == 0b01


@given(st.text(alphabet="GETPOS,* /{}ab.-:%\\", max_size=30))
def test_a_pattern_is_read_or_refused_in_words_and_reads_back_as_its_text(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except ValueError as error:
        message = str(error)
        pattern = None
    assert (parse_pattern(pattern.text) == pattern) if pattern is not None else message
