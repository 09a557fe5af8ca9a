"""Whom another issuer speaks of, in our own terms. It speaks of its own subjects only, whatever it says.

What is found is what is to be refused: a session, a token, a client, all of the issuer's, or a principal under the
issuer's authority. Of a complex subject the narrowest member counts that can be told here; what makes it narrower and
cannot be told (a device, a tenant) is left out, so that too much is refused rather than too little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from interlock.issuer.signals.events import CREDENTIAL_CHANGE
from interlock.issuer.signals.sets import SetRefused


class Target(NamedTuple):
    """`kind`: session, token, client, user, device or issuer; `id`: its name with the issuer."""

    kind: str
    id: str


def targets(issuer: str, subject: Mapping[str, Any], event: str) -> list[Target]:
    """What an event about this subject is about; empty: nothing that is known here. `SetRefused` (access_denied)
    for a subject of somebody else's."""
    form = subject.get("format")
    if form == "complex":
        return _complex(issuer, subject, event)
    if form == "aliases":
        found = [target for one in subject["identifiers"] for target in targets(issuer, one, event)]
        return list(dict.fromkeys(found))
    return _simple(issuer, subject, event, "")


def persons(issuer: str, subject: Mapping[str, Any]) -> list[str]:
    """The `sub` of whom an event is about, or who it happened to, whatever narrower there is: for who signs in here
    as somebody of that issuer, and has no session there that could be told here."""
    members = subject.get("identifiers", []) if subject.get("format") == "aliases" else [subject.get("user", subject)]
    found = [one["sub"] for one in members if one.get("format") == "iss_sub" and one.get("iss") == issuer]
    return list(dict.fromkeys(found))


def _complex(issuer: str, subject: Mapping[str, Any], event: str) -> list[Target]:
    of = {
        name: _simple(issuer, member, event, name)
        for name, member in subject.items()
        if name in ("user", "session", "device", "application")
    }
    if event == CREDENTIAL_CHANGE and of.get("user"):
        return of["user"]
    for name in ("session", "user", "application", "device"):
        if of.get(name):
            return of[name]
    tenant = subject.get("tenant")
    whole = isinstance(tenant, dict) and tenant.get("format") == "uri" and tenant.get("uri") == issuer
    return [Target("issuer", issuer)] if whole else []


def _simple(issuer: str, subject: Mapping[str, Any], event: str, member: str) -> list[Target]:
    """`member`: of which complex subject's; empty: it stands alone."""
    match subject.get("format"):
        case "iss_sub":
            _own(issuer, subject["iss"])
            kind = {"device": "device", "application": "client", "session": "session"}.get(member, "user")
            return [Target(kind, subject["sub"])]
        case "email":
            return [Target("user", subject["email"])] if member in ("", "user") else []
        case "jwt_id":
            _own(issuer, subject["iss"])
            return [Target("token", subject["jti"])]
        case "opaque":
            return _opaque(subject["id"], event, member)
        case _:
            return []


def _opaque(identifier: str, event: str, member: str) -> list[Target]:
    """What it names is agreed between the parties: alone it may be a session or whoever has one, so it is both."""
    kinds = {"user": ["user"], "session": ["session"], "device": ["device"], "application": ["client"]}
    alone = ["user"] if event == CREDENTIAL_CHANGE else ["session", "user"]
    return [Target(kind, identifier) for kind in kinds.get(member, alone)]


def _own(issuer: str, stated: object) -> None:
    if stated != issuer:
        raise SetRefused("access_denied", "the subject is of another issuer", note=f"a subject of {stated!r:.120}")
