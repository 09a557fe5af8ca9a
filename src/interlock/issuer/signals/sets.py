"""Security event tokens: RFC 8417 as SSF 1.0 section 4.1 profiles it. Made with the issuer's key, verified strictly.

The checks of a SET that somebody sends us, in this order; each raises `SetRefused` with its code of RFC 8935 section
2.4, and nothing is believed before all of them:

 1. size, three segments of canonical base64url, header and claims one JSON object each    invalid_request
 2. `typ` is `secevent+jwt`: no other token is taken for one                               invalid_request
 3. `iss` is somebody who may tell us something                                            invalid_issuer
 4. the signature, by a key and an algorithm of that issuer's                              invalid_key
 5. `aud` names us                                                                         invalid_audience
 6. neither `exp` nor `sub` is there (SSF sections 4.1.2, 4.1.7)                           invalid_request
 7. `jti` names it, `iat` is a date, neither too old nor in the future                     invalid_request
 8. `sub_id` is a subject, `events` has at least one event                                 invalid_request

That it did not come before is no property of it: whoever acts on it asks for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

import msgspec

from interlock.clock import SECOND
from interlock.errors import InterlockError
from interlock.issuer.ids import new_id
from interlock.issuer.signals.events import read_subject
from interlock.jose import Compact, KeyUnknown, TokenRefused, claims_set, split
from interlock.jose.signing import Signer

TYPE: Final = "secevent+jwt"
MEDIA: Final = "application/secevent+jwt"
LONGEST_ID: Final = 512
EVENTS: Final = 8  # in one SET: several are other names of the same event
LATEST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
CODES: Final = (
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
    "access_denied",
    "invalid_state",
)


class SetRefused(InterlockError):
    """`code` is one of `CODES`; `description` is for whoever sent it; `note` for the record alone."""

    def __init__(self, code: str, description: str, *, note: str = "", key_unknown: bool = False) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.note = note or description
        self.key_unknown = key_unknown  # newer keys might help
        self.authentic = False  # whether the signature was its issuer's: it says what it says


class Source(Protocol):
    """Somebody who may tell us something."""

    @property
    def issuer(self) -> str: ...

    @property
    def audience(self) -> Collection[str]: ...

    @property
    def max_age(self) -> int:
        """How old what it says may be, in ns."""
        ...

    @property
    def leeway(self) -> int:
        """How far its clock may differ, in ns."""
        ...

    def check_signature(self, compact: Compact, now: int) -> None:
        """Raises `TokenRefused`, `KeyUnknown` when newer keys might help."""
        ...


class EventSet(msgspec.Struct, frozen=True, kw_only=True):
    """A SET whose signature holds."""

    issuer: str
    jti: str
    iat: int  # seconds
    subject: dict[str, Any]
    events: dict[str, dict[str, Any]]
    txn: str = ""


# -- making


def claims_of(
    issuer: str,
    audience: Collection[str],
    subject: Mapping[str, Any],
    event: str,
    payload: Mapping[str, Any],
    now: int,
    *,
    jti: str = "",
    txn: str = "",
) -> dict[str, Any]:
    """The claims of a SET; `now` in wall ns. It has no `sub` and no `exp`."""
    names = list(audience)
    claims = {
        "iss": issuer,
        "jti": jti or new_id(),
        "iat": now // SECOND,
        "aud": names[0] if len(names) == 1 else names,
        "sub_id": dict(subject),
        "events": {event: dict(payload)},
    }
    return {**claims, "txn": txn} if txn else claims


def sign(signer: Signer, claims: Mapping[str, Any]) -> str:
    return signer.sign(claims, TYPE)


# -- verifying


def verify(token: bytes, find: Callable[[str], Source | None], now: int) -> tuple[Source, EventSet]:
    """Who sent it and what it says; `find` gives who may tell us something by its `iss`. Raises `SetRefused`."""
    # 1.
    try:
        compact = split(token)
        claims = claims_set(compact)
    except TokenRefused as refused:
        raise SetRefused("invalid_request", "not a security event token", note=str(refused)) from None
    # 2.
    kind = compact.header.get("typ", "")
    if kind.lower().removeprefix("application/") != TYPE:
        raise SetRefused("invalid_request", "typ is not secevent+jwt", note=f"typ {kind!r:.80}")
    # 3.
    name = claims.get("iss")
    source = find(name) if isinstance(name, str) else None
    if source is None:
        raise SetRefused("invalid_issuer", "nothing is taken from this issuer", note=f"iss {name!r:.120}")
    # 4.
    try:
        source.check_signature(compact, now)
    except KeyUnknown as unknown:
        raise SetRefused("invalid_key", "no key of that name", note=str(unknown), key_unknown=True) from None
    except TokenRefused as refused:
        raise SetRefused("invalid_key", "the signature does not hold", note=str(refused)) from None
    try:
        return source, _read(source, claims, now)
    except SetRefused as refused:
        refused.authentic = True
        raise


def _read(source: Source, claims: dict[str, Any], now: int) -> EventSet:
    # 5.
    stated = claims.get("aud")
    names = [stated] if isinstance(stated, str) else stated
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise SetRefused("invalid_audience", "aud is missing, or no name")
    if not set(names) & set(source.audience):
        raise SetRefused("invalid_audience", "it is for somebody else", note=f"aud {names!r:.120}")
    # 6.
    for claim in ("exp", "sub"):
        if claim in claims:
            raise SetRefused("invalid_request", f"a security event token has no {claim}")
    # 7.
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= LONGEST_ID:
        raise SetRefused("invalid_request", "jti is missing, or no name")
    iat = number_of(claims.get("iat"))
    if iat is None:
        raise SetRefused("invalid_request", "iat is missing, or no date")
    if iat * SECOND > now + source.leeway:
        raise SetRefused("invalid_request", "iat is in the future")
    if iat * SECOND < now - source.max_age:
        raise SetRefused("invalid_request", "iat is too old")
    # 8.
    try:
        subject = read_subject(claims.get("sub_id"))
    except ValueError as error:
        raise SetRefused("invalid_request", f"sub_id: {error}") from None
    events = claims.get("events")
    if not isinstance(events, dict) or not 0 < len(events) <= EVENTS:
        raise SetRefused("invalid_request", "events has no event, or too many")
    if not all(isinstance(payload, dict) for payload in events.values()):
        raise SetRefused("invalid_request", "an event is no object")
    txn = claims.get("txn", "")
    return EventSet(
        issuer=source.issuer,
        jti=jti,
        iat=iat,
        subject=subject,
        events=events,
        txn=txn if isinstance(txn, str) else "",
    )


def number_of(value: object) -> int | None:
    """A NumericDate in whole seconds, of this era; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= LATEST else None
