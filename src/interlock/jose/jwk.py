"""Public keys of an issuer: a JWK Set (RFC 7517), read strictly, each key for one use.

Keys that cannot verify signatures here are set aside with the reason, as RFC 7517 section 5 wants, and
never make the others unusable. A private key in a set that is meant to be public is set aside too:
whoever could read the set can sign with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from interlock.errors import KeyMaterialError
from interlock.jose.encoding import Malformed, decode_json_object

MAX_SET = 512 * 1024  # bytes
MAX_KEYS = 256
MIN_RSA, MAX_RSA = 2048, 8192  # bits

_EC_ALGORITHM = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
# RFC 7518 section 3.2: a key of the hash's size or more.
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}


class VerificationKey:
    """One key and the algorithms it may verify: never more than its type, curve and `alg` allow."""

    __slots__ = ("algorithms", "key", "kid")

    def __init__(self, kid: str, key: Key, algorithms: frozenset[str]) -> None:
        self.kid = kid
        self.key = key
        self.algorithms = algorithms


class KeySet:
    """The keys of one issuer; immutable."""

    def __init__(self, keys: list[VerificationKey], set_aside: Mapping[str, str]) -> None:
        self.keys = tuple(keys)
        self.set_aside = MappingProxyType(dict(set_aside))  # kid or position -> why
        self._by_kid: dict[str, tuple[VerificationKey, ...]] = {}
        for key in keys:
            self._by_kid[key.kid] = (*self._by_kid.get(key.kid, ()), key)

    def __len__(self) -> int:
        return len(self.keys)

    def named(self, kid: str) -> tuple[VerificationKey, ...]:
        """The keys of that name; if there are none, those without any name."""
        return self._by_kid.get(kid) or self._by_kid.get("", ())

    @classmethod
    def parse(cls, text: str | bytes, *, secrets: bool = False) -> KeySet:
        """Read a JWK Set or a single JWK; `KeyMaterialError` if it is neither.

        `secrets` admits symmetric keys; without it they are set aside, so that a public key can never be
        taken for a shared one and a shared one never be published.
        """
        raw = text.encode("utf-8") if isinstance(text, str) else text
        if len(raw) > MAX_SET:
            raise KeyMaterialError(f"the key set is larger than {MAX_SET} bytes")
        try:
            document = decode_json_object(raw)
        except Malformed as error:
            raise KeyMaterialError(f"not a JWK Set: {error}") from error
        members = document.get("keys", [document] if "kty" in document else None)
        if not isinstance(members, list):
            raise KeyMaterialError("not a JWK Set: it has no list of keys")
        if len(members) > MAX_KEYS:
            raise KeyMaterialError(f"the key set has more than {MAX_KEYS} keys")
        keys: list[VerificationKey] = []
        set_aside: dict[str, str] = {}
        for position, member in enumerate(members):
            try:
                keys.append(verification_key(member, secrets=secrets))
            except (JoseError, ValueError, KeyError, TypeError) as error:
                set_aside[_label(member, position)] = str(error) or type(error).__name__
        return cls(keys, set_aside)


def _label(member: Any, position: int) -> str:
    kid = member.get("kid") if isinstance(member, dict) else None
    return kid if isinstance(kid, str) and kid else f"#{position}"


def verification_key(member: Any, *, secrets: bool = False) -> VerificationKey:
    """One JWK; raises JoseError, ValueError, KeyError or TypeError for what does not verify signatures."""
    if not isinstance(member, dict):
        raise TypeError("it is not an object")
    kid = member.get("kid", "")
    if not isinstance(kid, str):
        raise TypeError("its kid is not a string")
    if member.get("use", "sig") != "sig":
        raise ValueError("its use is not sig")
    operations = member.get("key_ops")
    if operations is not None and "verify" not in operations:
        raise ValueError("its key_ops do not include verify")
    if "d" in member:
        raise ValueError("it is a private key")
    key = _import(member, secrets)
    algorithms = _algorithms(key)
    stated = member.get("alg")
    if stated is not None:
        algorithms &= {stated}
        if not algorithms:
            raise ValueError(f"its alg {stated!r} is unknown or does not fit its type")
    return VerificationKey(kid, key, algorithms)


def _import(member: dict[str, Any], secrets: bool) -> Key:
    kty = member.get("kty")
    # `use` and `key_ops` were checked above; joserfc is given what makes the key, and nothing else.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        if kty == "RSA":
            key: Key = RSAKey.import_key({name: member[name] for name in ("kty", "n", "e")})
        elif kty == "EC":
            key = ECKey.import_key({name: member[name] for name in ("kty", "crv", "x", "y")})
        elif kty == "OKP":
            key = OKPKey.import_key({name: member[name] for name in ("kty", "crv", "x")})
        elif kty == "oct" and secrets:
            key = OctKey.import_key({name: member[name] for name in ("kty", "k")})
        elif kty == "oct":
            raise ValueError("it is a symmetric key")
        else:
            raise ValueError(f"its kty {kty!r} is not supported")
    return key


def _algorithms(key: Key) -> frozenset[str]:
    if isinstance(key, RSAKey):
        if not MIN_RSA <= key.public_key.key_size <= MAX_RSA:
            raise ValueError(f"an RSA key of {key.public_key.key_size} bits")
        if key.public_key.public_numbers().e.bit_length() > 64:
            raise ValueError("an RSA exponent of more than 64 bits")
        return _RSA_ALGORITHMS
    if isinstance(key, ECKey):
        algorithm = _EC_ALGORITHM.get(key.curve_name)
        if algorithm is None:
            raise ValueError(f"its curve {key.curve_name!r} is not supported")
        return frozenset({algorithm})
    if isinstance(key, OKPKey):
        if key.curve_name not in {"Ed25519", "Ed448"}:
            raise ValueError(f"its curve {key.curve_name!r} does not sign")
        return frozenset({"EdDSA", key.curve_name})
    fitting = frozenset(name for name, least in _SECRET_BYTES.items() if len(key.raw_value) >= least)
    if not fitting:
        raise ValueError(f"a shared key of {len(key.raw_value)} bytes")
    return fitting
