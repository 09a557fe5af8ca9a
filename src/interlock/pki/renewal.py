"""When a certificate is to be replaced."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509

from interlock.clock import SECOND


def renew_due(certificate: x509.Certificate, now: int) -> bool:
    """Whether two thirds of its life are over, or it has not begun (a stepped clock). `now` in wall ns."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    at = datetime.fromtimestamp(now // SECOND, UTC)
    return at < start or at >= start + (end - start) * 2 / 3
