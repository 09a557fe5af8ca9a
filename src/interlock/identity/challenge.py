"""What a caller without a good credential is told (RFC 9110 section 11.6.1, RFC 6750 section 3), and no more."""

from __future__ import annotations

from collections.abc import Collection

from interlock.model import Reason, Refusal

_REALM = b'realm="interlock"'
_SCHEMES = (("jwt", b"Bearer"), ("api_key", b"ApiKey"), ("mtls", b"ClientCertificate"))


class Challenge:
    """The `WWW-Authenticate` of a route: one scheme, the first that its methods know."""

    def __init__(self, methods: Collection[str]) -> None:
        scheme = next(scheme for method, scheme in _SCHEMES if method in methods)
        self._plain = ((b"www-authenticate", scheme + b" " + _REALM),)
        self._invalid = ((b"www-authenticate", scheme + b" " + _REALM + b', error="invalid_token"'),)
        self._bearer = scheme == b"Bearer"

    def put(self, refusal: Refusal, *, bearer: bool = False) -> Refusal:
        """The refusal with the challenge its status asks for; `bearer`: a token was what failed."""
        if refusal.reason.status != 401:
            return refusal
        headers = self._invalid if bearer and self._bearer else self._plain
        return Refusal(refusal.reason, refusal.headers + headers, refusal.note)

    def missing(self, note: str = "") -> Refusal:
        return Refusal(Reason.CREDENTIAL_MISSING, self._plain, note)
