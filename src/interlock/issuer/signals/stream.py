"""Event streams: what a receiver may set of one, and how one is shown (SSF 1.0 section 8.1). Pure.

A place that is pushed to is reached from inside: it is one that the operator has allowed, spelled exactly so, and the
URL is of one reading (no user name, no query, no dots, no escapes in the path).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from interlock.config.hosts import parse_https
from interlock.errors import UsageError
from interlock.issuer.signals.events import SUPPORTED
from interlock.store.signals import Stream

PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"
STATUSES: Final = ("enabled", "paused", "disabled")
MIN_VERIFICATION: Final = 30  # seconds between two requests for a verification event
DESCRIPTION: Final = 256  # characters that are kept
LONGEST: Final = 2048
AUTHORIZATION: Final = 4096
ASKED: Final = 64  # event types


class Wanted(msgspec.Struct, frozen=True):
    """What a receiver sets of a stream; None: it does not say."""

    events: tuple[str, ...] | None = None
    method: str | None = None
    url: str = ""
    authorization: str | None = None
    description: str | None = None

    def __repr__(self) -> str:
        return f"Wanted(method={self.method!r}, url={self.url!r})"


def read_wanted(body: Mapping[str, Any]) -> Wanted:
    """What a request asks for; `UsageError` for what cannot be read. Names that are not known are ignored."""
    events = body.get("events_requested")
    if events is not None:
        if not isinstance(events, list) or len(events) > ASKED or not all(isinstance(one, str) for one in events):
            raise UsageError("events_requested is a list of event types")
        events = tuple(dict.fromkeys(one for one in events if len(one) <= LONGEST))
    description = body.get("description")
    if description is not None and not isinstance(description, str):
        raise UsageError("description is a text")
    delivery = body.get("delivery")
    method, url, authorization = None, "", None
    if delivery is not None:
        if not isinstance(delivery, dict) or delivery.get("method") not in (PUSH, POLL):
            raise UsageError(f"delivery has a method: {PUSH} or {POLL}")
        method = delivery["method"]
        if method == PUSH:
            url = push_url(delivery.get("endpoint_url"))
            authorization = delivery.get("authorization_header")
            if authorization is not None:
                check_authorization(authorization)
    return Wanted(
        events, method, url, authorization, None if description is None else _printable(description[:DESCRIPTION])
    )


def push_url(value: object) -> str:
    """A URL that may be pushed to, as far as it can be told from itself; `UsageError`."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise UsageError("endpoint_url is missing, or no URL")
    try:
        parse_https(value)
    except ValueError as error:
        raise UsageError(f"endpoint_url {error}") from None
    path = urlsplit(value).path
    if "%" in path or "\\" in value or "*" in path or any(part in (".", "..") for part in path.split("/")):
        raise UsageError("endpoint_url has a path that could be read in two ways")
    return value


def check_authorization(value: object) -> None:
    """The value of one header field (RFC 9110 section 5.5), nothing that could become two; `UsageError`."""
    fits = isinstance(value, str) and 0 < len(value) <= AUTHORIZATION and value.isascii() and value.isprintable()
    if not fits:
        raise UsageError("authorization_header is one line of printable ASCII")


def is_allowed(url: str, places: Collection[str]) -> bool:
    """Whether the file allows to push there: exactly so, or beneath `.../*`."""
    return any(url == place or (place.endswith("/*") and url.startswith(place[:-1])) for place in places)


def delivered(events: tuple[str, ...] | None) -> tuple[str, ...]:
    """What is told of what was asked for; who asked for nothing hears all there is."""
    return SUPPORTED if events is None else tuple(one for one in SUPPORTED if one in events)


def configuration(stream: Stream, issuer: str, poll_url: str) -> dict[str, Any]:
    """The document of a stream. It does not show what we prove ourselves with."""
    audience = list(stream.audience)
    method = PUSH if stream.method == "push" else POLL
    found: dict[str, Any] = {
        "stream_id": stream.id,
        "iss": issuer,
        "aud": audience[0] if len(audience) == 1 else audience,
        "events_supported": list(SUPPORTED),
        "events_delivered": list(delivered(stream.requested)),
        "delivery": {"method": method, "endpoint_url": stream.url if method == PUSH else poll_url},
        "min_verification_interval": MIN_VERIFICATION,
    }
    if stream.requested is not None:
        found["events_requested"] = list(stream.requested)
    if stream.description:
        found["description"] = stream.description
    return found


def check_supplied(body: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    """What only we set MUST be as it is, if a request repeats it (SSF section 8.1.1.3); `UsageError`."""
    for name in ("stream_id", "iss", "aud", "events_supported", "events_delivered", "min_verification_interval"):
        if name in body and body[name] != shown.get(name):
            raise UsageError(f"{name} cannot be set")


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
