"""JSON Web Signature, compact serialization (RFC 7515), verified with keys that we chose.

The checks, in order; each raises `TokenRefused` with its reason:

 1. size and three segments of canonical base64url           token-malformed
 2. the header is one JSON object without repeated names,
    and what names something in it is a string               token-malformed
 3. `alg` is one that the caller allows; `none` never is     token-algorithm
 4. nothing in the header asks for what we do not do:
    `crit`, `b64`, or brings its own key                     token-header
 5. a key of that name, fit for that algorithm               token-key-unknown, token-algorithm
 6. the signature                                            token-signature
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from interlock.jose.encoding import Malformed, decode_base64url, decode_json_object
from interlock.jose.errors import KeyUnknown, TokenRefused
from interlock.jose.jwk import KeySet, VerificationKey
from interlock.model import Reason

MAX_TOKEN = 16 * 1024  # bytes
MAX_HEADER = 4 * 1024  # bytes, encoded
MAX_TRIES = 4  # keys tried for a token that does not name one

ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"}
)
SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})

_STRINGS = ("kid", "typ", "cty", "x5t", "x5t#S256")

# `x5t` and `x5t#S256` name a key and do no harm; these bring one, or change what is signed.
_FORBIDDEN = ("crit", "b64", "jwk", "jku", "x5u", "x5c")


_MODELS = {name: jws.JWSRegistry.algorithms[name] for name in (*sorted(ASYMMETRIC), *sorted(SYMMETRIC))}


class Compact(msgspec.Struct, frozen=True):
    """A token taken apart, not verified: nothing in it is true yet."""

    token: bytes
    header: dict[str, Any]
    payload: bytes
    signature: bytes = b""

    @property
    def signed(self) -> bytes:
        """What the signature is over: the first two segments as they came."""
        return self.token[: self.token.rindex(b".")]


def split(token: bytes) -> Compact:
    """Checks 1 and 2."""
    if len(token) > MAX_TOKEN:
        raise TokenRefused(Reason.TOKEN_MALFORMED, "longer than 16 KiB")
    segments = token.split(b".")
    if len(segments) != 3:
        raise TokenRefused(Reason.TOKEN_MALFORMED, "a signed token has three segments")
    if len(segments[0]) > MAX_HEADER:
        raise TokenRefused(Reason.TOKEN_MALFORMED, "header longer than 4 KiB")
    try:
        header = decode_json_object(decode_base64url(segments[0]))
        payload = decode_base64url(segments[1])
        signature = decode_base64url(segments[2])
    except Malformed as error:
        raise TokenRefused(Reason.TOKEN_MALFORMED, str(error)) from error
    for name in _STRINGS:
        if name in header and not isinstance(header[name], str):
            raise TokenRefused(Reason.TOKEN_MALFORMED, f"{name} is not a string")
    return Compact(token, header, payload, signature)


def verify_compact(compact: Compact, keys: KeySet, algorithms: Collection[str]) -> None:
    """Checks 3 to 6; returns when the signature holds."""
    header = compact.header
    # 3.
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in _MODELS:
        raise TokenRefused(Reason.TOKEN_ALGORITHM, f"alg {_shown(algorithm)} is not among those accepted")
    # 4.
    for name in _FORBIDDEN:
        if name in header:
            raise TokenRefused(Reason.TOKEN_HEADER, f"header parameter {name}")
    # 5.
    candidates = _candidates(header, algorithm, keys)
    # 6.
    for candidate in candidates:
        if signature_holds(compact.signed, compact.signature, candidate, algorithm):
            return
    raise TokenRefused(Reason.TOKEN_SIGNATURE)


def verify_jws(token: bytes, keys: KeySet, algorithms: Collection[str]) -> tuple[dict[str, Any], bytes]:
    """Verify a compact JWS; gives its header and payload."""
    compact = split(token)
    verify_compact(compact, keys, algorithms)
    return compact.header, compact.payload


def signature_holds(signed: bytes, signature: bytes, key: VerificationKey, algorithm: str) -> bool:
    """Check 6 alone; the caller has seen to it that the algorithm is among those of the key."""
    try:
        return _MODELS[algorithm].verify(signed, signature, key.key)
    except (JoseError, ValueError):  # an ECDSA point or an RSA length that the library will not even try
        return False


def _candidates(header: dict[str, Any], algorithm: str, keys: KeySet) -> list[VerificationKey]:
    kid: str | None = header.get("kid")
    named = keys.keys if kid is None else keys.named(kid)
    if not named and kid is not None and kid in keys.set_aside:
        raise TokenRefused(Reason.TOKEN_ALGORITHM, f"key {_shown(kid)} does not verify: {keys.set_aside[kid]}")
    if not named:
        raise KeyUnknown(f"kid {_shown(kid)}")
    fitting = [key for key in named if algorithm in key.algorithms]
    if not fitting:
        raise TokenRefused(Reason.TOKEN_ALGORITHM, f"the key is not for {algorithm}")
    if len(fitting) > MAX_TRIES:
        raise KeyUnknown("no kid, and too many keys would fit")
    return fitting


def _shown(value: object) -> str:
    """A value out of an unverified token, fit for the record."""
    return repr(value)[:80]
