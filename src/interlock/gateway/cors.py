"""Cross-origin reading of answers (the CORS protocol of the Fetch standard), as a route allows it.

An origin is compared whole and as it came; it is never reflected unless it is listed. `*` MUST NOT be
combined with credentials: where a configuration asks for both, the credentials are left out.
"""

from __future__ import annotations

from interlock.gateway.http1 import METHODS, RequestHead
from interlock.snapshot import CorsSpec

VARY = b"vary: origin\r\n"
PREFLIGHT_VARY = b"vary: origin, access-control-request-method, access-control-request-headers\r\n"
DEFAULT_HEADERS = ("authorization", "content-type", "dpop", "x-api-key")
EXPOSED = b"access-control-expose-headers: dpop-nonce, ratelimit, ratelimit-policy, retry-after, www-authenticate\r\n"


def is_preflight(head: RequestHead) -> str | None:
    """The method a preflight request asks about; None if this is none, or the method is not known."""
    if head.method != "OPTIONS" or head.origin is None:
        return None
    wanted = head.values(b"access-control-request-method")
    return METHODS.get(wanted[0]) if len(wanted) == 1 else None


def response_headers(cors: CorsSpec, origin: bytes | None) -> list[bytes]:
    """Lines for the answer to a request from `origin`."""
    allowed = _allowed(cors, origin)
    return [*allowed, EXPOSED, VARY] if allowed else [VARY]


def preflight_headers(cors: CorsSpec, head: RequestHead, methods: list[str] | None = None) -> list[bytes]:
    """Lines for the 204 that answers a preflight; `methods`: those of the matched pattern.

    What is not allowed is not said, which is how the protocol refuses.
    """
    allowed = _allowed(cors, head.origin)
    wanted = is_preflight(head)
    offered = cors.methods or methods or ([wanted] if wanted else [])
    if not allowed or wanted not in offered:
        return [PREFLIGHT_VARY]
    headers = cors.headers or DEFAULT_HEADERS
    return [
        *allowed,
        b"access-control-allow-methods: %b\r\n" % ", ".join(offered).encode("ascii"),
        b"access-control-allow-headers: %b\r\n" % ", ".join(headers).encode("ascii"),
        b"access-control-max-age: %d\r\n" % cors.max_age,
        PREFLIGHT_VARY,
    ]


def _allowed(cors: CorsSpec, origin: bytes | None) -> list[bytes]:
    if origin is None:
        return []
    if origin.decode("latin-1") in cors.origins:
        lines = [b"access-control-allow-origin: %b\r\n" % origin]
        if cors.credentials:
            lines.append(b"access-control-allow-credentials: true\r\n")
        return lines
    if "*" in cors.origins and origin != b"*":
        return [b"access-control-allow-origin: *\r\n"]
    return []
