"""Routes by themselves: that they ask for what there is, and for what can be had."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.config.checks.view import Finding, View, unknown
from interlock.config.model import Config
from interlock.config.nearest import did_you_mean
from interlock.config.routes import Route
from interlock.config.tree import Where
from interlock.model.principal import KINDS

PRINCIPAL_KINDS = KINDS | {"source", "erased", "lost", "hidden"}


def check(view: View) -> Iterator[Finding]:
    config = view.config
    granted = frozenset(permission for permissions in config.roles.values() for permission in permissions)
    asking = any(config.asks_client(listener) for listener in config.listeners)
    for number, route in view.routes:
        where: Where = ("routes", number)
        allow = route.allow
        methods = route.methods_used
        yield from unknown(view, (*where, "service"), "services", route.service, "a service")
        yield from unknown(view, (*where, "trust"), "trust", route.trust, "a trust bundle")
        yield from unknown(view, (*where, "allow", "role"), "roles", allow.role, "a role")
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
