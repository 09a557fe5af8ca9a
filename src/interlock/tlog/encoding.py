"""How the C2SP formats spell bytes and numbers, with one spelling for each value."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Final

from interlock.errors import LogError
from interlock.tlog.node import HASH_SIZE, MAX_SIZE

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")  # 19 digits hold 2**63 - 1


def encode_base64(data: bytes) -> str:
    """RFC 4648 section 4, padded."""
    return b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """RFC 4648 section 4, padded; unused bits must be zero (section 3.5 leaves that to the decoder). Else LogError."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        raise LogError("not base64") from None
    if encode_base64(data) != text:
        raise LogError("not canonical base64")
    return data


def decode_hash(text: str) -> bytes:
    """A hash of 32 bytes in base64. Raises LogError on anything else."""
    data = decode_base64(text)
    if len(data) != HASH_SIZE:
        raise LogError(f"a hash is {HASH_SIZE} bytes")
    return data


def decode_size(text: str) -> int:
    """A size or index: ASCII decimal, no leading zeroes, at most 2**63 - 1. Raises LogError on anything else."""
    if _DECIMAL.fullmatch(text) is None or int(text) > MAX_SIZE:
        raise LogError("not a decimal number from 0 to 2^63-1 without leading zeroes")
    return int(text)
