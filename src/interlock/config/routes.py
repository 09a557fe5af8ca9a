"""The section about calls: what matches, who may, how often."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from interlock.clock import SECOND
from interlock.config.fields import (
    Duration,
    Name,
    Origin,
    Patterns,
    Permission,
    Rates,
    Role,
    Section,
    Size,
    duration,
    fault,
    size,
    words,
)
from interlock.config.listeners import Mode
from interlock.config.services import DPOP, Method
from interlock.config.strength import Strength
from interlock.model import LONGEST_CONDITION

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110, 5.6.2


class Allow(Section):
    """What a call needs to pass; all that is named must hold. With nothing named it is public."""

    permission: Permission = ""
    """A permission that one of the caller's roles grants."""
    scope: Annotated[str, Field(min_length=1, pattern=r"^[!#-\[\]-~]+$")] = ""
    """A scope (RFC 6749, 3.3) of the caller's token."""
    when: Annotated[str, Field(min_length=1, max_length=LONGEST_CONDITION)] = ""
    """A condition in CEL over `request`, `principal`, `roles` and `claims`."""
    role: Role = ""
    """A role the caller must have."""

    @property
    def public(self) -> bool:
        """Whether anybody may call; said aloud in the file as `allow: public`."""
        return not (self.permission or self.scope or self.when or self.role)


def _allow(value: Any) -> Any:
    if value == "public":
        return Allow()
    if isinstance(value, str):
        return {"permission": value}
    if value is None or value == {}:
        raise fault("is empty", "say `allow: public` to let everybody pass")
    if isinstance(value, list):
        raise fault("must be a permission, `public`, or a mapping", "roles gather permissions; a route asks for one")
    return value


def _alternatives(value: Any) -> Any:
    if value is None or value == "none":
        return []
    return words(value)


def _alternative(value: Any) -> tuple[str, ...]:
    """`jwt+mtls` to its methods; all of them must hold."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, str):
        raise fault("is not a way to authenticate", "write it as in jwt, api_key, mtls or jwt+mtls")
    methods = tuple(word.strip() for word in value.split("+"))
    known = (*get_args(Method), DPOP)
    for method in methods:
        if method not in known:
            raise fault(f"`{method}` is not a way to authenticate", f"there are {', '.join(known)}")
    if DPOP in methods and "jwt" not in methods:
        raise fault(f"`{value}` proves possession of nothing", "a key is a token's: write it as in jwt+dpop")
    if len(set(methods)) != len(methods):
        raise fault(f"`{value}` names a method twice")
    return methods


def _field_name(value: str) -> str:
    if value != "*" and not _TOKEN.fullmatch(value):
        raise fault(f"`{value}` is not the name of a header")
    return value


class Cors(Section):
    """Which web pages of other origins may call (WHATWG Fetch, 3.2)."""

    origins: Annotated[
        tuple[Origin, ...], BeforeValidator(words, json_schema_input_type=str | list[str]), Field(min_length=1)
    ]
    """Origins as in `https://app.example.com`, or `"*"`."""
    methods: tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], ...] = ()
    """Methods they may use; left out: those of the route."""
    headers: tuple[Annotated[str, BeforeValidator(_field_name)], ...] = ()
    """Request headers they may send."""
    credentials: bool = False
    """Whether cookies and client certificates go with the call."""
    max_age: Annotated[Duration, duration("0s", "1d")] = 600 * SECOND
    """How long a browser may remember the answer to a preflight."""

    @model_validator(mode="after")
    def _not_everybody_with_credentials(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise fault('lets every origin call with credentials ("*")', "name the origins")
        return self


class Route(Section):
    """A set of calls and what becomes of them. `allow` and `limit` are always said."""

    match: Patterns
    """`[METHOD[,METHOD]] [host] /path`, one or a list: `GET /accounts/{id}`, `api.example.com /files/*`."""
    service: str
    """Where the calls go."""
    authenticate: Annotated[
        tuple[Annotated[tuple[str, ...], PlainValidator(_alternative, json_schema_input_type=str)], ...],
        BeforeValidator(_alternatives, json_schema_input_type=str | list[str]),
    ] = ()
    """Any of a list; `+` means all: `[jwt+mtls, api_key]`. `jwt+dpop`: a token that is bound to a key."""
    trust: str = ""
    """Which bundle client certificates are verified against."""
    allow: Annotated[
        Allow,
        BeforeValidator(_allow, json_schema_input_type=Literal["public"] | str | Allow),
    ]
    """`public`, a permission, or a mapping of what must hold."""
    strength: Strength | None = None
    """How strongly, how lately and from where callers must have been authenticated."""
    limit: Rates
    """`none`, or rates as in `50/s burst 100 per principal`; all of them hold."""
    cors: Cors | None = None
    subject: dict[Name, str] = Field(default_factory=dict)
    """Whom a path parameter identifies, as in `{patient: patient_id}`: sealed apart on the record, erasable."""
    timeout: Annotated[Duration, duration("10ms", "1d")] | None = None
    """How long an answer may take; left out: as the service says."""
    body: Annotated[Size, size("0", "64GiB")] | None = None
    """The largest request body; left out: as in `defaults`."""
    record: Mode | None = None
    """`written` or `durable`; left out: as the service says."""

    @property
    def id(self) -> str:
        """The text of `match`, which names the route everywhere."""
        return ", ".join(pattern.text for pattern in self.match)

    @property
    def methods_used(self) -> frozenset[str]:
        """Every method of `authenticate`."""
        return frozenset(method for alternative in self.authenticate for method in alternative)
