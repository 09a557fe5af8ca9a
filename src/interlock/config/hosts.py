"""Hosts, addresses, networks and URLs, each in one canonical form.

Pure: nothing is resolved. Errors are `ValueError` with a sentence for the person who wrote the file.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_ADDRESS = re.compile(r"(\[[^\]]+\]|[^:]+):([0-9]{1,5})")


class Address(str):
    """Where to listen, `127.0.0.1:8080` or `[::1]:8080`; a text that knows its parts."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The IP address without brackets, or `localhost`."""
        return self.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """0: the kernel chooses."""
        return int(self.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def wildcard(self) -> bool:
        """Whether it takes the port on every interface."""
        return self.host != "localhost" and ipaddress.ip_address(self.host).is_unspecified


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for certain: a loopback address or `localhost` (RFC 6761)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(value: object) -> Address:
    """`HOST:PORT`, where HOST is an IP address or `localhost`."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not an address; write it as in 127.0.0.1:8080, 0.0.0.0:8443 or [::1]:8080")
    host, port = match[1], int(match[2])
    if port > 65535:
        raise ValueError(f"has the port {port}; ports end at 65535")
    if host == "localhost":
        return Address(f"localhost:{port}")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError(f"listens on `{host}`, which is not an IP address; 0.0.0.0 is every interface") from None
    return Address(f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}")


def parse_network(value: object) -> str:
    """An address or CIDR block in canonical form; host bits and networks of everybody are refused."""
    try:
        network = ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("is not a network; write it as in 10.0.0.0/8 or 192.0.2.7") from None
    if network.prefixlen == 0:
        raise ValueError("is everybody; name the networks")
    return str(network)


def parse_host(text: str) -> str:
    """A host as a call names it, in small letters: `api.example.com`, `*.example.com`, `127.0.0.1`, `[::1]`."""
    host = text.lower()
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            raise ValueError(f"`{text}` is not a host; write an IPv6 address as in [::1]") from None
    if ":" in host:
        raise ValueError(f"`{text}` has a port; hosts are matched without")
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise ValueError(f"`{text}` is not a host; write it as in api.example.com or *.example.com")
    return host


def parse_origin(value: object) -> str:
    """A web origin (RFC 6454), `https://app.example.com`, or `*`."""
    if value == "*":
        return "*"
    scheme, host, port = _url_parts(value, "an origin", "https://app.example.com", path=False)
    return f"{scheme}://{host}{port}"


def parse_upstream(value: object) -> str:
    """The URL of a system behind: scheme, host and port only."""
    scheme, host, port = _url_parts(value, "an upstream", "http://127.0.0.1:9000", path=False)
    return f"{scheme}://{host}{port}"


def parse_https(value: object) -> str:
    """A URL to fetch from or to name an issuer by: https, or http on loopback. Kept exactly as written."""
    scheme, host, _ = _url_parts(value, "a URL", "https://login.example.com", path=True)
    if scheme != "https" and not is_loopback(host.strip("[]")):
        raise ValueError("must be https; plain http is taken on loopback only")
    return str(value)


def _url_parts(value: object, what: str, example: str, *, path: bool) -> tuple[str, str, str]:
    """Scheme, canonical host, and port as `:1234` or empty."""
    wrong = f"is not {what}; write it as in {example}"
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(wrong)
    if "${" in value:
        raise ValueError("holds a reference; only secrets are given by reference")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(wrong)
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password, which do not belong in the file")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("has a query or fragment, which has no meaning here")
    if not path and parts.path not in ("", "/"):
        raise ValueError(f"has a path, `{parts.path}`; {what} is a scheme, a host and a port")
    if "*" in parts.netloc:
        raise ValueError("has a `*`; name each host")
    if port == 0:
        raise ValueError("has the port 0")
    bare = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, parse_host(bare), "" if port is None else f":{port}"
