"""The sections about where calls enter and what a connection may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from interlock.clock import SECOND
from interlock.config.fields import (
    Duration,
    FailureRate,
    FilePath,
    Host,
    ListenAddress,
    Section,
    Size,
    duration,
    size,
    words,
)
from interlock.config.units import Rate

MINUTE = 60 * SECOND
KIB = 1024
MIB = 1024 * KIB

Hosts = Annotated[tuple[Host, ...], BeforeValidator(words, json_schema_input_type=str | list[str])]
Mode = Literal["written", "durable"]


class CertificateFiles(Section):
    """A certificate from files, in PEM."""

    certificate: FilePath
    """The certificate, followed by its intermediates."""
    key: FilePath
    """The private key."""


class HostCertificate(CertificateFiles):
    """A further certificate of a listener, chosen by SNI."""

    hosts: Annotated[Hosts, Field(min_length=1)]
    """The hosts it answers for, as in `api.example.com` or `*.example.com`."""


def _tls_form(value: Any) -> str:
    return "files" if isinstance(value, dict | CertificateFiles) else "word"


def _tls(value: Any) -> Any:
    return "off" if value is False else value


Tls = Annotated[
    Annotated[Literal["off", "auto"], Tag("word")] | Annotated[CertificateFiles, Tag("files")],
    Discriminator(_tls_form),
    BeforeValidator(_tls),
]


class Listener(Section):
    """Where calls enter. TLS is 1.2 or newer, always."""

    address: ListenAddress
    """An IP address and port, as in `0.0.0.0:8443` or `[::1]:8080`."""
    tls: Tls
    """`off`, `auto` (issued and rotated by the built-in CA), or a `certificate` and its `key`."""
    hosts: Hosts = ()
    """The hosts of the certificate above; with `auto`, those it is issued for."""
    certificates: tuple[HostCertificate, ...] = ()
    """Further certificates, chosen by SNI."""
    client_certificates: Literal["optional", "none"] | None = None
    """Whether callers are asked for a certificate; left out: only if there is a `trust` section."""
    plaintext: Literal["accept-risk"] | None = None
    """Said aloud where TLS is off on an address that others can reach."""


class Defaults(Section):
    """What holds where a service or route does not say otherwise."""

    body: Annotated[Size, size("0", "64GiB")] = 10 * MIB
    """The largest request body."""
    timeout: Annotated[Duration, duration("10ms", "1d")] = 30 * SECOND
    """How long an answer may take."""
    record: Mode = "written"
    """`written`: survives any crash of ours. `durable`: on disk before the call passes."""
    max_stale: Annotated[Duration, duration("1s", "30d")] = 60 * MINUTE
    """How long workers serve without a control process."""
    max_unsealed: Annotated[Duration, duration("1s", "1h")] = 30 * SECOND
    """How long calls pass without a recorder process."""


class Connections(Section):
    """What connections may cost."""

    per_worker: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Open connections of one worker."""
    per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Open connections of one worker from one address (IPv6: one /64)."""
    handshakes: Annotated[int, Field(ge=1, le=100_000)] = 256
    """TLS handshakes in progress in one worker."""
    failures: FailureRate = Rate(20, MINUTE, 20, "address")
    """Failed authentications of one address, as in `20/m`."""
    header_timeout: Annotated[Duration, duration("100ms", "10m")] = 10 * SECOND
    """Until the request's header is complete."""
    body_timeout: Annotated[Duration, duration("100ms", "1h")] = 30 * SECOND
    """Between two pieces of a body."""
    idle_timeout: Annotated[Duration, duration("100ms", "1d")] = 75 * SECOND
    """Between two requests of a connection."""
    head_size: Annotated[Size, size("1KiB", "1MiB")] = 32 * KIB
    """The largest request header, request line included."""
    head_count: Annotated[int, Field(ge=4, le=10_000)] = 100
    """The most header fields."""
