"""Base64url and JSON, read in one way only."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.jose import Malformed, decode_base64url, decode_json_object


@given(st.binary(max_size=200))
def test_every_value_has_one_spelling(data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).rstrip(b"=")
    assert decode_base64url(text) == data


@given(st.binary(max_size=12))
def test_what_decodes_is_canonical(text: bytes) -> None:
    """Whatever text is accepted is the very text that its value encodes to."""
    try:
        data = decode_base64url(text)
    except Malformed:
        return
    assert base64.urlsafe_b64encode(data).rstrip(b"=") == text


@pytest.mark.parametrize(
    "text", [b"YQ==", b"YQ=", b"Y", b"YR", b"YWJ", b"Y W", b"YQ\n", b"+/+/", b"\xff\xff", b"YQ.", b"YQ\0A"]
)
def test_other_spellings_are_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode_base64url(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"\\u0061":2}}',
        b"[]",
        b'"a"',
        b"1",
        b"",
        b"{",
        b"{}{}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"{'a':1}",
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b"\x00{}",
    ],
)
def test_json_with_two_meanings_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode_json_object(text)


def test_deep_input_costs_no_recursion() -> None:
    with pytest.raises(Malformed):
        decode_json_object(b'{"a":' + b"[" * 8000)


def test_many_brackets_in_strings_and_side_by_side_are_fine() -> None:
    value = {"a": "[{" * 100, "b": [[] for _ in range(100)], "c": '\\"['}
    assert decode_json_object(json.dumps(value).encode()) == value
