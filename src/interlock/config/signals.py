"""Signals about subjects (OpenID Shared Signals Framework 1.0): whom we tell, and what others may tell us."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from interlock.clock import SECOND
from interlock.config.fields import Duration, FilePath, HttpsUrl, Secret, Section, duration, fault, words
from interlock.config.hosts import parse_https

DAY = 86_400 * SECOND


def _place(value: Any) -> str:
    """A URL, or with `/*` at its end all that is beneath it. What two readers could read in two ways is refused."""
    text = value.removesuffix("/*") if isinstance(value, str) else value
    try:
        url = parse_https(text)
    except ValueError as error:
        raise fault(str(error)) from None
    path = url.partition("://")[2].partition("/")[2]
    if "*" in path or "%" in path or "\\" in path or any(part in (".", "..") for part in path.split("/")):
        raise fault("has a path that could be read in two ways", "a `*` stands only at the end, after a slash")
    return str(value)


def _poll_url(value: Any) -> str:
    """Unlike other URLs of the file it may have a query: others may tell streams apart by it."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value or "#" in value:
        raise fault("is not a URL; write it as in https://login.example.com/ssf/poll")
    try:
        parse_https(value.partition("?")[0])
    except ValueError as error:
        raise fault(str(error)) from None
    return value


class Transmitted(Section):
    """What the node's own issuer tells others of."""

    push_to: Annotated[
        tuple[Annotated[str, PlainValidator(_place, json_schema_input_type=str)], ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(max_length=256),
    ] = ()
    """Where others may have their signals pushed to: exact URLs, or `https://host/path/*`; nowhere else."""
    subjects: Literal["all", "none"] = "all"
    """Whom a new stream tells of: everybody but those it is told to leave out, or only those that were asked for."""
    ca: FilePath | None = None
    """Who may vouch for the servers that are pushed to, in PEM; left out: the system's roots."""


class SignalClient(Section):
    """By what we are known at the issuer's token endpoint, where its poll endpoint asks for an access token."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    secret: Secret
    token_endpoint: HttpsUrl


class Received(Section):
    """What an outside issuer may tell us of its own subjects."""

    push: bool = False
    """It sends its signals to `/oauth/ssf/events`."""
    poll: Annotated[str, PlainValidator(_poll_url, json_schema_input_type=str)] | None = None
    """Where they are fetched from instead."""
    token: Secret | None = None
    """A bearer token: what we show when we poll, what it must show when it pushes; read anew each time."""
    client: SignalClient | None = None
    """Instead of `token`, for polling: access tokens are asked for with the client credentials grant."""
    audience: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
    ] = ()
    """What we are called in `aud`; left out: the issuer's `audience`."""
    max_age: Annotated[Duration, duration("1m", "30d")] = 14 * DAY
    """How old a signal may be that still counts."""
    ca: FilePath | None = None
    """Who may vouch for the server that is polled, in PEM; left out: the system's roots."""

    @model_validator(mode="after")
    def _fitting(self) -> Received:
        if self.push and self.poll is not None:
            raise fault("says both `push` and `poll`: signals come by one way")
        if not self.push and self.poll is None:
            raise fault("says neither `push: true` nor `poll: URL`")
        if self.poll is None and (self.client is not None or self.ca is not None):
            raise fault("`client` and `ca` have a meaning for `poll` only")
        if self.client is not None and self.token is not None:
            raise fault("says both `token` and `client`")
        if self.poll is not None and self.client is None and self.token is None:
            raise fault("says `poll`, but not what we show there", "add `token: ${file:...}` or `client: {...}`")
        return self
