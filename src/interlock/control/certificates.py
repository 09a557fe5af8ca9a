"""The server certificate of `tls: auto`: for which names, and when it is renewed."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from interlock.clock import Clock
from interlock.control.paths import Paths
from interlock.keys import Keyring
from interlock.model import Recorder

if TYPE_CHECKING:
    from interlock.config import Config

LOCAL = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


def ensure_certificate(config: Config, paths: Paths, keyring: Keyring, acts: Recorder, clock: Clock) -> bool:
    """Make or renew what `tls: auto` needs; says whether anything was issued."""
    from interlock.pki import LocalAuthority, ensure_server_certificate

    authority = LocalAuthority.ensure(keyring, clock=clock, recorder=acts)
    return ensure_server_certificate(authority, keyring, paths.pki, names(config), clock.wall())


def names(config: Config) -> list[str]:
    """What callers may call us: the hosts of the file, its issuer's, the addresses listened on, and this machine."""
    found = dict.fromkeys(LOCAL)
    if config.issuer is not None and config.issuer.secure:
        found[config.issuer.host] = None
    if config.issuer is not None and config.issuer.mtls_url is not None:
        found[(urlsplit(config.issuer.mtls_url).hostname or "").lower()] = None
    for listener in config.listeners:
        if listener.tls == "auto":
            found.update(dict.fromkeys(listener.hosts))
            if not listener.address.wildcard:
                found[listener.address.host] = None
    host = socket.gethostname()
    if HOST.fullmatch(host) and len(host) < 64:
        found[host.lower()] = None
    return list(found)
