"""Why a token was not verified.

TokenRefused   carries the reason that goes on the record, and a note for the operator
  KeyUnknown   no key of the set fits; newer keys might
  ProofRefused it is the proof of possession that does not hold
"""

from __future__ import annotations

from interlock.errors import InterlockError
from interlock.model import Reason


class TokenRefused(InterlockError):
    """The token does not hold. `note` never contains the token or any part of its signature."""

    def __init__(self, reason: Reason, note: str = "") -> None:
        self.reason = reason
        self.note = note
        super().__init__(f"{reason}: {note}" if note else str(reason))


class KeyUnknown(TokenRefused):
    """The key that the token names is not in the set: worth one look at the issuer's current keys."""

    def __init__(self, note: str = "") -> None:
        super().__init__(Reason.TOKEN_KEY_UNKNOWN, note)


class ProofRefused(TokenRefused):
    """A DPoP proof (RFC 9449) does not hold, or shows another key than it should."""
