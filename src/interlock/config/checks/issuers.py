"""Whose tokens are taken: outside issuers, and the node's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from interlock.config.checks.view import Finding, View, unknown
from interlock.config.model import Config
from interlock.config.own_issuer import OwnIssuer
from interlock.config.signals import Received
from interlock.config.tree import Where
from interlock.model.principal import OWN_AUTHORITY


def check(view: View) -> Iterator[Finding]:
    authorities = dict.fromkeys(view.config.trust, "a trust bundle")
    authorities[OWN_AUTHORITY] = "the product itself"
    own = view.config.issuer
    if own is not None:
        yield from unknown(view, ("issuer", "trust"), "trust", own.trust, "a trust bundle")
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
                yield from unknown(view, (*where, "roles", "map", claim), "roles", role, "a role")
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
