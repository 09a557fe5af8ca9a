"""Strict readings of base64url (RFC 4648 section 5, as RFC 7515 section 2 uses it) and of JSON objects.

One text has one meaning here: padding, white space, foreign characters, unused bits that are not zero and
repeated member names are refused, because two parsers that read one token differently are an attack.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NoReturn

_ALPHABET = re.compile(rb"[A-Za-z0-9_-]*")
_DEEPEST = 32  # nested arrays and objects


class Malformed(ValueError):
    """The text is not in the one form that is accepted."""


def decode_base64url(text: bytes) -> bytes:
    """Decode canonical, unpadded base64url; `Malformed` for anything else."""
    if _ALPHABET.fullmatch(text) is None or len(text) % 4 == 1:
        raise Malformed("not base64url")
    decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if len(text) % 4 and base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise Malformed("base64url with unused bits set")
    return decoded


def decode_json_object(text: bytes) -> dict[str, Any]:
    """Decode one JSON object in UTF-8 (RFC 8259) without repeated names, NaN, infinities or lone surrogates."""
    if not _shallow(text):
        raise Malformed("JSON nested too deeply")
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        # A lone surrogate can be escaped in JSON but not be encoded, so it would break whatever logs it.
        if b"\\" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a JSON member is repeated")
    return members


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON")


def _shallow(text: bytes) -> bool:
    """The count of all brackets bounds the depth and is quick; only a text with many is walked."""
    return text.count(b"{") + text.count(b"[") <= _DEEPEST or _depth(text) <= _DEEPEST


def _depth(text: bytes) -> int:
    deepest = depth = 0
    quoted = escaped = False
    for byte in text:
        if quoted:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                quoted = False
        elif byte == 0x22:
            quoted = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest
