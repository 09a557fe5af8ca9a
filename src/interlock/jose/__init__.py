"""Token algorithms and proofs over joserfc, strict where the standards leave room.

Only verifies; it never signs, fetches a key, or trusts a key that came with the token.
"""

from interlock.jose.cnf import Confirmation, confirmation
from interlock.jose.encoding import Malformed, decode_base64url, decode_json_object
from interlock.jose.errors import KeyUnknown, TokenRefused
from interlock.jose.jwk import KeySet, VerificationKey
from interlock.jose.jws import MAX_TOKEN, SYMMETRIC, Compact, split, verify_compact, verify_jws
from interlock.jose.jwt import claims_set, verify_jwt

__all__ = [
    "MAX_TOKEN",
    "SYMMETRIC",
    "Compact",
    "Confirmation",
    "KeySet",
    "KeyUnknown",
    "Malformed",
    "TokenRefused",
    "VerificationKey",
    "claims_set",
    "confirmation",
    "decode_base64url",
    "decode_json_object",
    "split",
    "verify_compact",
    "verify_jws",
    "verify_jwt",
]
