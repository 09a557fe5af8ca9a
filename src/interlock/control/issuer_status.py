"""How the authorization server is doing: what control writes to `run/issuer.json`, and whoever is asked reads."""

from __future__ import annotations

import msgspec

from interlock.snapshot.report import Report


class SigningKey(msgspec.Struct, frozen=True):
    """One of the keys that are published, in the order in which they sign."""

    kid: str
    algorithm: str
    state: str  # "signs", "next", "former"
    begins_ns: int  # when it signs, wall ns


class IssuerStatus(msgspec.Struct, frozen=True):
    """All of it."""

    url: str
    serving: bool
    problem: str = ""  # what keeps it from serving, or its keys from being replaced in time
    clients: int = 0  # that may do anything
    keys: list[SigningKey] = []


ISSUER_REPORT = Report("issuer.json", IssuerStatus)
