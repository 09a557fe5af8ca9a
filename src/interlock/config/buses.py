"""Exports to message buses: how NATS and Kafka are addressed, and how we sign in there. Secrets only by reference."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Literal

from pydantic import Field, model_validator

from interlock.config.fields import Secret, Section, fault
from interlock.config.hosts import is_loopback, parse_host

BUSES = ("nats", "nats+tls", "kafka", "kafka+tls")
NEEDED = {"nats": "nats", "kafka": "confluent_kafka"}  # the package behind each extra
MOST_SERVERS = 16
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LONGEST_SUBJECT = 255


def parse_bus(value: str) -> str:
    """`nats://HOST:PORT[,HOST:PORT]/SUBJECT` or `kafka://.../TOPIC` in canonical form; `+tls` but on this machine.

    Raises `Fault`.
    """
    scheme, _, rest = value.partition("://")
    kind = scheme.partition("+")[0]
    what, example = ("subject", "interlock.record") if kind == "nats" else ("topic", "interlock-record")
    hint = f"write it as in {kind}+tls://bus.example.com:{4222 if kind == 'nats' else 9093}/{example}"
    servers, slash, channel = rest.partition("/")
    if scheme not in BUSES or not slash or not servers or not value.isascii():
        raise fault(f"is a scheme, servers and a {what}", hint)
    if "@" in servers:
        raise fault("holds a user name or password, which do not belong in the file", "say them under `login`")
    named = servers.split(",")
    if len(named) > MOST_SERVERS:
        raise fault(f"names more than {MOST_SERVERS} servers")
    found = [_server(one, hint) for one in named]
    if not scheme.endswith("+tls") and not all(is_loopback(host.strip("[]")) for host, _ in found):
        raise fault(f"would travel in the clear; {kind}:// is for this machine only", f"use {kind}+tls://")
    if not (_SUBJECT.fullmatch(channel) if kind == "nats" else _TOPIC.fullmatch(channel)):
        raise fault(f"does not end with the name of a {what}", hint)
    if len(channel) > _LONGEST_SUBJECT:
        raise fault(f"has a {what} of more than {_LONGEST_SUBJECT} characters")
    return f"{scheme}://{','.join(f'{host}:{port}' for host, port in found)}/{channel}"


def _server(text: str, hint: str) -> tuple[str, str]:
    host, _, port = text.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise fault(f"`{text}` is not a host and a port", hint)
    if ":" in host and not host.startswith("["):
        raise fault(f"`{text}` is not a host and a port", "write an IPv6 address as in [::1]:4222")
    try:
        canonical = parse_host(host)
    except ValueError as error:
        raise fault(str(error)) from None
    if "*" in canonical:
        raise fault("has a `*`; name each server")
    return canonical, port


def installed(package: str) -> bool:
    """Whether it is there; imports nothing."""
    try:
        return find_spec(package) is not None
    except ValueError:  # put out of reach
        return False


class Login(Section):
    """As whom we come to a message bus: a name and its password, or for NATS a token, an nkey or a file of both."""

    user: str | None = Field(default=None, min_length=1, max_length=256)
    password: Secret | None = None
    """A reference to the user's password."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """Of SASL, for Kafka."""
    token: Secret | None = None
    """NATS: a reference to a token."""
    nkey: Secret | None = None
    """NATS: a reference to the seed of an nkey (`SU...`)."""
    credentials: Secret | None = None
    """NATS: a reference to what a `.creds` file holds, a JWT and the seed of its nkey."""

    @model_validator(mode="after")
    def _one_way(self) -> Login:
        if (self.user is None) != (self.password is None):
            raise fault("needs `user` and `password` together")
        if sum(one is not None for one in (self.user, self.token, self.nkey, self.credentials)) != 1:
            raise fault("needs one of `user` with `password`, `token`, `nkey` and `credentials`")
        return self

    @property
    def only_nats(self) -> bool:
        """Whether it is a way that Kafka does not know."""
        return self.user is None
