"""What each field name means to us, decided once per spelling.

A name is classified on first sight and remembered by its exact spelling, so that reading a head costs one
lookup per line. The memory is bounded and holds names only. A name that some system behind could take for
one of the special names (`X_Forwarded_For`, `Interlock.Identity`) MUST NOT be classed as plain.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
LEARNED: Final = 2048  # spellings remembered beyond the known ones
LONGEST_LEARNED: Final = 64


# What is done with a field. Plain integers: they are compared for every line of every head.
PLAIN: Final = 0  # passes as it is
DROP: Final = 1  # never passes
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
UPGRADE: Final = 5
HOST: Final = 6
EXPECT: Final = 7
AUTHORIZATION: Final = 8
API_KEY: Final = 9
FORWARDED: Final = 10  # says where the request came from; a trusted proxy's word only
ORIGIN: Final = 11  # passes, and is kept for CORS
TRACEPARENT: Final = 12
VIA: Final = 13
ACCESS_CONTROL: Final = 14  # of an answer: passes unless the route does CORS itself
DPOP: Final = 15  # a proof of possession of a token's key: a credential

_HOP_BY_HOP: Final = (
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailer",
)

# A system behind could be talked into another path or method than the one that was authorised.
_OVERRIDES: Final = (
    b"x-original-url",
    b"x-rewrite-url",
    b"x-original-uri",
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
)
_SOURCES: Final = (
    b"forwarded",
    b"x-real-ip",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"fastly-client-ip",
    b"x-original-forwarded-for",
    b"x-envoy-external-address",
)
# By custom written by a proxy about who calls, so that systems behind believe them (RFC 9440 section 2, httpoxy).
_IDENTITIES: Final = (
    b"client-cert",
    b"client-cert-chain",
    b"proxy",
    b"remote-user",
    b"ssl-client-cert",
    b"ssl-client-verify",
    b"x-arr-clientcert",
    b"x-authenticated-user",
    b"x-client-cert",
    b"x-remote-user",
    b"x-webauth-user",
)
_IDENTITY_PREFIXES: Final = (b"x-auth-request-", b"x-ssl-client", b"x-amzn-oidc-", b"x-goog-authenticated-user")
_REQUEST: Final[dict[bytes, int]] = {
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"host": HOST,
    b"expect": EXPECT,
    b"authorization": AUTHORIZATION,
    b"x-api-key": API_KEY,
    b"dpop": DPOP,
    b"origin": ORIGIN,
    b"traceparent": TRACEPARENT,
    b"via": VIA,
    b"http2-settings": DROP,
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    **dict.fromkeys(_OVERRIDES, DROP),
    **dict.fromkeys(_IDENTITIES, DROP),
    **dict.fromkeys(_SOURCES, FORWARDED),
}
_REQUEST_PLAIN: Final = (
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"cache-control",
    b"content-encoding",
    b"content-type",
    b"cookie",
    b"date",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"pragma",
    b"priority",
    b"range",
    b"referer",
    b"sec-fetch-dest",
    b"sec-fetch-mode",
    b"sec-fetch-site",
    b"tracestate",
    b"user-agent",
    b"x-request-id",
)

# Says what software and which machines stand behind, or speaks to infrastructure that is not theirs.
_REVEALING: Final = (
    b"server",
    b"x-powered-by",
    b"x-powered-cms",
    b"x-aspnet-version",
    b"x-aspnetmvc-version",
    b"x-runtime",
    b"x-generator",
    b"x-served-by",
    b"x-server",
    b"x-backend",
    b"x-backend-server",
    b"x-varnish",
    b"x-drupal-cache",
    b"x-drupal-dynamic-cache",
    b"x-envoy-upstream-service-time",
    b"x-envoy-decorator-operation",
    b"x-debug-token",
    b"x-debug-token-link",
    b"x-sourcefiles",
    b"alt-svc",
)
_RESPONSE: Final[dict[bytes, int]] = {
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": DROP,
    b"via": DROP,
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    **dict.fromkeys(_REVEALING, DROP),
}
_RESPONSE_PLAIN: Final = (
    b"accept-ranges",
    b"age",
    b"allow",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"content-security-policy",
    b"content-type",
    b"date",
    b"etag",
    b"expires",
    b"last-modified",
    b"link",
    b"location",
    b"pragma",
    b"referrer-policy",
    b"retry-after",
    b"set-cookie",
    b"strict-transport-security",
    b"vary",
    b"www-authenticate",
    b"x-content-type-options",
    b"x-frame-options",
    b"x-request-id",
)
_NOT_LETTERS: Final = re.compile(rb"[^a-z0-9]+")


def is_ours(name: bytes) -> bool:
    """Whether a lower-case name is, in any spelling, one that only Interlock may set."""
    plain = _NOT_LETTERS.sub(b"", name)
    return plain.startswith((b"interlock", b"xinterlock"))


def request_kind(name: bytes) -> int:
    """Class of a lower-case name in a request."""
    kind = _REQUEST.get(name)
    if kind is not None:
        return kind
    if b"_" in name or is_ours(name) or name.startswith(_IDENTITY_PREFIXES):
        return DROP
    if name.startswith(b"x-forwarded"):
        return FORWARDED
    spelling = _NOT_LETTERS.sub(b"-", name)
    if spelling != name and (spelling in _REQUEST or spelling.startswith((b"x-forwarded", *_IDENTITY_PREFIXES))):
        return DROP
    return PLAIN


def response_kind(name: bytes) -> int:
    """Class of a lower-case name in an answer."""
    kind = _RESPONSE.get(name)
    if kind is not None:
        return kind
    if name.startswith(b"access-control-"):
        return ACCESS_CONTROL
    if is_ours(name) or name.startswith(b"x-accel-"):
        return DROP
    return PLAIN


class Names:
    """Remembers the class of each spelling. `kinds` is read directly where speed matters."""

    __slots__ = ("_classify", "_known", "kinds")

    def __init__(self, classify: Callable[[bytes], int], known: tuple[bytes, ...]) -> None:
        self._classify = classify
        self._known: dict[bytes, int] = {}
        for name in known:
            self._known[name] = self._known[name.title()] = classify(name)
        self.kinds = dict(self._known)

    def learn(self, name: bytes) -> int:
        """Class of a name seen for the first time; `ValueError` if it is not a token."""
        if not TOKEN.fullmatch(name):
            raise ValueError
        kind = self._classify(name.lower())
        if len(name) <= LONGEST_LEARNED:
            if len(self.kinds) >= LEARNED + len(self._known):
                self.kinds.clear()
                self.kinds.update(self._known)
            self.kinds[name] = kind
        return kind


REQUEST_NAMES: Final = Names(request_kind, (*_REQUEST, *_REQUEST_PLAIN, b"x-forwarded-for", b"x-forwarded-proto"))
RESPONSE_NAMES: Final = Names(response_kind, (*_RESPONSE, *_RESPONSE_PLAIN))
REQUEST_NAMES.kinds[b"ETag"] = RESPONSE_NAMES.kinds[b"ETag"] = PLAIN
REQUEST_NAMES.kinds[b"X-API-Key"] = API_KEY
REQUEST_NAMES.kinds[b"DPoP"] = DPOP
