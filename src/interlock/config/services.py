"""The sections about what is behind the gateway, and whose certificates count."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from interlock.clock import SECOND
from interlock.config.fields import (
    Duration,
    FilePath,
    PrincipalText,
    Role,
    Section,
    Upstream,
    duration,
    fault,
    words,
)
from interlock.config.hosts import parse_network
from interlock.config.listeners import Mode

Method = Literal["jwt", "api_key", "mtls"]
DPOP = "dpop"  # beside "jwt": the token has to be bound to a key (RFC 9449)
DataClass = Literal["phi", "pan", "pii", "financial"]
Roles = Annotated[tuple[Role, ...], BeforeValidator(words, json_schema_input_type=str | list[str])]


class ServiceTls(Section):
    """How a service is verified, and what is shown to it."""

    ca: FilePath | None = None
    """Who may vouch for the service, in PEM; left out: the system's roots."""
    certificate: FilePath | None = None
    """Our client certificate, in PEM."""
    key: FilePath | None = None
    """Its private key."""


class Service(Section):
    """A system behind the gateway."""

    upstreams: Annotated[
        tuple[Upstream, ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    """Where it listens, as in `https://10.0.0.5:8443`; several are used in turn."""
    tls: ServiceTls | None = None
    """For https upstreams, which are always verified."""
    zone: str = ""
    """The network segment it belongs to; says who may call it."""
    data: tuple[DataClass, ...] = ()
    """What classified data it holds; raises the default safeguards."""
    record: Mode | None = None
    """`written` or `durable`; left out: `durable` for classified data, else as in `defaults`."""
    openapi: FilePath | None = None
    """Its OpenAPI description. Must exist; not used yet."""
    connect_timeout: Annotated[Duration, duration("10ms", "5m")] = 5 * SECOND
    """Until a connection is made."""
    timeout: Annotated[Duration, duration("10ms", "1d")] | None = None
    """How long an answer may take; left out: as in `defaults`."""
    pool: Annotated[int, Field(ge=1, le=100_000)] = 128
    """Connections of one worker."""
    forward_credentials: bool = False
    """Whether the caller's own credential is passed on; our signed assertion always is."""


class Trust(Section):
    """A bundle of certificate authorities, and whom the certificates they sign stand for."""

    ca: FilePath
    """The authorities' certificates, in PEM."""
    principal: Literal["san-uri", "san-dns", "subject-cn"]
    """Which name in a certificate names its bearer."""
    roles: dict[str, Roles] = Field(default_factory=dict)
    """The roles of a bearer, by that name."""
    principals: dict[str, PrincipalText] = Field(default_factory=dict)
    """Whom else a name stands for, so that `jwt+mtls` can tell that both are one:
    `spiffe://example.com/billing: user:login.example.com/billing`."""


def _source(value: Any) -> Any:
    """A network is brought into its canonical form; everything else is the name of a trust bundle."""
    if not isinstance(value, str):
        return value
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        if "/" in value:
            raise fault(f"`{value}` is not a network", "write it as in 10.0.0.0/8") from None
        return value
    try:
        return parse_network(value)
    except ValueError as error:
        raise fault(f"`{value}` {error}") from None


class Zone(Section):
    """A network segment: who may call what belongs to it."""

    sources: Annotated[
        tuple[Annotated[str, BeforeValidator(_source)], ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
    ] = Field(default=(), alias="from")
    """Trust bundles that must vouch for the caller, or networks the call must come from; any of them."""
    require: Annotated[tuple[Method, ...], BeforeValidator(words, json_schema_input_type=Method | list[Method])] = ()
    """Methods the caller must have been authenticated by, whatever the route asks."""
