"""Least privilege: what of a role's permissions recorded calls made use of, and the role without the rest. Pure.

A call that passed used the permission that its route asks for. Whose roles it was by, the record does not
say; it is worked out from what grants roles today:

    an API key              the roles it has                                    certain
    a client certificate    the roles that its bundle gives the name in it      certain
    a token                 any role that its issuer's map can lead to          possible

A possible use counts as a use: advice MUST NOT take away what somebody needs. What cannot be known from
calls (a yearly job that did not run in the period) is for the reader of the advice to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interlock.config import Config, Route

Row = Mapping[str, Any]


@dataclass
class Use:
    """Calls on one route that asks for one permission."""

    route: str
    permission: str
    calls: int = 0
    last: str = ""  # RFC 3339
    principals: set[str] = field(default_factory=set)
    possible: bool = True  # nobody is certain to have had the role
    elsewhere: set[str] = field(default_factory=set)  # other roles of those callers that grant it too

    def count(self, row: Row, certain: bool, others: Iterable[str]) -> None:
        self.calls += 1
        self.last = max(self.last, row["time"])
        self.principals.add(row["principal"])
        self.possible = self.possible and not certain
        self.elsewhere.update(others)


@dataclass
class Advice:
    """What became of one role's permissions."""

    role: str
    granted: tuple[str, ...]
    kept: tuple[str, ...]
    unused: dict[str, tuple[str, ...]]  # permission to the routes that ask for it
    uses: list[Use]
    refused: list[Use]  # what callers with the role were refused for want of a permission
    calls: int  # by callers with the role, or possibly with it
    would_be_denied: int  # of those, had the role been `kept`
    since: str  # of the oldest call that was looked at; empty: there was none

    def snippet(self) -> str:
        """The role as it could stand in the file."""
        return f"roles:\n  {_yaml(self.role)}: [{', '.join(map(_yaml, self.kept))}]\n"


class Holders:
    """Which roles a caller had, as far as today's keys and file tell."""

    def __init__(self, config: Config, keys: Iterable[Mapping[str, Any]]) -> None:
        """`keys` as `key list` has them."""
        self._keys = {key["id"]: frozenset(key["roles"]) for key in keys}
        self._bundles = {}
        for name, trust in config.trust.items():
            by_name = {f"service:{name}/{subject}": frozenset(roles) for subject, roles in trust.roles.items()}
            for subject, principal in trust.principals.items():
                by_name[principal] = frozenset(trust.roles.get(subject, ()))
            self._bundles[name] = by_name
        self._issuers: dict[str, frozenset[str]] = {}
        for issuer in config.identity.issuers:
            mapped = issuer.roles.map.values() if issuer.roles is not None else ()
            self._issuers[issuer.authority] = frozenset(role for roles in mapped for role in roles)

    def of(self, row: Row) -> tuple[frozenset[str], frozenset[str]]:
        """The roles that the caller certainly had, and those that they possibly had."""
        certain: frozenset[str] = frozenset()
        possible: frozenset[str] = frozenset()
        principal, methods = row["principal"], row["methods"]
        if "api_key" in methods:
            certain |= self._keys.get(row["credential"], frozenset())
        if "mtls" in methods:
            for by_name in self._bundles.values():
                certain |= by_name.get(principal, frozenset())
        if "jwt" in methods:
            authority = principal.partition(":")[2].partition("/")[0]
            possible |= self._issuers.get(authority, frozenset())
        return certain, possible - certain


class Adviser:
    """Takes calls one by one, as queries give them, and keeps only what counts."""

    def __init__(self, config: Config, role: str, keys: Iterable[Mapping[str, Any]]) -> None:
        """`keys` as `key list` has them; `role` is one of the file."""
        self._config = config
        self._role = role
        self._granted = tuple(dict.fromkeys(config.roles[role]))
        self._permissions = {route.id: route.allow.permission for route in config.routes}
        self._holders = Holders(config, keys)
        self._uses: dict[str, Use] = {}
        self._refused: dict[str, Use] = {}
        self._counted: dict[tuple[str, frozenset[str]], int] = {}  # by permission, and who else grants it
        self._calls = 0
        self._since = ""

    def add(self, row: Row) -> None:
        self._since = min(self._since or row["time"], row["time"])
        certain, possible = self._holders.of(row)
        if self._role not in certain and self._role not in possible:
            return
        self._calls += 1
        route = row["route"]
        permission = self._permissions.get(route, "")
        roles = self._config.roles
        others = frozenset(role for role in certain - {self._role} if permission in roles.get(role, ()))
        if row["decision"] == "allow" and permission in self._granted:
            self._uses.setdefault(route, Use(route, permission)).count(row, self._role in certain, others)
            self._counted[permission, others] = self._counted.get((permission, others), 0) + 1
        elif permission and row.get("reason") == "permission-missing":
            self._refused.setdefault(route, Use(route, permission)).count(row, self._role in certain, others)

    def advice(self) -> Advice:
        used = {use.permission for use in self._uses.values()}
        kept = tuple(permission for permission in self._granted if permission in used)
        return Advice(
            self._role,
            self._granted,
            kept,
            {one: _asking(self._config.routes, one) for one in self._granted if one not in used},
            sorted(self._uses.values(), key=lambda use: (use.permission, use.route)),
            sorted(self._refused.values(), key=lambda use: (use.permission, use.route)),
            self._calls,
            sum(
                count for (permission, others), count in self._counted.items() if permission not in kept and not others
            ),
            self._since,
        )


def advise(config: Config, role: str, rows: Iterable[Row], keys: Iterable[Mapping[str, Any]]) -> Advice:
    """What all of `rows` amount to."""
    adviser = Adviser(config, role, keys)
    for row in rows:
        adviser.add(row)
    return adviser.advice()


def _asking(routes: Iterable[Route], permission: str) -> tuple[str, ...]:
    return tuple(route.id for route in routes if route.allow.permission == permission)


def _yaml(text: str) -> str:
    """A name as it stands in YAML: in quotes where it could be read as something else."""
    plain = text[0].isalpha() and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off")
    return text if plain and not text.endswith(":") else f'"{text}"'
