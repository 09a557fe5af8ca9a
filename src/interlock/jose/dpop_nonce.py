"""Nonces for DPoP proofs (RFC 9449 sections 8 and 9), made and checked without being kept.

    6 bytes   the number of the period in which it was made
    16 bytes  HMAC-SHA256 of that under the node's nonce key, cut

It shows that a proof with it was made no earlier than that, by whoever asked this node: all who ask in one period
are given the same one. The key MUST be new at each start of the node, and the clock MUST never go back, so that no
nonce is good a second time, whatever is done to the wall clock.
"""

from __future__ import annotations

import base64
import hmac

from interlock.clock import SECOND
from interlock.jose.encoding import Malformed, decode_base64url

PERIOD = 20 * SECOND
LIFE = 6 * PERIOD  # at most; at least one period less
KEY_SIZE = 32  # bytes

_NUMBER = 6
_MAC = 16
_LENGTH = 30  # of the text


class Nonces:
    """One node's nonces. Times are ns of a monotonic clock that all its processes share. Its repr shows no key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a nonce key has {KEY_SIZE} bytes")
        self._key = key
        self._made = (-1, "")

    def issue(self, now: int) -> str:
        """The nonce of the present period."""
        number = now // PERIOD
        if self._made[0] != number:
            self._made = (number, self._text(number))
        return self._made[1]

    def ends(self, nonce: str, now: int) -> int:
        """When a nonce ends, or 0 for one that has ended or is not of this start of the node."""
        if len(nonce) != _LENGTH:
            return 0
        try:
            number = int.from_bytes(decode_base64url(nonce.encode("ascii"))[:_NUMBER], "big")
        except (Malformed, UnicodeEncodeError):
            return 0
        if not hmac.compare_digest(nonce, self._text(number)):
            return 0
        end = number * PERIOD + LIFE
        return end if now < end and number <= now // PERIOD else 0

    def renewed(self, ends: int, now: int) -> str:
        """A newer nonce for whoever used one that ends then, if that is soon; else empty."""
        return self.issue(now) if ends - now < LIFE // 2 else ""

    def _text(self, number: int) -> str:
        data = number.to_bytes(_NUMBER, "big")
        mac = hmac.digest(self._key, data, "sha256")[:_MAC]
        return base64.urlsafe_b64encode(data + mac).rstrip(b"=").decode("ascii")
