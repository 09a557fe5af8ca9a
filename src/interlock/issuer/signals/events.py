"""What signals say, and of whom: event types of CAEP 1.0 and SSF 1.0, subject identifiers of RFC 9493.

A subject is simple (`iss_sub`, `opaque`, ...) or complex: several simple ones, by what each is of (SSF section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"

SESSION_REVOKED: Final = CAEP + "session-revoked"
CREDENTIAL_CHANGE: Final = CAEP + "credential-change"
DEVICE_COMPLIANCE_CHANGE: Final = CAEP + "device-compliance-change"
VERIFICATION: Final = SSF + "verification"
STREAM_UPDATED: Final = SSF + "stream-updated"
SUPPORTED: Final = (SESSION_REVOKED, CREDENTIAL_CHANGE, DEVICE_COMPLIANCE_CHANGE)

INITIATORS: Final = ("admin", "user", "policy", "system")
COMPLIANT, NOT_COMPLIANT = "compliant", "not-compliant"
CHANGES: Final = ("create", "revoke", "update", "delete")  # `change_type`

LARGEST: Final = 4096  # bytes of a subject as JSON
# What a simple subject stands for where it meets a complex one.
_MEMBER: Final = {
    "iss_sub": "user",
    "email": "user",
    "account": "user",
    "phone_number": "user",
    "opaque": "session",
    "jwt_id": "session",
}

Subject = Mapping[str, Any]


def iss_sub(issuer: str, subject: str) -> dict[str, Any]:
    """RFC 9493 section 3.2.3."""
    return {"format": "iss_sub", "iss": issuer, "sub": subject}


def opaque(identifier: str) -> dict[str, Any]:
    """RFC 9493 section 3.2.4."""
    return {"format": "opaque", "id": identifier}


def jwt_id(issuer: str, token_id: str) -> dict[str, Any]:
    """SSF section 3.4.1."""
    return {"format": "jwt_id", "iss": issuer, "jti": token_id}


def complex_subject(**members: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of the members that are not None (SSF section 3.2); at least one is there."""
    kept = {name: dict(member) for name, member in members.items() if member is not None}
    if not kept:
        raise ValueError("a complex subject has a member")
    return {"format": "complex", **kept}


def read_subject(value: Any) -> dict[str, Any]:
    """A subject as somebody else writes it; `ValueError` says what is wrong. Formats that nobody knows are taken."""
    if not isinstance(value, dict):
        raise ValueError("a subject is an object")  # noqa: TRY004 - what is read is wrong, not how it is called
    if len(msgspec.json.encode(value)) > LARGEST:
        raise ValueError(f"a subject has at most {LARGEST} bytes")
    form = value.get("format")
    if not isinstance(form, str) or not form:
        raise ValueError("a subject has a `format`")
    if form == "complex":
        members = {name: member for name, member in value.items() if name != "format"}
        if not members:
            raise ValueError("a complex subject has a member")
        for member in members.values():
            if read_subject(member)["format"] == "complex":
                raise ValueError("the members of a complex subject are simple")
    elif form == "aliases":
        identifiers = value.get("identifiers")
        if not isinstance(identifiers, list) or not identifiers:
            raise ValueError("aliases have `identifiers`")
        for one in identifiers:
            if read_subject(one)["format"] in ("aliases", "complex"):
                raise ValueError("aliases are of simple subjects")
    else:
        for name in {"iss_sub": ("iss", "sub"), "opaque": ("id",), "jwt_id": ("iss", "jti"), "email": ("email",)}.get(
            form, ()
        ):
            if not isinstance(value.get(name), str) or not value[name]:
                raise ValueError(f"a subject of format {form} has `{name}`")
    return value


def canonical(subject: Subject) -> bytes:
    """One spelling of a subject, to find it again."""
    return msgspec.json.encode(subject, order="deterministic")


def matches(wanted: Subject, subject: Subject) -> bool:
    """SSF section 8.1.3.1: simple ones when they are identical, complex ones when no member they share differs."""
    one, other = _members(wanted), _members(subject)
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def covers(removed: Subject, subject: Subject) -> bool:
    """Whether a subject is wholly of what a receiver wants to hear nothing of.

    What it leaves open does not count as equal here, unlike in `matches`: who is tired of one person still has to hear
    of what concerns everybody.
    """
    one, other = _members(removed), _members(subject)
    return bool(one) and all(other.get(name) == member for name, member in one.items())


def wanted(subject: Subject, added: Iterable[Subject], removed: Iterable[Subject], *, everybody: bool) -> bool:
    """Whether a stream tells of it; `everybody`: it does unless it was told not to."""
    if everybody:
        return not any(covers(one, subject) for one in removed)
    return any(matches(one, subject) for one in added)


def _members(subject: Subject) -> dict[str, Any]:
    if subject.get("format") == "complex":
        return {name: member for name, member in subject.items() if name != "format"}
    return {_MEMBER.get(str(subject.get("format")), "itself"): dict(subject)}
