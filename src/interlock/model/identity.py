"""What a verified credential says of its bearer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from interlock.model.principal import Principal


class PeerCertificate(msgspec.Struct, frozen=True):
    """A client certificate as the TLS handshake delivered it; verified again per trust bundle before use."""

    der: bytes
    fingerprint: bytes  # SHA-256 of `der`, raw; RFC 8705 `x5t#S256` is its base64url form


class Identity(msgspec.Struct, frozen=True, eq=False):
    """The verified result of one credential, or of several that name the same principal.

    Shared between calls by caches: MUST NOT hold anything of one call.
    """

    principal: Principal
    text: str  # str(principal), made once
    methods: tuple[str, ...]  # of "jwt", "api_key", "mtls"; empty for anonymous
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()  # what the roles grant, resolved at verification
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = {}
    issuer: str = ""  # of the token, when there is one
    trust: str = ""  # the bundle that vouched for the certificate, when there is one
    not_before: int = 0  # wall ns
    expires: int = 0  # wall ns; 0: does not expire by itself
    networks: tuple[Any, ...] = ()  # ipaddress networks the credential may be used from; empty: anywhere
    handles: tuple[bytes, ...] = ()  # 32-byte names under which this can be revoked; the token's own first, if any
    certificate: bytes = b""  # fingerprint of the certificate it was verified with
    bound_to: bytes = b""  # certificate fingerprint the token demands (`cnf.x5t#S256`), empty: unbound
    limit_key: bytes = b""  # 16 bytes naming the principal in counters
    bound_key: bytes = b""  # thumbprint of the key that a token demands proofs of (`cnf.jkt`), empty: none
    credential: str = ""  # id of the API key or `jti` of the token, for the record
    issued: int = 0  # when, in whole seconds of wall time, as `iat` says it; 0: unknown
    auth_time: int = 0  # when somebody signed in, likewise; 0: unknown, or nobody did
    acr: str = ""  # how strongly, as the issuer calls it
    amr: tuple[str, ...] = ()  # by what (RFC 8176)
    api_key: bytes = b""  # handle of the API key among several credentials


_NOBODY = Principal("anonymous", "interlock", "anonymous")
ANONYMOUS = Identity(principal=_NOBODY, text=str(_NOBODY), methods=(), limit_key=b"anonymous-caller")
