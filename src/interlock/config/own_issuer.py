"""The section about Interlock's own authorization server."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from interlock.clock import SECOND
from interlock.config.details import DetailType, TypeName
from interlock.config.fields import Duration, HttpsUrl, Name, Origin, Rates, Section, duration, fault, words
from interlock.config.issuers import IssuerDpop
from interlock.config.outside import OutsideProvider
from interlock.config.patterns import Pattern, parse_pattern
from interlock.config.signals import Transmitted
from interlock.config.units import Rate

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Where the issuer is found, after the path of its URL; of OAuth's metadata, before it (RFC 8414 section 3.1).
METADATA = ("/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource")
SIGNALS = "/.well-known/ssf-configuration"  # before it, too (Shared Signals Framework 1.0 section 7.2)
DISCOVERY = "/.well-known/openid-configuration"
BENEATH = "/oauth"
EVENTS = BENEATH + "/ssf/events"  # where others send their signals to, also where there is no issuer

ScopeName = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,128}$")]  # RFC 6749 section 3.3
Resource = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[!-~]+$")]


_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]+")


def _issuer_url(value: str) -> str:
    """RFC 8414 section 2; without a slash at its end, since issuers are compared as they are written."""
    if value.endswith("/"):
        raise fault("ends with a slash; tokens name the issuer exactly as it stands here", value.rstrip("/"))
    for segment in urlsplit(value).path.split("/")[1:]:
        if not _SEGMENT.fullmatch(segment):
            raise fault(f"`{segment}` is not a part of a path that everybody writes in the same way")
    return value


def _listens_for(url: str) -> str:
    host = (urlsplit(url).hostname or "").lower()
    return "" if host == "localhost" or ":" in host or host.replace(".", "").isdigit() else host


class Sessions(Section):
    """How long somebody stays signed in."""

    idle: Annotated[Duration, duration("1m", "1d")] = 15 * MINUTE
    """Without a sign of life."""
    absolute: Annotated[Duration, duration("5m", "30d")] = 12 * HOUR
    """In any case."""


class OwnIssuer(Section):
    """Interlock as an issuer of tokens: OAuth 2.1 and OpenID Connect."""

    url: Annotated[HttpsUrl, AfterValidator(_issuer_url)]
    """Its own URL, never taken from a call's Host: `iss` of its tokens, and where its metadata is found."""
    audience: Annotated[tuple[Resource, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """What this node's own routes are called in `aud`; left out: the URL."""
    resources: Annotated[tuple[Resource, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """Other APIs that tokens may be asked for (`resource`, RFC 8707)."""
    scopes: dict[ScopeName, str] = Field(default_factory=dict)
    """What may be asked for, and what it means to the person who is asked, as in
    `accounts.read: See your accounts`."""
    signing: Literal["ES256", "EdDSA"] = "ES256"
    """What tokens are signed with."""
    rotate: Annotated[Duration, duration("1d", "400d")] = 90 * DAY
    """How long one key signs; the next is published a day before it does."""
    access_token: Annotated[Duration, duration("30s", "1h")] = 5 * MINUTE
    """How long an access token lives."""
    refresh_token: Annotated[Duration, duration("5m", "400d")] = 30 * DAY
    """How long a refresh token may rest unused."""
    mtls_url: Annotated[HttpsUrl, AfterValidator(_issuer_url)] | None = None
    """The same issuer where callers are asked for their certificate, for programs alone (RFC 8705 section 5)."""
    trust: str = ""
    """The bundle of `trust` whose certificates may stand for a client (`tls_client_auth`, RFC 8705)."""
    session: Sessions = Sessions()
    second_factor: Literal["optional", "required"] = "optional"
    """Whether people must have one."""
    origins: tuple[Origin, ...] = ()
    """Web origins whose scripts may ask for tokens themselves, as in `https://app.example.com` (public clients)."""
    limit: Rates = (Rate(1000, SECOND, 2000, "address"),)
    """How often programs may ask for tokens, as in `1000/s burst 2000 per address`."""
    profile: Literal["fapi2"] | None = None
    """`fapi2`: what the FAPI 2.0 Security Profile asks, and nothing it does not allow."""
    registration: Literal["off", "token"] = "off"
    """Whether clients may register themselves (RFC 7591), with an initial access token."""
    exchange: Annotated[tuple[HttpsUrl, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """Issuers of `identity.issuers` whose tokens are exchanged for ours (RFC 8693), where they speak for a client."""
    assertions: Annotated[tuple[HttpsUrl, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """Issuers of `identity.issuers` whose tokens may stand for a client's credential (RFC 7523)."""
    details: dict[TypeName, DetailType] = Field(default_factory=dict)
    """The types of `authorization_details` (RFC 9396) that may be asked for."""

    dpop: IssuerDpop = IssuerDpop()
    """What proofs of possession have to bring, at the issuer itself and beside its tokens on this node's routes."""

    outside: dict[Name, OutsideProvider] = Field(default_factory=dict)
    """Outside OpenID providers where people may sign in instead, by name."""
    signals: Transmitted | None = None
    """Whom it tells of ended sessions and changed credentials (Shared Signals Framework); left out: nobody."""

    @model_validator(mode="after")
    def _lifetimes(self) -> Self:
        if self.session.idle > self.session.absolute:
            raise fault("session.idle is longer than session.absolute")
        return self

    @model_validator(mode="after")
    def _place_for_certificates(self) -> Self:
        if self.mtls_url is None:
            return self
        other = urlsplit(self.mtls_url)
        if other.scheme != "https":
            raise fault("mtls_url must be https: certificates are shown in its handshake")
        if self.mtls_url == self.url:
            raise fault("mtls_url is the issuer's own URL, which needs no other name", "leave it out")
        if other.path != self.path:
            raise fault("mtls_url has another path than the URL, and it is the same issuer", self.path or "no path")
        return self

    @property
    def host(self) -> str:
        """The host of its URL, in small letters."""
        return (urlsplit(self.url).hostname or "").lower()

    @property
    def listens_for(self) -> str:
        """The Host its calls have; empty: any, where it is named by an address or is on this machine only."""
        return _listens_for(self.url)

    @property
    def program_hosts(self) -> list[str]:
        """The Hosts that calls of programs have: the one above, and that of `mtls_url` if it is another."""
        hosts = [self.url] if self.mtls_url is None else [self.url, self.mtls_url]
        return list(dict.fromkeys(_listens_for(one) for one in hosts))

    @property
    def paths(self) -> list[str]:
        """All that it serves, as paths of this node; the last one is a folder."""
        metadata = METADATA if self.signals is None else (*METADATA, SIGNALS)
        first = [path + self.path for path in metadata]
        return [*first, self.path + DISCOVERY, self.path + BENEATH]

    def folders(self) -> list[Pattern]:
        """The calls that are its own alone, whatever their method: one for each host."""
        return [parse_pattern(f"{host} {self.paths[-1]}/*".strip()) for host in self.program_hosts]

    def patterns(self) -> list[Pattern]:
        """All calls that are its own."""
        return [parse_pattern(f"{self.listens_for} {path}".strip()) for path in self.paths[:-1]] + self.folders()

    @property
    def path(self) -> str:
        """The path of its URL: empty, or `/tenant`."""
        return urlsplit(self.url).path

    @property
    def secure(self) -> bool:
        """Whether browsers come by https."""
        return self.url.startswith("https:")

    @property
    def audiences(self) -> tuple[str, ...]:
        """What this node's own routes are called in `aud`."""
        return self.audience or (self.url,)
