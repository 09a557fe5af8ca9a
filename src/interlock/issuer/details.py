"""Rich authorization requests (RFC 9396): `authorization_details` are what the file says they may be.

A type is asked for by a client that is registered for it, with the fields that the file has for it and no others; what
is not known is refused, never passed on (section 5). What was allowed once is only ever narrowed: whole objects are
left out, none is altered, since nobody but the API knows what a part of one means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from interlock.config.details import DetailField
from interlock.issuer.errors import OAuthError
from interlock.jose import Malformed, decode_json_object
from interlock.store.clients import Client

if TYPE_CHECKING:
    from interlock.issuer.service import Issuer

Details = tuple[dict[str, Any], ...]

MOST: Final = 16  # objects
LONGEST: Final = 8192  # bytes of all of them; a token carries them
TEXT: Final = 1024  # characters of a text
LIST: Final = 64  # of a list
LOCATIONS: Final = "locations"  # the APIs that they are for (section 2.2)

_encode = msgspec.json.Encoder(order="deterministic").encode


def validate(issuer: Issuer, client: Client, text: str | None) -> Details:
    """What a request asks for by its parameter `authorization_details`; empty for None.

    Raises `OAuthError` (invalid_authorization_details, section 5).
    """
    if text is None:
        return ()
    try:
        # Read as a member of an object, so that it is read as strictly as every JSON of a stranger's.
        wrapped = decode_json_object(b'{"details":' + text.encode("utf-8", "surrogatepass") + b"}")
    except Malformed as problem:
        raise _refused(f"it cannot be read: {problem}") from None
    if wrapped.keys() != {"details"}:
        raise _refused("it cannot be read: not JSON")
    return validate_value(issuer, client, wrapped["details"])


def validate_value(issuer: Issuer, client: Client, value: Any) -> Details:
    """The same of what was JSON already, as in a request object (RFC 9101)."""
    if not isinstance(value, list) or not value:
        raise _refused("it is a list of objects")
    if len(value) > MOST or len(_encode(value)) > LONGEST:
        raise _refused(f"at most {MOST} objects of {LONGEST} bytes together are taken")
    for entry in value:
        _check(issuer, client, entry)
    return tuple(value)


def narrowed(issuer: Issuer, client: Client, text: str | None, allowed: Iterable[Mapping[str, Any]]) -> Details:
    """What is asked for of what was allowed before; nothing asked for: all of it that the client may ask for."""
    before = [dict(entry) for entry in allowed]
    if text is None:
        may = set(client.authorization_details_types) & set(issuer.settings.details)
        return tuple(entry for entry in before if entry.get("type") in may)
    wanted = validate(issuer, client, text)
    known = {_encode(entry) for entry in before}
    if any(_encode(entry) not in known for entry in wanted):
        raise _refused("more is asked for than was allowed")
    return wanted


def _check(issuer: Issuer, client: Client, entry: Any) -> None:
    kind = entry.get("type") if isinstance(entry, dict) else None
    if not isinstance(kind, str):
        raise _refused("each of them is an object with a `type`")
    known = issuer.settings.details.get(kind)
    if known is None or kind not in client.authorization_details_types:
        raise _refused(f"the client may not ask for the type {kind[:80]!r}")
    given = {name: value for name, value in entry.items() if name != "type"}
    _check_fields(known.fields, given, kind[:80])
    named = given.get(LOCATIONS, ())
    own = issuer.settings.audiences
    may = set(client.resources or own) & {*own, *issuer.settings.resources}
    if not set([named] if isinstance(named, str) else named) <= may:
        raise _refused(f"{kind[:80]}: `locations` names what the client may not ask for")


def _check_fields(fields: Mapping[str, DetailField], given: Mapping[str, Any], where: str) -> None:
    for name in given:
        if name not in fields:
            raise _refused(f"{where} has no field {name[:80]!r}")
    for name, field in fields.items():
        if name in given:
            _check_value(field, given[name], f"{where}.{name}")
        elif field.required:
            raise _refused(f"{where}.{name} is missing")


def _check_value(field: DetailField, value: Any, where: str) -> None:
    match field.kind:
        case "text":
            fits = _is_text(value, field.values)
        case "texts":
            fits = isinstance(value, list) and len(value) <= LIST and all(_is_text(one, field.values) for one in value)
        case "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            fits = isinstance(value, bool)
        case "object":
            fits = isinstance(value, dict)
    if not fits:
        raise _refused(f"{where} is not what it must be")
    if field.kind == "object":
        _check_fields(field.fields, value, where)


def _is_text(value: Any, values: tuple[str, ...]) -> bool:
    return isinstance(value, str) and len(value) <= TEXT and value.isprintable() and (not values or value in values)


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_authorization_details", why)
