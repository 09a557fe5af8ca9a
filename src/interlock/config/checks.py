"""What no part of the file can know alone: that names refer to something, and that the parts agree.

A check yields findings; a warning is allowed and probably not meant. Nothing is opened or changed: of the
files that are named, only their presence is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from interlock.config.buses import BUSES, NEEDED, installed
from interlock.config.conflicts import find_conflicts
from interlock.config.fallthrough import find_fall_throughs
from interlock.config.keys import Pkcs11Source
from interlock.config.listeners import CertificateFiles, Listener
from interlock.config.model import Config
from interlock.config.nearest import did_you_mean
from interlock.config.own_issuer import EVENTS, OwnIssuer
from interlock.config.patterns import Pattern, parse_pattern
from interlock.config.retention import ASKED
from interlock.config.routes import Route
from interlock.config.secrets import SecretRef
from interlock.config.signals import Received
from interlock.config.tree import Where
from interlock.config.units import show_duration
from interlock.model.principal import KINDS, OWN_AUTHORITY
from interlock.model.retention import CLASSES, DAY, STANDARD

NAMED = ("trust", "zones", "services", "roles")  # sections whose keys are names
PRINCIPAL_KINDS = KINDS | {"source", "erased", "lost", "hidden"}
MAX_CONFLICTS = 100  # reported; the rest is counted


@dataclass(frozen=True, slots=True)
class Finding:
    """`{other}` in the message stands for the place `other`, with its line."""

    where: Where
    message: str
    hint: str = ""
    warning: bool = False
    other: Where = ()


@dataclass(frozen=True, slots=True)
class View:
    """What is checked: all of the file, or what is left of it without the entries that are wrong in themselves."""

    config: Config
    whole: bool
    names: Mapping[str, frozenset[str]]  # every name that the file gives, of wrong entries too
    listeners: tuple[tuple[int, Listener], ...]  # with their number in the file
    routes: tuple[tuple[int, Route], ...]

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        names: Mapping[str, frozenset[str]] | None = None,
        numbers: Mapping[str, list[int]] | None = None,
    ) -> View:
        numbers = numbers or {}
        return cls(
            config,
            names is None,
            {section: frozenset((names or {}).get(section, getattr(config, section))) for section in NAMED},
            tuple(zip(numbers.get("listeners", range(len(config.listeners))), config.listeners, strict=True)),
            tuple(zip(numbers.get("routes", range(len(config.routes))), config.routes, strict=True)),
        )


def check(view: View, *, look_at_files: bool = True) -> Iterator[Finding]:
    """Everything that is wrong between the parts of the file, and with the presence of what it names."""
    yield from _listeners(view)
    yield from _trust(view)
    yield from _services(view)
    yield from _retention(view)
    yield from _routes(view)
    yield from _conflicts(view)
    if view.whole:
        yield from _fall_throughs(view)
    yield from _issuers(view)
    yield from _exports(view)
    yield from _readers(view)
    if look_at_files:
        yield from _files(view)
        yield from _export_files(view)
    if view.whole:
        yield from _unused(view)


def _unknown(view: View, where: Where, section: str, name: str, what: str) -> Iterator[Finding]:
    if name and name not in view.names[section]:
        yield Finding(where, f"`{name}` is not {what} of this file", did_you_mean(name, view.names[section]))


def _listeners(view: View) -> Iterator[Finding]:
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


def _trust(view: View) -> Iterator[Finding]:
    for name, bundle in view.config.trust.items():
        for subject, roles in bundle.roles.items():
            for role in roles:
                yield from _unknown(view, ("trust", name, "roles", subject), "roles", role, "a role")
    for name, zone in view.config.zones.items():
        if not zone.sources and not zone.require:
            yield Finding(("zones", name), "asks for nothing", "say `from` or `require`")
        for source in zone.sources:
            if not source[0].isdigit() and ":" not in source:
                yield from _unknown(view, ("zones", name, "from"), "trust", source, "a trust bundle")


def _retention(view: View) -> Iterator[Finding]:
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


def _services(view: View) -> Iterator[Finding]:
    for name, service in view.config.services.items():
        where: Where = ("services", name)
        yield from _unknown(view, (*where, "zone"), "zones", service.zone, "a zone")
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


def _routes(view: View) -> Iterator[Finding]:
    config = view.config
    granted = frozenset(permission for permissions in config.roles.values() for permission in permissions)
    asking = any(config.asks_client(listener) for listener in config.listeners)
    for number, route in view.routes:
        where: Where = ("routes", number)
        allow = route.allow
        methods = route.methods_used
        yield from _unknown(view, (*where, "service"), "services", route.service, "a service")
        yield from _unknown(view, (*where, "trust"), "trust", route.trust, "a trust bundle")
        yield from _unknown(view, (*where, "allow", "role"), "roles", allow.role, "a role")
        if allow.public and methods:
            yield Finding(
                (*where, "allow"), "is public, yet callers are to be authenticated", "leave `authenticate` out"
            )
        if not allow.public and not methods:
            yield Finding(
                (*where, "authenticate"),
                "is missing: nobody could be allowed",
                "write it as in [jwt, api_key], or say `allow: public`",
            )
        if "mtls" in methods and not route.trust:
            yield Finding(
                (*where, "trust"),
                "is missing: mtls needs a bundle to verify certificates against",
                "name a trust bundle",
            )
        if allow.scope and methods and "jwt" not in methods:
            yield Finding((*where, "allow", "scope"), "only tokens have scopes, and the route takes none")
        yield from _strength(where, route)
        params = {name for pattern in route.match for name in pattern.params}
        for kind, param in route.subject.items():
            if param not in params:
                hint = did_you_mean(param, params) or "the path has no parameters"
                yield Finding((*where, "subject", kind), f"`{param}` is not a parameter of the path", hint)
            elif kind in PRINCIPAL_KINDS:
                message = f"`{kind}` is what callers and their addresses are called on the record"
                yield Finding((*where, "subject", kind), message, "choose another name")
            elif list(route.subject.values()).index(param) != list(route.subject).index(kind):
                yield Finding((*where, "subject", kind), f"`{param}` identifies somebody else already")
        if not view.whole:
            continue
        trusted = config.issuer is not None or any(issuer.callers for issuer in config.identity.issuers)
        if "jwt" in methods and not trusted:
            yield Finding(
                (*where, "authenticate"),
                "takes tokens, but no issuer is trusted",
                "add one to `identity.issuers`, or have one here: `issuer`",
            )
        yield from _doubts(config, where, route, granted, asking)


def _strength(where: Where, route: Route) -> Iterator[Finding]:
    strength = route.strength
    if strength is None:
        return
    if not route.methods_used:
        yield Finding((*where, "strength"), "asks something of callers whom nobody authenticates", "leave it out")
    elif strength.of_tokens:
        for alternative in route.authenticate:
            if "jwt" not in alternative:
                named = "+".join(alternative)
                yield Finding(
                    (*where, "strength"), f"`{named}` alone says nothing of a sign-in", "only tokens do: use jwt"
                )


def _doubts(config: Config, where: Where, route: Route, granted: frozenset[str], asking: bool) -> Iterator[Finding]:
    """What is allowed on a route and probably not meant."""
    allow = route.allow
    if allow.permission and allow.permission not in granted:
        hint = did_you_mean(allow.permission, granted) or "no role grants anything"
        yield Finding((*where, "allow"), f"no role grants `{allow.permission}`", hint, warning=True)
    if "mtls" in route.methods_used and not asking:
        yield Finding(
            (*where, "authenticate"),
            "no listener asks for client certificates",
            "see `client_certificates`",
            warning=True,
        )
    if allow.public and any(rate.per in ("principal", "key") for rate in route.limit):
        yield Finding(
            (*where, "limit"), "all callers of a public route are one principal", "count `per address`", warning=True
        )
    for kind, param in route.subject.items():
        for index, pattern in enumerate(route.match):
            if pattern.params and param not in pattern.params and any(param in one.params for one in route.match):
                yield Finding(
                    (*where, "match", index),
                    f"`{pattern.text}` has no `{param}`: nobody in its path can be erased as `{kind}`",
                    f"call the parameter `{param}` here too, if it is one",
                    warning=True,
                )
    service = config.services.get(route.service)
    if service is None:
        return
    if route.record == "written" and service.data:
        yield Finding((*where, "record"), "is less than classified data gets by default (`durable`)", warning=True)
    zone = config.zones.get(service.zone)
    if zone is not None and zone.require:
        for alternative in route.authenticate:
            if not set(zone.require) <= set(alternative):
                yield Finding(
                    (*where, "authenticate"),
                    f"`{'+'.join(alternative)}` alone never passes: the zone `{service.zone}` "
                    f"requires {'+'.join(zone.require)}",
                    warning=True,
                )


def _conflicts(view: View) -> Iterator[Finding]:
    patterns = [(number, index, pattern) for number, route in view.routes for index, pattern in enumerate(route.match)]
    told = [parse_pattern(f"POST {EVENTS}")] if view.config.identity.pushing else []
    own = told if view.config.issuer is None else view.config.issuer.patterns()
    folders = told if view.config.issuer is None else view.config.issuer.folders()
    left = []
    for number, index, pattern in patterns:
        folder = next((one for one in folders if _lies_within(pattern, one)), None)
        if folder is None:
            left.append((number, index, pattern))
            continue
        # It would win, being more specific, and be given what was meant for the issuer: secrets, passwords, codes.
        yield Finding(
            ("routes", number, "match", index),
            f"`{pattern.text}` lies within {folder.path}, which belongs to the `issuer`",
            "change it, or give the issuer's URL another path",
        )
    patterns = left
    conflicts = find_conflicts([*(pattern for _, _, pattern in patterns), *own])
    for conflict in conflicts[:MAX_CONFLICTS]:
        if conflict.second >= len(patterns):
            number, index, pattern = patterns[conflict.first]
            yield Finding(
                ("routes", number, "match", index),
                f"`{pattern.text}` matches {conflict.example}, which belongs to the `issuer`",
                "change it, or give the issuer's URL another path",
            )
            continue
        first, i, one = patterns[conflict.first]
        second, j, other = patterns[conflict.second]
        what = "match the same calls" if one.segments == other.segments else f"both match {conflict.example}"
        yield Finding(
            ("routes", second, "match", j),
            f"`{other.text}` and `{one.text}` of {{other}} {what}, and neither is more specific",
            "change one, name the methods of each, or add a route for what both match",
            other=("routes", first, "match", i),
        )
    if len(conflicts) > MAX_CONFLICTS:
        yield Finding(("routes",), f"{len(conflicts) - MAX_CONFLICTS} more conflicts between routes are not shown")


def _lies_within(pattern: Pattern, folder: Pattern) -> bool:
    return pattern.host == folder.host and pattern.segments[: len(folder.segments)] == folder.segments


def _fall_throughs(view: View) -> Iterator[Finding]:
    patterns = [(number, index, pattern) for number, route in view.routes for index, pattern in enumerate(route.match)]
    public = [view.config.routes[number].allow.public for number, _, _ in patterns]
    found = find_fall_throughs([pattern for _, _, pattern in patterns], public)
    for one in found[:MAX_CONFLICTS]:
        number, index, guarded = patterns[one.guarded]
        open_, j, public_pattern = patterns[one.public]
        methods = ",".join(one.methods)
        rest = " ".join(part for part in (methods, guarded.host, guarded.path) if part)
        yield Finding(
            ("routes", number, "match", index),
            f"`{guarded.text}` is guarded, but {methods} of the same paths would pass as `{public_pattern.text}` "
            "of {other}, which is public",
            f"leave the methods out here, or name those of the public route, or add a route `{rest}`",
            other=("routes", open_, "match", j),
        )
    if len(found) > MAX_CONFLICTS:
        yield Finding(("routes",), f"{len(found) - MAX_CONFLICTS} more guarded routes beside public ones are not shown")


def _issuers(view: View) -> Iterator[Finding]:
    authorities = dict.fromkeys(view.config.trust, "a trust bundle")
    authorities[OWN_AUTHORITY] = "the product itself"
    own = view.config.issuer
    if own is not None:
        yield from _unknown(view, ("issuer", "trust"), "trust", own.trust, "a trust bundle")
        yield from _place_for_certificates(view.config, own)
    issuers: set[str] = set()
    for number, issuer in enumerate(view.config.identity.issuers):
        where: Where = ("identity", "issuers", number)
        if issuer.issuer in issuers:
            yield Finding((*where, "issuer"), f"{issuer.issuer} is named twice")
        elif own is not None and issuer.issuer == own.url:
            yield Finding((*where, "issuer"), f"{issuer.issuer} is this node's own, as `issuer` says")
        elif issuer.authority in authorities:
            taken = authorities[issuer.authority]
            yield Finding(
                (*where, "issuer"),
                f"its principals would have the authority `{issuer.authority}`, which is {taken}",
                "give it an `authority` of its own",
            )
        issuers.add(issuer.issuer)
        authorities.setdefault(issuer.authority, "another issuer")
        for claim, roles in (issuer.roles.map if issuer.roles is not None else {}).items():
            for role in roles:
                yield from _unknown(view, (*where, "roles", "map", claim), "roles", role, "a role")
        if isinstance(issuer.jwks, Path) and not issuer.jwks.is_file():
            yield Finding((*where, "jwks"), f"{issuer.jwks} does not exist: no token can be verified", warning=True)
        if issuer.signals is not None:
            yield from _signals((*where, "signals"), issuer.signals)
    for use, named in (("exchange", own.exchange), ("assertions", own.assertions)) if own is not None else ():
        for name in named:
            if name not in issuers:
                yield Finding(("issuer", use), f"{name} is not among `identity.issuers`", "add it there")


def _place_for_certificates(config: Config, own: OwnIssuer) -> Iterator[Finding]:
    """Whether callers are asked for certificates where `mtls_url` says so, as far as its port tells."""
    if own.mtls_url is None:
        return
    port = urlsplit(own.mtls_url).port or 443
    there = [one for one in config.listeners if one.address.port == port] or config.listeners
    if not any(config.asks_client(listener) for listener in there):
        yield Finding(
            ("issuer", "mtls_url"),
            "no listener there asks for client certificates",
            "see `client_certificates`",
            warning=True,
        )


def _signals(where: Where, signals: Received) -> Iterator[Finding]:
    client = signals.client
    secrets = (((*where, "token"), signals.token), ((*where, "client", "secret"), client.secret if client else None))
    for place, secret in secrets:
        if secret is not None and secret.path is not None and not secret.path.is_file():
            yield Finding(place, f"{secret.path} does not exist", warning=True)


def _exports(view: View) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for number, export in enumerate(view.config.exports):
        where: Where = ("exports", number)
        to = export.to
        if export.name in seen:
            yield Finding((*where, "name"), f"`{export.name}` is also {{other}}", other=("exports", seen[export.name]))
        seen.setdefault(export.name, number)
        if to.scheme in ("http", "https") and export.format in ("cef", "syslog"):
            yield Finding((*where, "format"), f"{export.format} does not go over HTTP", "use ocsf or jsonl")
        if export.headers and to.scheme not in ("http", "https"):
            yield Finding((*where, "headers"), f"have no meaning for {to.scheme}:")
        if "confirm" in export.model_fields_set and to.scheme not in ("tls", "tcp"):
            yield Finding((*where, "confirm"), f"has no meaning for {to.scheme}:")
        if export.login is not None:
            if to.scheme not in BUSES:
                yield Finding((*where, "login"), f"has no meaning for {to.scheme}:")
            elif export.login.only_nats and not to.scheme.startswith("nats"):
                yield Finding((*where, "login"), "is a way that Kafka does not know", "say `user` and `password`")
        if export.tls is not None:
            if not to.encrypted:
                yield Finding((*where, "tls"), f"has no meaning for {to.scheme}:")
            if (export.tls.certificate is None) != (export.tls.key is None):
                yield Finding((*where, "tls"), "needs `certificate` and `key` together")
        for service in export.only.service:
            if "*" not in service:
                yield from _unknown(view, (*where, "only", "service"), "services", service, "a service")


def _readers(view: View) -> Iterator[Finding]:
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


def _export_files(view: View) -> Iterator[Finding]:
    for number, export in enumerate(view.config.exports):
        if export.to.scheme == "file" and not export.to.path.parent.is_dir():
            yield Finding(("exports", number, "to"), f"the folder {export.to.path.parent} does not exist", warning=True)
        for name, value in export.headers.items():
            for secret in value.references:
                if secret.path is not None and not secret.path.is_file():
                    place = ("exports", number, "headers", name)
                    yield Finding(place, f"{secret.path} does not exist", warning=True)
        needed = NEEDED.get(export.to.scheme.partition("+")[0], "")
        if needed and not installed(needed):
            extra = export.to.scheme.partition("+")[0]
            yield Finding(("exports", number, "to"), f"needs interlock[{extra}], which is not installed", warning=True)
        login = export.login
        if login is None:
            continue
        for kind in ("password", "token", "nkey", "credentials"):
            secret = getattr(login, kind)
            if secret is not None and secret.path is not None and not secret.path.is_file():
                yield Finding(("exports", number, "login", kind), f"{secret.path} does not exist", warning=True)


def _files(view: View) -> Iterator[Finding]:
    for where, path in _named_files(view):
        if path is not None and not path.is_file():
            message = f"{path} is not a file" if path.exists() else f"{path} does not exist"
            yield Finding(where, message)
    yield from _keks(view)


def _keks(view: View) -> Iterator[Finding]:
    """Not seeing a KEK is no fault here: whoever checks a file need not be who may open keys."""
    keys = view.config.keys
    secrets: list[tuple[Where, SecretRef]]
    for name, source in (("kek", keys.kek), ("former_kek", keys.former_kek)):
        if isinstance(source, SecretRef):
            secrets = [(("keys", name), source)]
        elif isinstance(source, Pkcs11Source):
            secrets = [(("keys", name, "pkcs11", "pin"), source.pkcs11.pin)]
            if not source.pkcs11.module.is_file():
                yield Finding(
                    ("keys", name, "pkcs11", "module"), f"{source.pkcs11.module} does not exist", warning=True
                )
        elif source is not None:
            secrets = [(("keys", name, "transit", "token"), source.transit.token)]
            if source.transit.ca is not None and not source.transit.ca.is_file():
                yield Finding(("keys", name, "transit", "ca"), f"{source.transit.ca} does not exist")
        else:
            secrets = []
        for where, secret in secrets:
            if secret.path is not None and not secret.path.is_file():
                yield Finding(where, f"{secret.path} does not exist", warning=True)
    if keys.former_kek is not None and keys.former_kek == keys.kek:
        yield Finding(("keys", "former_kek"), "is the same as `kek`")


def _named_files(view: View) -> Iterable[tuple[Where, Path | None]]:
    for number, listener in view.listeners:
        if isinstance(listener.tls, CertificateFiles):
            yield ("listeners", number, "tls", "certificate"), listener.tls.certificate
            yield ("listeners", number, "tls", "key"), listener.tls.key
        for index, further in enumerate(listener.certificates):
            yield ("listeners", number, "certificates", index, "certificate"), further.certificate
            yield ("listeners", number, "certificates", index, "key"), further.key
    for name, bundle in view.config.trust.items():
        yield ("trust", name, "ca"), bundle.ca
    for name, service in view.config.services.items():
        yield ("services", name, "openapi"), service.openapi
        if service.tls is not None:
            yield ("services", name, "tls", "ca"), service.tls.ca
            yield ("services", name, "tls", "certificate"), service.tls.certificate
            yield ("services", name, "tls", "key"), service.tls.key
    for number, export in enumerate(view.config.exports):
        if export.tls is not None:
            yield ("exports", number, "tls", "ca"), export.tls.ca
            yield ("exports", number, "tls", "certificate"), export.tls.certificate
            yield ("exports", number, "tls", "key"), export.tls.key


def _unused(view: View) -> Iterator[Finding]:
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
