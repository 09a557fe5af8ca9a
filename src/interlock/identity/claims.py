"""What the claims of a verified token must say (RFC 7519 section 4.1, RFC 9068 section 4).

Pure functions of the claims and the issuer's settings; the times are compared by the caller, on every call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from interlock.clock import SECOND
from interlock.jose import Malformed, TokenRefused, decode_base64url
from interlock.model import Reason

ACCEPTED_TYPES = ("", "jwt", "at+jwt")  # "": no `typ` at all
LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z
LONGEST_NAME = 512
OWN_WORDS = "urn:interlock:"  # what begins so is ours to say (`issuer/levels.py`)


def check_type(header: Mapping[str, Any], types: Collection[str]) -> None:
    """`typ` is one that is meant for access (RFC 8725 section 3.11): no logout token, no DPoP proof."""
    kind = header.get("typ", "")
    accepted = {_media_type(name) for name in types} if types else set(ACCEPTED_TYPES)
    if not isinstance(kind, str) or _media_type(kind) not in accepted:
        raise TokenRefused(Reason.TOKEN_TYPE, f"typ {kind!r:.80}")


def check_audience(claims: Mapping[str, Any], audience: Collection[str]) -> None:
    """`aud` names us, alone or among others."""
    stated = claims.get("aud")
    names = [stated] if isinstance(stated, str) else stated
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TokenRefused(Reason.TOKEN_AUDIENCE, "aud is missing or not a name")
    if not set(names) & set(audience):
        raise TokenRefused(Reason.TOKEN_AUDIENCE, f"aud {names!r:.120}")


def validity(claims: Mapping[str, Any], leeway: int) -> tuple[int, int]:
    """From when until when (excluded) the token holds, in wall ns, with `leeway` seconds on both sides.

    `exp` is required: a token that never ends cannot be waited out. A token from the future (`iat`) is
    not valid yet either.
    """
    if "exp" not in claims:
        raise TokenRefused(Reason.TOKEN_CLAIMS, "exp is missing")
    expires = _numeric_date(claims, "exp")
    starts = max((_numeric_date(claims, name) for name in ("nbf", "iat") if name in claims), default=leeway * SECOND)
    return max(0, starts - leeway * SECOND), expires + leeway * SECOND


def issued(claims: Mapping[str, Any]) -> int:
    """`iat` in whole seconds, or 0 when there is none."""
    return _numeric_date(claims, "iat") // SECOND if "iat" in claims else 0


def subject(claims: Mapping[str, Any]) -> str:
    """`sub`, which names the principal."""
    name = claims.get("sub")
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME:
        raise TokenRefused(Reason.TOKEN_CLAIMS, "sub is missing, or not a name")
    return name


def token_id(claims: Mapping[str, Any]) -> str:
    """`jti`, or "" when there is none."""
    return _text(claims, "jti")


def client(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Whom the token was given to: `client_id` (RFC 9068 section 2.2), `azp` (OpenID Connect), both if they differ."""
    return tuple(dict.fromkeys(name for name in (_text(claims, "client_id"), _text(claims, "azp")) if name))


def session(claims: Mapping[str, Any]) -> str:
    """`sid`, which names the sign-in (OpenID Connect Front-Channel Logout section 3), or "" when there is none."""
    return _text(claims, "sid")


def family(claims: Mapping[str, Any]) -> str:
    """`fid`, which names a refresh token and its successors where the token is our own issuer's."""
    name = claims.get("fid", "")
    return name if isinstance(name, str) else ""


def hangs_on(claims: Mapping[str, Any]) -> list[bytes]:
    """`hangs_on`, a claim of our own issuer: the handles of the credentials that a token was exchanged for."""
    stated = claims.get("hangs_on", [])
    if not isinstance(stated, list):
        raise TokenRefused(Reason.TOKEN_CLAIMS, "hangs_on is not a list")
    try:
        found = [decode_base64url(name.encode("ascii")) for name in stated]
    except (AttributeError, UnicodeEncodeError, Malformed):
        raise TokenRefused(Reason.TOKEN_CLAIMS, "hangs_on names what is no handle") from None
    if any(len(handle) != 32 for handle in found):
        raise TokenRefused(Reason.TOKEN_CLAIMS, "hangs_on names what is no handle")
    return found


def auth_time(claims: Mapping[str, Any]) -> int:
    """When somebody signed in (`auth_time`), in whole seconds; 0 if it does not say so in good form."""
    try:
        return _numeric_date(claims, "auth_time") // SECOND if "auth_time" in claims else 0
    except TokenRefused:
        return 0


def acr(claims: Mapping[str, Any], *, own: bool) -> str:
    """How strongly they did (`acr`). Our own words for it never come from outside."""
    value = claims.get("acr", "")
    return value if isinstance(value, str) and (own or not value.startswith(OWN_WORDS)) else ""


def amr(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """By what they did (`amr`, RFC 8176)."""
    stated = claims.get("amr")
    return tuple(name for name in stated if isinstance(name, str)) if isinstance(stated, list) else ()


def scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope` (RFC 8693 section 4.2), or the `scp` that some issuers use instead."""
    stated = claims.get("scope", claims.get("scp"))
    if isinstance(stated, str):
        return frozenset(stated.split())
    if isinstance(stated, list):
        return frozenset(name for name in stated if isinstance(name, str))
    return frozenset()


def _numeric_date(claims: Mapping[str, Any], name: str) -> int:
    """Seconds since the epoch, perhaps with a fraction, as wall ns."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(Reason.TOKEN_CLAIMS, f"{name} is not a date")
    if not 0 <= value <= LATEST:  # nor is anything infinite, or not a number
        raise TokenRefused(Reason.TOKEN_CLAIMS, f"{name} is out of range")
    return value * SECOND if isinstance(value, int) else int(value * SECOND)


def _text(claims: Mapping[str, Any], name: str) -> str:
    """A claim under which a token can be revoked; one that cannot be named could not be."""
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise TokenRefused(Reason.TOKEN_CLAIMS, f"{name} is not a string")
    return value


def _media_type(name: str) -> str:
    """RFC 7515 section 4.1.9: case does not count, and `application/` may be left out."""
    return name.lower().removeprefix("application/")
