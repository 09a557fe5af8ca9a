"""Token algorithms and proofs over joserfc, strict where the standards leave room.

Only verifies; it never signs, fetches a key, or trusts a key that came with the token. A proof of possession comes
with its key (`dpop`); it says that the sender holds it, not whose it is.
"""

from interlock.jose.cnf import Confirmation, confirmation
from interlock.jose.dpop import FAPI2_ALGORITHMS, PROOF_ALGORITHMS, Proof, normal_url, verify_proof
from interlock.jose.encoding import Malformed, decode_base64url, decode_json_object
from interlock.jose.errors import KeyUnknown, ProofRefused, TokenRefused
from interlock.jose.jwk import KeySet, VerificationKey
from interlock.jose.jws import MAX_TOKEN, SYMMETRIC, Compact, split, verify_compact, verify_jws
from interlock.jose.jwt import claims_set, verify_jwt
from interlock.jose.thumbprint import thumbprint

__all__ = [
    "FAPI2_ALGORITHMS",
    "MAX_TOKEN",
    "PROOF_ALGORITHMS",
    "SYMMETRIC",
    "Compact",
    "Confirmation",
    "KeySet",
    "KeyUnknown",
    "Malformed",
    "Proof",
    "ProofRefused",
    "TokenRefused",
    "VerificationKey",
    "claims_set",
    "confirmation",
    "decode_base64url",
    "decode_json_object",
    "normal_url",
    "split",
    "thumbprint",
    "verify_compact",
    "verify_jws",
    "verify_jwt",
    "verify_proof",
]
