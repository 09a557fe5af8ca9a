"""The section about exports: where else the record goes, in what form, and which part of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo

from interlock.clock import SECOND
from interlock.config.buses import BUSES, Login, parse_bus
from interlock.config.fields import Duration, Name, Network, Section, Words, duration, fault, folder_of, words
from interlock.config.hosts import is_loopback, parse_host, parse_https
from interlock.config.secrets import SecretRef, parse_secret
from interlock.config.services import ServiceTls

Format = Literal["ocsf", "cef", "syslog", "jsonl"]
_FIELD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_REFERENCE = re.compile(r"(\$\{[^{}]*\})")
_SECRET_FIELD = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)
_STATUS = re.compile(r"[1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?")
# Set by us, or by the way that HTTP works.
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade"})


class Destination(str):
    """Where an export goes, in one canonical text that knows its parts."""

    __slots__ = ()

    @property
    def scheme(self) -> str:
        """`file`, `https`, `http`, `tls`, `tcp`, or one of `BUSES`."""
        return self.partition(":")[0]

    @property
    def path(self) -> Path:
        """The file of a `file:`."""
        return Path(self.partition(":")[2])

    @property
    def host(self) -> str:
        """Without brackets."""
        return urlsplit(self).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self).port or 0

    @property
    def servers(self) -> tuple[str, ...]:
        """Of a message bus: each as `HOST:PORT`."""
        return tuple(self.partition("://")[2].partition("/")[0].split(","))

    @property
    def channel(self) -> str:
        """The subject or topic of a message bus."""
        return self.partition("://")[2].partition("/")[2]

    @property
    def encrypted(self) -> bool:
        """Whether it goes over TLS."""
        return self.scheme in ("https", "tls") or self.scheme.endswith("+tls")


@dataclass(frozen=True, slots=True)
class HeaderValue:
    """A header's text, in which secrets are references. Neither its text nor its repr shows a secret."""

    parts: tuple[str | SecretRef, ...]

    def __str__(self) -> str:
        return "".join(str(part) for part in self.parts)

    @property
    def references(self) -> tuple[SecretRef, ...]:
        return tuple(part for part in self.parts if isinstance(part, SecretRef))

    def resolve(self) -> str:
        """The whole value. Raises `KeyMaterialError`, which names the place of the secret only."""
        return "".join(
            part.resolve().decode("latin-1").strip() if isinstance(part, SecretRef) else part for part in self.parts
        )


def _destination(value: Any, info: ValidationInfo) -> Destination:
    wrong = "is no place to export to"
    hint = "write it as in https://siem.example.com/in, tls://siem.example.com:6514 or file:/var/log/interlock.jsonl"
    if isinstance(value, Destination):
        return value
    if not isinstance(value, str) or not value.isprintable():
        raise fault(wrong, hint)
    scheme, _, rest = value.partition(":")
    if scheme == "file":
        if rest.startswith("//") or not rest or rest.endswith("/") or "${" in rest:
            raise fault("does not name a file", "write it as in file:/var/log/interlock.jsonl")
        return Destination(f"file:{os.path.normpath(folder_of(info) / rest)}")
    if scheme in ("https", "http"):
        try:
            return Destination(parse_https(value))
        except ValueError as error:
            raise fault(str(error)) from None
    if scheme in BUSES:
        return Destination(parse_bus(value))
    if scheme == "udp":
        raise fault("is over UDP, which may lose records without a word", "use tls://")
    if scheme not in ("tls", "tcp"):
        raise fault(wrong, hint)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise fault(wrong, hint) from None
    if not parts.hostname or not port or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise fault(f"is a host and a port after {scheme}://", "as in tls://siem.example.com:6514")
    if "@" in parts.netloc:
        raise fault("holds a user name or password, which do not belong in the file")
    if scheme == "tcp" and not is_loopback(parts.hostname):
        raise fault("would travel in the clear; tcp:// is for this machine only", "use tls://")
    bare = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    try:
        host = parse_host(bare)
    except ValueError as error:
        raise fault(str(error)) from None
    return Destination(f"{scheme}://{host}:{port}")


