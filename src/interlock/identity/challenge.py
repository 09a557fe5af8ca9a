"""What a caller without a good credential is told (RFC 9110 section 11.6.1, RFC 6750 section 3), and no more."""

from __future__ import annotations

from collections.abc import Collection

from interlock.identity.dpop import ALGS
from interlock.model import Reason, Refusal

_REALM = b'realm="interlock"'
_SCHEMES = (("jwt", b"Bearer"), ("api_key", b"ApiKey"), ("mtls", b"ClientCertificate"))
_FIELD = b"www-authenticate"
_DPOP_ERRORS = {
    Reason.DPOP_INVALID: b"invalid_dpop_proof",
    Reason.DPOP_REPLAYED: b"invalid_dpop_proof",
    Reason.DPOP_NONCE_NEEDED: b"use_dpop_nonce",
}


class Challenge:
    """The `WWW-Authenticate` of a route: one scheme, the first that its methods know; beside Bearer also DPoP, or only
    that where no token is taken that is bound to no key (RFC 9449 section 7.1)."""

    def __init__(self, methods: Collection[str], takes_bearer: bool) -> None:
        scheme = next(scheme for method, scheme in _SCHEMES if method in methods)
        self._bearer = scheme == b"Bearer"
        self._plain: tuple[tuple[bytes, bytes], ...] = ((_FIELD, scheme + b" " + _REALM),)
        self._invalid: tuple[tuple[bytes, bytes], ...] = (
            (_FIELD, scheme + b" " + _REALM + b', error="invalid_token"'),
        )
        self._missing = (*self._plain, *_dpop(b"")) if self._bearer else self._plain
        if self._bearer and not takes_bearer:
            self._plain = self._missing = _dpop(b"")
            self._invalid = _dpop(b"invalid_token")

    def put(self, refusal: Refusal, *, bearer: bool = False, dpop: bool = False) -> Refusal:
        """The refusal with the challenge its status asks for; `bearer`: a token failed; `dpop`: with its proof."""
        if refusal.reason.status != 401:
            return refusal
        headers: tuple[tuple[bytes, bytes], ...] = self._plain
        if self._bearer and dpop:  # RFC 9449 section 7.1
            headers = _dpop(_DPOP_ERRORS.get(refusal.reason, b"invalid_token"))
        elif self._bearer and bearer:
            headers = self._invalid
        return Refusal(refusal.reason, refusal.headers + headers, refusal.note)

    def missing(self, note: str = "") -> Refusal:
        return Refusal(Reason.CREDENTIAL_MISSING, self._missing, note)


def _dpop(error: bytes) -> tuple[tuple[bytes, bytes], ...]:
    said = b', error="%b"' % error if error else b""
    return ((_FIELD, b'DPoP %b%b, algs="%b"' % (_REALM, said, ALGS.encode("ascii"))),)
