"""Listeners, trust, zones and services, what is kept of the record and who reads it."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.config.checks.view import Finding, View, unknown
from interlock.config.retention import ASKED
from interlock.config.tree import Where
from interlock.config.units import show_duration
from interlock.model.retention import CLASSES, DAY, STANDARD


def listeners(view: View) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    admin = view.config.admin
    for number, listener in view.listeners:
        where: Where = ("listeners", number)
        address = listener.address
        if listener.tls == "off":
            if not address.loopback and listener.plaintext is None:
                yield Finding(
                    (*where, "tls"),
                    f"is off on {address}, which others can reach: credentials would travel in the clear",
                    "use `tls: auto`, or say `plaintext: accept-risk`",
                )
            for key in ("hosts", "certificates"):
                if getattr(listener, key):
                    yield Finding((*where, key), "has no meaning where TLS is off")
            if listener.client_certificates == "optional":
                yield Finding((*where, "client_certificates"), "cannot be asked for where TLS is off")
        elif listener.plaintext is not None:
            yield Finding((*where, "plaintext"), "is said of a listener that has TLS", warning=True)
        if address in seen and address.port:
            yield Finding((*where, "address"), f"{address} is taken by {{other}}", other=("listeners", seen[address]))
        seen.setdefault(address, number)
        if address.port and address.port == admin.port and (address.host == admin.host or address.wildcard):
            yield Finding((*where, "address"), f"{address} takes the address of `admin`, {admin}")


def trust(view: View) -> Iterator[Finding]:
    for name, bundle in view.config.trust.items():
        for subject, roles in bundle.roles.items():
            for role in roles:
                yield from unknown(view, ("trust", name, "roles", subject), "roles", role, "a role")
    for name, zone in view.config.zones.items():
        if not zone.sources and not zone.require:
            yield Finding(("zones", name), "asks for nothing", "say `from` or `require`")
        for source in zone.sources:
            if not source[0].isdigit() and ":" not in source:
                yield from unknown(view, ("zones", name, "from"), "trust", source, "a trust bundle")


def services(view: View) -> Iterator[Finding]:
    for name, service in view.config.services.items():
        where: Where = ("services", name)
        yield from unknown(view, (*where, "zone"), "zones", service.zone, "a zone")
        plain = [url for url in service.upstreams if url.startswith("http:")]
        if service.tls is not None:
            if plain:
                yield Finding((*where, "tls"), f"has no meaning for {plain[0]}", "https upstreams have TLS")
            if (service.tls.certificate is None) != (service.tls.key is None):
                yield Finding((*where, "tls"), "needs `certificate` and `key` together")
        if service.data and plain and not all(_on_loopback(url) for url in plain):
            yield Finding(
                (*where, "upstreams"), f"{', '.join(service.data)} data travels in the clear", "use https", warning=True
            )
        if service.data and service.record == "written":
            yield Finding((*where, "record"), "is less than classified data gets by default (`durable`)", warning=True)


def _on_loopback(url: str) -> bool:
    return url.startswith(("http://127.", "http://localhost", "http://[::1]"))


def retention(view: View) -> Iterator[Finding]:
    kept = view.config.record.retention
    if kept is None:
        return
    for framework in view.config.frameworks:
        asked = ASKED.get(framework, 0) * DAY
        for name, number in CLASSES.items():
            if (period := kept.by_class[number]) < asked and (number == STANDARD or getattr(kept, name) is not None):
                yield Finding(
                    ("record", "retention"),
                    f"{name} is kept for {show_duration(period)}, and {framework} asks for {show_duration(asked)}",
                    warning=True,
                )


def readers(view: View) -> Iterator[Finding]:
    record = view.config.record
    if record.readers is None:
        return
    if record.reader_socket is None:
        if set(record.readers) - {"os:root", "os:0"}:
            message = "those who may not administer the node cannot ask it: there is no `reader_socket`"
            yield Finding(
                ("record", "readers"), message, "as in reader_socket: /run/interlock/reader.sock", warning=True
            )
    elif record.reader_socket.is_relative_to(view.config.data_dir):
        message = f"lies in the data directory, {view.config.data_dir}, which nobody else can enter"
        yield Finding(("record", "reader_socket"), message)


def unused(view: View) -> Iterator[Finding]:
    config = view.config
    used = {
        "services": {route.service for route in config.routes},
        "zones": {service.zone for service in config.services.values()},
        "trust": {route.trust for route in config.routes}
        | {config.issuer.trust if config.issuer is not None else ""}
        | {source for zone in config.zones.values() for source in zone.sources},
    }
    for section, names in used.items():
        for name in view.names[section]:
            if name not in names:
                yield Finding((section, name), "is not used by anything", warning=True)