def _header_name(value: Any) -> str:
    if not isinstance(value, str) or not _FIELD.fullmatch(value):
        raise fault("is not the name of a header")
    if value.lower() in _OURS:
        raise fault(f"`{value}` is set by Interlock itself")
    return value


def _header_value(value: Any, info: ValidationInfo) -> HeaderValue:
    if isinstance(value, HeaderValue):
        return value
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise fault("is not the value of a header")
    parts: list[str | SecretRef] = []
    for part in _REFERENCE.split(value):
        if part.startswith("${"):
            try:
                parts.append(parse_secret(part, folder_of(info)))
            except ValueError as error:
                raise fault(str(error)) from None
        elif part:
            parts.append(part)
    return HeaderValue(tuple(parts))


def _headers(value: Any) -> Any:
    if isinstance(value, dict):
        for name, content in value.items():
            said = isinstance(content, str) and not _REFERENCE.search(content)
            if said and isinstance(name, str) and _SECRET_FIELD.search(name):
                raise fault(f"`{name}` holds a secret in the clear", 'write it as in "Bearer ${file:PATH}"')
    return value


def _statuses(value: Any) -> Any:
    value = [value] if isinstance(value, str | int) else value
    if isinstance(value, list | tuple):
        value = [str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in value]
        for one in value:
            if not isinstance(one, str) or not _STATUS.fullmatch(one):
                raise fault(f"`{one}` is not a status", "write it as in 404, 4xx or 500-504")
    return value


class Only(Section):
    """Which records are exported: all that is said must hold; of several values, one. `*` stands for anything."""

    kinds: Annotated[
        tuple[Literal["calls", "acts"], ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = ("calls", "acts")
    """Calls (refused ones included), and acts of operators and of the node itself."""
    decision: Literal["allow", "deny"] | None = None
    principal: Words = ()
    """As in `service:partners/*`; of an act, who did it."""
    reason: Words = ()
    route: Words = ()
    service: Words = ()
    method: Words = ()
    source: Annotated[tuple[Network, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """Networks that the caller's address is in."""
    status: Annotated[
        tuple[str, ...], BeforeValidator(_statuses, json_schema_input_type=str | int | list[str | int])
    ] = ()
    """`404`, `4xx`, `500-504`."""


class Export(Section):
    """One place that the sealed record is sent to, each record at least once."""

    name: Name
    """Names it in `status` and in metrics, and its cursor in `DATA/exports/NAME.json`."""
    format: Format
    to: Annotated[Destination, PlainValidator(_destination, json_schema_input_type=str)]
    """`file:PATH`, `https://...`, `tls://HOST:PORT`, `nats+tls://HOST:PORT/SUBJECT`, `kafka+tls://HOST:PORT/TOPIC`; on
    this machine also `http://`, `tcp://`, `nats://` and `kafka://`."""
    start: Literal["beginning", "now"] = "beginning"
    """Where a new export begins: with the first record there is, or with those that are sealed from now on."""
    only: Only = Only()
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Records that are sent together at most."""
    timeout: Annotated[Duration, duration("100ms", "10m")] = 30 * SECOND
    """How long the receiver may take for a batch."""
    headers: Annotated[
        dict[
            Annotated[str, PlainValidator(_header_name, json_schema_input_type=str)],
            Annotated[HeaderValue, PlainValidator(_header_value, json_schema_input_type=str)],
        ],
        BeforeValidator(_headers),
    ] = Field(default_factory=dict)
    """Of an HTTP request, as in `{Authorization: "Bearer ${file:token}"}`."""
    tls: ServiceTls | None = None
    """Whom to trust and how to present ourselves; verification is never off. Left out: the system's roots."""
    login: Login | None = None
    """As whom we come to NATS or Kafka."""
    confirm: Literal["close", "sent"] = "close"
    """Over `tls:` and `tcp:`, which have no answers: what was sent counts once the receiver has read it to its end
    (`close`, asked for every few seconds), or once it is on its way (`sent`)."""
