"""Identities and facts for tests."""

from __future__ import annotations

from typing import Any

from interlock.clock import SECOND
from interlock.model import Identity, Principal
from interlock.policy import CallFacts
from interlock.snapshot import RouteSpec

NINE_ON_TUESDAY = 1_699_952_400 * SECOND  # 2023-11-14T09:00:00Z


def caller(**members: Any) -> Identity:
    principal = members.pop("principal", Principal("user", "login.example.com", "alice"))
    return Identity(
        **{
            "principal": principal,
            "text": str(principal),
            "methods": ("jwt",),
            "roles": frozenset({"teller"}),
            "permissions": frozenset({"accounts:read"}),
            "scopes": frozenset({"ledger"}),
            "claims": {"department": "north", "level": 3, "groups": ["a", "b"]},
            **members,
        }
    )


def facts(**members: Any) -> CallFacts:
    return CallFacts(
        **{
            "method": "GET",
            "path": "/accounts/7",
            "host": "api.example.com",
            "source": "192.0.2.7",
            "params": {"account_id": "7"},
            "now_ns": NINE_ON_TUESDAY,
            **members,
        }
    )


def route(**members: Any) -> RouteSpec:
    return RouteSpec(**{"id": "GET /accounts/{account_id}", "patterns": [], "service": "ledger", **members})
