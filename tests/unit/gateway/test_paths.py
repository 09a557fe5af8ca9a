"""The path that is matched is the path that is forwarded, and it has one reading only."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interlock
from interlock.gateway.http1 import Malformed
from interlock.gateway.paths import Target, canonicalize
from interlock.model import Reason

HOST = b"api.example"


@pytest.mark.parametrize(
    ("target", "wire", "segments"),
    [
        (b"/", b"/", ()),
        (b"/a", b"/a", ("a",)),
        (b"/a/", b"/a/", ("a", "")),
        (b"/a/b?c=d&e=/..", b"/a/b?c=d&e=/..", ("a", "b")),
        (b"/a?", b"/a?", ("a",)),
        (b"/%61%2D%2e%5F%7e", b"/a-._~", ("a-._~",)),
        (b"/caf%c3%a9", b"/caf%C3%A9", ("café",)),
        (b"/a%20b", b"/a%20b", ("a b",)),
        (b"/50%25-off", b"/50%25-off", ("50%-off",)),
        (b"/%3Fa%23", b"/%3Fa%23", ("?a#",)),
        (b"/a...b/.hidden/...", b"/a...b/.hidden/...", ("a...b", ".hidden", "...")),
        (b"/a=b,c:d@e!$&'()*+", b"/a=b,c:d@e!$&'()*+", ("a=b,c:d@e!$&'()*+",)),
        (b"/%E6%97%A5/x", b"/%E6%97%A5/x", ("日", "x")),
        (b"http://api.example", b"/", ()),
        (b"https://API.example:443/a?b", b"/a?b", ("a",)),
        (b"http://api.example?b", b"/?b", ()),
    ],
)
def test_canonical(target: bytes, wire: bytes, segments: tuple[str, ...]) -> None:
    found = canonicalize(target, HOST)
    assert found.wire == wire
    assert found.segments == segments
    assert found.path == "/" + "/".join(segments)
    assert found.raw_path + (b"?" + found.query if b"?" in wire else b"") == wire


@pytest.mark.parametrize(
    ("target", "note"),
    [
        (b"/a%2Fb", "encoded slash"),
        (b"/a%5Cb", "encoded slash"),
        (b"/a\\b", "backslash"),
        (b"/a%00", "encoded control character"),
        (b"/a;b", "path parameter"),
        (b"/a%3Bb", "path parameter"),
        (b"/a/../b", "dot segment"),
        (b"/a/%2e/b", "dot segment"),
        (b"/..", "dot segment"),
        (b"/a//b", "empty segment"),
        (b"//", "empty segment"),
        (b"/a//", "empty segment"),
        (b"/a/bb//", "empty segment"),
        (b"/a$bb//", "empty segment"),
        (b"/a%252fb", "encoded twice"),
        (b"/a%25%32%66b", "encoded twice"),
        (b"/a%2%35", "broken percent-encoding"),
        (b"/a%", "broken percent-encoding"),
        (b"/%c0%af", "not UTF-8"),
        (b"/\xc3\xa9", "octet beyond ASCII"),
        (b"/a#b", "fragment"),
        (b"/a%E2%80%8Bb", "unprintable character"),
        (b"/a b", "character in the path"),
        (b"/a?b#c", "characters in the query"),
        (b"/a?b\xff", "characters in the query"),
        (b"a", "neither origin-form nor absolute-form"),
        (b"ftp://api.example/a", "neither origin-form nor absolute-form"),
    ],
)
def test_refused(target: bytes, note: str) -> None:
    with pytest.raises(Malformed) as refused:
        canonicalize(target, HOST)
    assert refused.value.reason is Reason.PATH_INVALID
    assert refused.value.note == note


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Python before 3.11.5 matches what such a pattern does not: `/admin//` for two sound segments (gh-106052)."""
    sources = list(Path(interlock.__file__).parent.rglob("*.py"))
    assert len(sources) > 100
    of_characters = re.compile(r"\[\^?\]?(?:\\.|[^\]\\\n])*\]")
    possessive = re.compile(r"re\.compile\(.*(?:\)[+*?]\+|\)\{[0-9,]+\}\+|\(\?>)")
    assert possessive.search(of_characters.sub("c", r're.compile(rb"(?:/[()a-z]++)++/?|/")'))
    assert [path for path in sources if possessive.search(of_characters.sub("c", path.read_text()))] == []


@pytest.mark.parametrize("target", [b"http://other.example/a", b"http://u@api.example/a", b"http://api.example:81/a"])
def test_absolute_form_names_the_host(target: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        canonicalize(target, HOST)
    assert refused.value.reason is Reason.HOST_INVALID


def test_asterisk_is_nowhere() -> None:
    with pytest.raises(Malformed) as refused:
        canonicalize(b"*", HOST)
    assert refused.value.reason is Reason.NO_ROUTE


def accepted(target: bytes) -> Target | None:
    try:
        return canonicalize(target, HOST)
    except Malformed:
        return None


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            (b"/", b".", b"..", b"%2e", b"%2F", b"%25", b"%5c", b"\\", b";", b"%", b"2f", b"a", b"%61", b"%c3", b"%a9")
        ),
        st.binary(min_size=1, max_size=1),
        st.integers(0, 255).map(lambda octet: b"%%%02x" % octet),
    ),
    max_size=12,
).map(lambda parts: b"/" + b"".join(parts))


@settings(max_examples=1000, deadline=None)
@given(pieces)
def test_has_one_reading(target: bytes) -> None:
    """An accepted path is a fixed point, and decoding it any number of times finds no other segments."""
    found = accepted(target)
    if found is None:
        return
    again = canonicalize(found.wire, HOST)
    assert (again.wire, again.path, again.segments) == (found.wire, found.path, found.segments)
    assert unquote_to_bytes(found.raw_path).decode("utf-8") == found.path
    decoded = found.raw_path
    for _ in range(3):
        decoded = unquote_to_bytes(decoded)
        assert decoded.count(b"/") == max(1, len(found.segments))
        assert not {b".", b"..", b""} & set(decoded[1:-1].split(b"/")[:-1])
        assert not any(octet < 0x20 or octet in b"\\;\x7f" for octet in decoded)
    assert found.path.count("/") == max(1, len(found.segments))
    assert "." not in found.segments
    assert ".." not in found.segments
    assert "" not in found.segments[:-1]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1), max_size=4))
def test_plain_text_survives(segments: list[str]) -> None:
    """Letters and digits of any script, encoded as browsers do, are matched as they were meant."""
    encoded = b"".join(b"/" + b"".join(b"%%%02x" % octet for octet in text.encode()) for text in segments) or b"/"
    found = accepted(encoded)
    assert found is not None
    assert found.segments == tuple(segments)
