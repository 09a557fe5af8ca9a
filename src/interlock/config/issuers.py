"""The section about outside issuers of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo

from interlock.clock import SECOND
from interlock.config.fields import Duration, HttpsUrl, Section, duration, fault, resolved_path, words
from interlock.config.hosts import parse_https
from interlock.config.services import Roles
from interlock.config.signals import Received

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
HOUR = 3600 * SECOND


def _algorithm(value: Any) -> Any:
    if value in ALGORITHMS:
        return value
    if value == "none" or str(value).startswith("HS"):
        raise fault(
            f"`{value}` proves nothing here: whoever can verify it can make it", "name what the issuer signs with"
        )
    raise fault(f"`{value}` is not an algorithm", f"there are {', '.join(ALGORITHMS)}")


SignatureAlgorithm = Annotated[str, BeforeValidator(_algorithm)]


def _jwks(value: Any, info: ValidationInfo) -> str | Path:
    if isinstance(value, str) and "://" in value:
        try:
            return parse_https(value)
        except ValueError as error:
            raise fault(str(error)) from None
    return resolved_path(value, info)


class IssuerRoles(Section):
    """Outside roles count only through this map."""

    claim: Annotated[str, Field(min_length=1)] = Field(alias="from")
    """The claim that holds the issuer's roles or groups."""
    map: dict[str, Roles]
    """From the issuer's names to roles of this file."""


class IssuerDpop(Section):
    """Proofs of possession (RFC 9449), for its tokens that are bound to a key."""

    nonce: Literal["accepted", "required"] = "accepted"
    """Whether every proof has to bring a nonce of ours, so that none can be made long before it is used."""


class Issuer(Section):
    """An outside issuer of JWTs."""

    issuer: HttpsUrl
    """Exactly what its tokens say in `iss`."""
    audience: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    """What its tokens must say in `aud`; any of them."""
    algorithms: Annotated[
        tuple[SignatureAlgorithm, ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    """What its tokens may be signed with."""
    jwks: Annotated[str | Path, PlainValidator(_jwks, json_schema_input_type=str)] | None = None
    """Its keys: a URL or a file; left out: found by discovery."""
    leeway: Annotated[Duration, duration("0s", "5m")] = 30 * SECOND
    """How far its clock may differ from ours."""
    max_stale: Annotated[Duration, duration("1m", "30d")] = 24 * HOUR
    """How long its last known keys count when it cannot be reached."""
    types: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = ("JWT", "at+jwt")
    """What its tokens may say in `typ`."""
    roles: IssuerRoles | None = None
    """How its roles become ours; left out: its tokens bring none."""
    dpop: IssuerDpop = IssuerDpop()
    """What its tokens that are bound to a key have to bring."""
    own_authority: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$")] = Field(
        default="", alias="authority"
    )
    """The authority of its principals; left out: the issuer's host."""

    callers: bool = True
    """Whether its tokens open routes; `false`: they are good only for what `issuer` takes from it (`exchange`,
    `assertions`)."""

    signals: Received | None = None
    """What it may tell us of its own subjects (Shared Signals Framework); left out: nothing."""

    @property
    def authority(self) -> str:
        """The authority in `user:AUTHORITY/name`."""
        return self.own_authority or urlsplit(self.issuer).netloc.lower()


class Identities(Section):
    """Who vouches for callers."""

    issuers: tuple[Issuer, ...] = ()

    @property
    def pushing(self) -> bool:
        """Whether any issuer sends signals to us."""
        return any(issuer.signals is not None and issuer.signals.push for issuer in self.issuers)
