"""API keys: a readable prefix, 256 random bits, a checksum.

    ilk_<id: 10 of a-z2-7>_<secret: 43 of base64url><checksum: 6 of a-z2-7>

The prefix lets secret scanners and people know one when they see it; the checksum lets a typing error be
told without a lookup. Only a keyed hash is stored: the secret has 256 bits, so no slow hash is needed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

PREFIX = "ilk_"
LENGTH = 64
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_SHAPE = re.compile(rb"ilk_([a-z2-7]{10})_[A-Za-z0-9_-]{43}[a-z2-7]{6}")


def mint() -> tuple[str, str]:
    """A new key: its id, and the text that is shown once and never stored."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(10))
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode("ascii")
    body = f"{PREFIX}{key_id}_{secret}"
    return key_id, body + _checksum(body.encode("ascii"))


def well_formed(text: bytes) -> bool:
    """Whether this has the shape of a key. It says nothing of whether the key is known."""
    return _SHAPE.fullmatch(text) is not None and hmac.compare_digest(_checksum(text[:-6]).encode("ascii"), text[-6:])


def lookup_hash(lookup_key: bytes, text: bytes) -> bytes:
    """Under what a key is stored and looked up (32 bytes)."""
    return hmac.digest(lookup_key, text, "sha256")


def _checksum(body: bytes) -> str:
    number = int.from_bytes(hashlib.sha256(body).digest()[:4], "big") >> 2
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(25, -1, -5))
