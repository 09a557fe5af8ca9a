"""The whole file, typed and immutable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo

from interlock.config.exports import Export
from interlock.config.fields import (
    Duration,
    FilePath,
    ListenAddress,
    Name,
    Network,
    Percentage,
    Permission,
    Role,
    Section,
    duration,
    fault,
    words,
)
from interlock.config.hosts import Address
from interlock.config.issuers import Identities
from interlock.config.keys import Keys
from interlock.config.listeners import Connections, Defaults, Listener, Mode
from interlock.config.own_issuer import OwnIssuer
from interlock.config.record import Record
from interlock.config.routes import Route
from interlock.config.services import Service, Trust, Zone
from interlock.config.tree import Lines, Where, dotted
from interlock.errors import ConfigProblem
from interlock.model.retention import CLASSES, STANDARD

Framework = Literal["gdpr", "hipaa", "pci-dss-4.0.1"]


class Objectives(Section):
    """Measurable security goals. Accepted and checked; not used yet."""

    availability: Percentage | None = None
    detection: Annotated[Duration, duration("1s", "30d")] | None = None
    response: Annotated[Duration, duration("1s", "90d")] | None = None


def _workers(value: Any) -> Any:
    if value == "auto":
        return 0
    if value == 0 or not isinstance(value, int) or isinstance(value, bool):
        raise fault("must be `auto` or a number of processes, 1 to 256")
    return value


def _filled(value: Any, info: ValidationInfo) -> Any:
    """Refuse an empty section; but not in what is left of a file when wrong entries were taken out."""
    if not value and isinstance(value, list | dict) and not (info.context or {}).get("partial"):
        raise fault("is empty")
    return value


_NotEmpty = BeforeValidator(_filled)


def _loopback(value: Address) -> Address:
    if not value.loopback:
        raise fault(f"{value} can be reached by others; the admin listener is for this machine only", "127.0.0.1:9443")
    return value


class Config(Section):
    """The file `interlock.yaml`. Sizes are bytes, durations nanoseconds, paths absolute."""

    version: Literal[1]
    workers: Annotated[
        int,
        Field(le=256),
        BeforeValidator(_workers, json_schema_input_type=Literal["auto"] | Annotated[int, Field(ge=1)]),
    ] = 0
    """How many processes serve calls; `auto` (read as 0): one for each CPU."""
    data_dir: FilePath = Field(default=Path("interlock-data"), validate_default=True)
    """Where keys, state and the record are."""
    keys: Keys = Keys()
    admin: Annotated[ListenAddress, AfterValidator(_loopback)] = Address("127.0.0.1:0")
    """The admin listener, on loopback; left out: a port that the kernel chooses (`interlock status` shows it)."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """Networks whose Forwarded headers are believed; empty trusts nobody."""
    listeners: Annotated[tuple[Listener, ...], _NotEmpty, Field(json_schema_extra={"minItems": 1})]
    connections: Connections = Connections()
    issuer: OwnIssuer | None = None
    defaults: Defaults = Defaults()
    trust: dict[Name, Trust] = Field(default_factory=dict)
    """Bundles of certificate authorities, by name."""
    zones: dict[Name, Zone] = Field(default_factory=dict)
    services: Annotated[dict[Name, Service], _NotEmpty, Field(json_schema_extra={"minProperties": 1})]
    routes: Annotated[tuple[Route, ...], _NotEmpty, Field(json_schema_extra={"minItems": 1})]
    roles: dict[Role, tuple[Permission, ...]] = Field(default_factory=dict)
    """What each role permits."""
    identity: Identities = Identities()
    objectives: Objectives = Objectives()
    exports: tuple[Export, ...] = ()
    """Where else the sealed record goes."""
    record: Record = Record()
    frameworks: tuple[Framework, ...] = ()
    """What compliance is asked for. Accepted and checked; not used yet."""

    _path: Path = PrivateAttr(default=Path("interlock.yaml"))
    _digest: str = PrivateAttr(default="")
    _warnings: list[ConfigProblem] = PrivateAttr(default_factory=list)
    _lines: Lines = PrivateAttr(default_factory=Lines)

    @property
    def path(self) -> Path:
        """The file it was read from."""
        return self._path

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, in hex."""
        return self._digest

    @property
    def warnings(self) -> list[ConfigProblem]:
        """What is allowed and probably not meant."""
        return self._warnings

    @property
    def worker_count(self) -> int:
        """How many workers, with `auto` counted on this machine."""
        if self.workers:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def record_of(self, route: Route) -> Mode:
        """How a call of the route is recorded: the route's word, its service's, `durable` for classified data."""
        service = self.services[route.service]
        return route.record or service.record or ("durable" if service.data else self.defaults.record)

    @property
    def retention_class(self) -> int:
        """Of segments to come: of all data that a service here holds, the class that is kept longest."""
        kept = None if self.record.retention is None else self.record.retention.by_class
        held = {CLASSES[name] for service in self.services.values() for name in service.data}
        return STANDARD if kept is None else max([STANDARD, *sorted(held)], key=lambda class_: kept[class_])

    def timeout_of(self, route: Route) -> int:
        """How long an answer may take, in nanoseconds."""
        return route.timeout or self.services[route.service].timeout or self.defaults.timeout

    def body_of(self, route: Route) -> int:
        """The largest request body, in bytes."""
        return self.defaults.body if route.body is None else route.body

    def asks_client(self, listener: Listener) -> bool:
        """Whether a listener asks callers for a certificate."""
        if listener.tls == "off":
            return False
        return bool(self.trust) if listener.client_certificates is None else listener.client_certificates == "optional"

    def problem(self, where: Where, message: str, hint: str = "") -> ConfigProblem:
        """A fault found by somebody else (a condition that does not compile), with file and line."""
        return ConfigProblem(str(self._path), self._lines.line(where), dotted(where), message, hint)
