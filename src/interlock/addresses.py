"""IP addresses of callers: one spelling of each, what holds them, and what one holder can be assumed to control."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NETWORK, SITE = 64, 48  # bits of an IPv6 address that its holder does not choose: mostly, and if he has many networks


def unmapped(address: str) -> Address:
    """The address itself, with IPv4 taken out of its IPv6 mapping and the zone id dropped; raises `ValueError`."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        return ip.ipv4_mapped or ip
    return ip


def within(address: str, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds it; what is no address lies nowhere."""
    try:
        ip = unmapped(address)
    except ValueError:
        return False
    return any(ip in network for network in networks)


def block(address: str, bits: int) -> str:
    """What is counted as one caller: an IPv4 address, or so many bits of an IPv6 one (`NETWORK`, `SITE`)."""
    try:
        ip = unmapped(address)
    except ValueError:
        return "unknown"
    return str(ip_network((ip, bits), strict=False)) if isinstance(ip, IPv6Address) else str(ip)
