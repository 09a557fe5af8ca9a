"""Who is at the other end of a connection, as far as the connection itself tells."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from interlock.addresses import unmapped
from interlock.model import PeerCertificate


class Peer:
    """One connection's other end; shared by all its calls, so it holds nothing of any of them."""

    __slots__ = (
        "_entry_of",
        "_known_host",
        "address",
        "certificate",
        "entry",
        "ip",
        "network",
        "opened",
        "program",
        "resumed",
        "scheme",
        "server_name",
        "trusted",
    )

    def __init__(
        self,
        address: str,
        *,
        scheme: str = "http",
        trusted: bool = False,
        certificate: PeerCertificate | None = None,
        resumed: bool = False,
        server_name: str = "",
    ) -> None:
        self.ip = unmapped(address)
        self.address = str(self.ip)
        self.network = network_of(self.ip)
        self.opened = False  # the event loop has it, and will say when it closes
        self.scheme = scheme
        self.trusted = trusted  # a proxy whose word on the caller's address is taken
        self.certificate = certificate
        self.resumed = resumed
        self.server_name = server_name
        self.program = b""  # TLS fingerprint; empty without one
        self.entry = -1  # index of the certificate entry that SNI selected; -1 on plain listeners
        self._entry_of: Callable[[str], int] | None = None
        self._known_host: str | None = None

    @property
    def fingerprint(self) -> bytes:
        """Of the client's certificate; empty without one."""
        return self.certificate.fingerprint if self.certificate is not None else b""

    def shown(self, entry_of: Callable[[str], int]) -> None:
        """The certificate that was chosen by SNI; `entry_of` tells which one another host would get."""
        self._entry_of = entry_of
        self.entry = entry_of(self.server_name)

    def misdirected(self, host: str) -> bool:
        """The Host belongs to another certificate than the one this connection was opened with (421)."""
        if host == self._known_host or self._entry_of is None:
            return False
        if self._entry_of(host) != self.entry:
            return True
        self._known_host = host
        return False


def network_of(ip: IPv4Address | IPv6Address) -> bytes:
    """What one holder can be assumed to control: an IPv4 address, or an IPv6 /64. Eight or four bytes."""
    return ip.packed[:8] if ip.version == 6 else ip.packed
