"""The Host field (RFC 9110 section 7.2): a name or address, perhaps a port, and nothing else."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

from interlock.gateway.http1.malformed import Malformed
from interlock.model import Reason

_HOST: Final = re.compile(
    rb"(?=.{1,261}\Z)"
    rb"(?:([A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?)\.?|(\[[0-9A-Fa-f:.]{2,45}\]))"
    rb"(?::([0-9]{1,5}))?"
)
_HOSTS_KEPT: Final = 1024

HOSTS: Final[dict[bytes, tuple[bytes, str]]] = {}  # Host values seen, which are few; bounded


def parse_host(value: bytes) -> tuple[bytes, str]:
    """Lower-case Host and the bare host name (RFC 9110 section 7.2; no user information, no reg-name exotica)."""
    match = _HOST.fullmatch(value)
    if match is None or (match[3] is not None and not 0 < int(match[3]) < 65536):
        raise Malformed(Reason.HOST_INVALID, "not host[:port]")
    name = (match[1] or match[2]).lower().decode("ascii")
    if name[0] == "[":
        try:
            name = f"[{IPv6Address(name[1:-1])}]"
        except ValueError:
            raise Malformed(Reason.HOST_INVALID, "not an IPv6 address") from None
    if ".." in name:
        raise Malformed(Reason.HOST_INVALID, "empty label")
    found = value.lower(), name
    if len(HOSTS) >= _HOSTS_KEPT:
        HOSTS.clear()
    HOSTS[value] = found
    return found
