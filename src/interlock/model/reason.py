"""Why a call was refused: one closed enumeration, with what the caller may be told.

The caller sees the status and the title; the record sees the code. Codes are stable: they are added,
never renamed or reused.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A reason code. `status` is the HTTP status; `title` is all that a caller learns."""

    status: int
    title: str  # type: ignore[assignment]  # hides `str.title`, which no code has use for

    def __new__(cls, code: str, status: int, title: str) -> Reason:
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.title = title
        return member

    # 1. admit
    MALFORMED_HEAD = "malformed-head", 400, "The request is malformed"
    MALFORMED_BODY = "malformed-body", 400, "The request is malformed"
    AMBIGUOUS_FRAMING = "ambiguous-framing", 400, "The request is malformed"
    HOST_INVALID = "host-invalid", 400, "The request is malformed"
    PATH_INVALID = "path-invalid", 400, "The path is not acceptable"
    FORWARDED_CONFLICT = "forwarded-conflict", 400, "The request is malformed"
    CONNECTION_HEADER = "connection-header-forbidden", 400, "The request is malformed"
    METHOD_UNKNOWN = "method-unknown", 501, "The method is not known"
    VERSION_UNSUPPORTED = "version-unsupported", 505, "The HTTP version is not supported"
    TRANSFER_CODING = "transfer-coding-unsupported", 501, "The transfer coding is not supported"
    UPGRADE_REFUSED = "upgrade-refused", 400, "An upgrade is not offered here"
    EXPECTATION_FAILED = "expectation-failed", 417, "The expectation cannot be met"
    HEAD_TOO_LARGE = "head-too-large", 431, "The request header is too large"
    TARGET_TOO_LONG = "target-too-long", 414, "The request target is too long"
    BODY_TOO_LARGE = "body-too-large", 413, "The request body is too large"
    REQUEST_TIMEOUT = "request-timeout", 408, "The request took too long to arrive"
    TOO_MANY_CONNECTIONS = "too-many-connections", 503, "Too many connections"
    TOO_MANY_FAILURES = "too-many-failures", 429, "Too many failed attempts"
    MISDIRECTED = "misdirected", 421, "The request was sent to the wrong listener"
    NO_ROUTE = "no-route", 404, "There is nothing here"
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The method is not allowed here"
    # 2. authenticate
    CREDENTIAL_MISSING = "credential-missing", 401, "A credential is needed"
    CREDENTIAL_DUPLICATE = "credential-duplicate", 401, "The credential is not accepted"
    CREDENTIAL_MISMATCH = "credential-mismatch", 401, "The credential is not accepted"
    CREDENTIAL_REVOKED = "credential-revoked", 401, "The credential is not accepted"
    CREDENTIAL_NETWORK = "credential-network", 401, "The credential is not accepted"
    TOKEN_MALFORMED = "token-malformed", 401, "The credential is not accepted"
    TOKEN_ALGORITHM = "token-algorithm", 401, "The credential is not accepted"
    TOKEN_HEADER = "token-header", 401, "The credential is not accepted"
    TOKEN_SIGNATURE = "token-signature", 401, "The credential is not accepted"
    TOKEN_ISSUER = "token-issuer", 401, "The credential is not accepted"
    TOKEN_AUDIENCE = "token-audience", 401, "The credential is not accepted"
    TOKEN_EXPIRED = "token-expired", 401, "The credential is not accepted"
    TOKEN_NOT_YET = "token-not-yet-valid", 401, "The credential is not accepted"
    TOKEN_CLAIMS = "token-claims", 401, "The credential is not accepted"
    TOKEN_TYPE = "token-type", 401, "The credential is not accepted"
    TOKEN_KEY_UNKNOWN = "token-key-unknown", 401, "The credential is not accepted"
    TOKEN_BINDING = "token-binding", 401, "The credential is not accepted"
    ISSUER_UNAVAILABLE = "issuer-unavailable", 503, "The credential cannot be checked now"
    KEY_UNKNOWN = "key-unknown", 401, "The credential is not accepted"
    KEY_EXPIRED = "key-expired", 401, "The credential is not accepted"
    CERTIFICATE_UNTRUSTED = "certificate-untrusted", 401, "The credential is not accepted"
    CERTIFICATE_EXPIRED = "certificate-expired", 401, "The credential is not accepted"
    CERTIFICATE_PRINCIPAL = "certificate-principal", 401, "The credential is not accepted"
    CERTIFICATE_UNVERIFIED = "certificate-unverified", 401, "The credential is not accepted"
    # 3. authorize
    ZONE_DENIED = "zone-denied", 403, "This is not allowed"
    PERMISSION_MISSING = "permission-missing", 403, "This is not allowed"
    SCOPE_MISSING = "scope-missing", 403, "This is not allowed"
    CONDITION_FALSE = "condition-false", 403, "This is not allowed"
    CONDITION_ERROR = "condition-error", 403, "This is not allowed"
    # 4. limit
    RATE_LIMITED = "rate-limited", 429, "Too many requests"
    LIMIT_UNAVAILABLE = "limit-unavailable", 503, "The service is not available now"
    # 6. record
    RECORD_UNAVAILABLE = "record-unavailable", 503, "The service is not available now"
    SNAPSHOT_STALE = "snapshot-stale", 503, "The service is not available now"
    # 7. forward
    UPSTREAM_UNREACHABLE = "upstream-unreachable", 502, "The service behind did not answer"
    UPSTREAM_INVALID = "upstream-invalid", 502, "The service behind did not answer properly"
    UPSTREAM_TIMEOUT = "upstream-timeout", 504, "The service behind did not answer in time"
    UPSTREAM_BUSY = "upstream-busy", 503, "The service behind is busy"
    UPSTREAM_ABORTED = "upstream-aborted", 502, "The service behind did not answer properly"
    CLIENT_GONE = "client-gone", 499, "The caller went away"
    ABORTED = "aborted", 503, "The call was aborted"
    INTERNAL = "internal-error", 500, "Something went wrong"
    # connections that never became a call
    TLS_HANDSHAKE = "tls-handshake", 0, "The TLS handshake failed"
    TLS_CERTIFICATE = "tls-certificate", 0, "The TLS client certificate was refused"
    TLS_TIMEOUT = "tls-timeout", 0, "The TLS handshake took too long"
    # 2. authenticate, continued: possession of a token's key (RFC 9449)
    DPOP_MISSING = "dpop-missing", 401, "The credential is not accepted"
    DPOP_INVALID = "dpop-invalid", 401, "The credential is not accepted"
    DPOP_REPLAYED = "dpop-replayed", 401, "The credential is not accepted"
    DPOP_NONCE_NEEDED = "dpop-nonce-needed", 401, "The credential is not accepted"
    DPOP_UNAVAILABLE = "dpop-unavailable", 503, "The credential cannot be checked now"
    TOKEN_UNKNOWN = "token-unknown", 401, "The credential is not accepted"  # an opaque one
    # 3. authorize, continued: how strongly, how lately, from where (RFC 9470)
    AUTHENTICATION_INSUFFICIENT = "authentication-insufficient", 401, "Another sign-in is needed"
    RISK_TOO_HIGH = "risk-too-high", 403, "This is not allowed"
    CREDENTIAL_MOVED = "credential-moved", 401, "Another sign-in is needed"


CODES: tuple[Reason, ...] = tuple(Reason)
