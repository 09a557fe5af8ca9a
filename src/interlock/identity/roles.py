"""Roles: what they grant, and how outside names become ours.

Outside roles count only through a map, and `interlock:*` roles never come from outside, whatever a map says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

RESERVED = "interlock:"


class RoleTable:
    """Role -> permissions, as the file says; immutable."""

    def __init__(self, roles: Mapping[str, Collection[str]]) -> None:
        self._roles = {name: frozenset(permissions) for name, permissions in roles.items()}
        self._granted: dict[frozenset[str], frozenset[str]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RoleTable) and self._roles == other._roles

    __hash__ = None  # type: ignore[assignment]  # compared by value, never a key

    def permissions(self, roles: frozenset[str]) -> frozenset[str]:
        """What these roles grant together; a role the file does not know grants nothing."""
        granted = self._granted.get(roles)
        if granted is None:
            granted = frozenset().union(*(self._roles.get(role, frozenset()) for role in roles))
            if len(self._granted) >= 1024:
                self._granted.clear()
            self._granted[roles] = granted
        return granted


def mapped_roles(names: Iterable[str], mapping: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Our roles for outside names."""
    return frozenset(role for name in names for role in mapping.get(name, ()) if not role.startswith(RESERVED))


def named_in(claims: Mapping[str, Any], path: str) -> list[str]:
    """The strings of a claim: a string or a list of strings, of that name or along a dotted path."""
    value: Any = claims.get(path)
    if value is None and "." in path:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [name for name in value if isinstance(name, str)]
    return []
