"""A route, compiled: what a call that matched it needs, ready to be called.

Made on the first call that matches, off nobody's path but its own, and reused over snapshots as long as
nothing it was made from has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from interlock.gateway.paths import Target
from interlock.gateway.upstream import Pool
from interlock.identity import Authenticate, Strength
from interlock.limits import Limit
from interlock.policy import Allow
from interlock.snapshot import CorsSpec, RouteSpec, ServiceSpec
from interlock.snapshot.spec import ISSUER_SERVICE


class Route:
    """Callables in the order of the call's life; immutable after construction."""

    __slots__ = (
        "allow",
        "asks_params",
        "authenticate",
        "body_limit",
        "conditional",
        "cors",
        "durable",
        "forward_credentials",
        "id",
        "limit",
        "own",
        "pool",
        "preflight_limit",
        "same_network",
        "service",
        "strength",
        "subjects",
        "timeout",
        "vouched",
    )

    def __init__(
        self,
        spec: RouteSpec,
        service: ServiceSpec,
        *,
        pool: Pool,
        authenticate: Authenticate | None,
        vouched: Callable[[bytes], bool] | None,
        strength: Strength | None,
        allow: Allow,
        conditional: bool,
        cors: CorsSpec | None,
        limit: Limit | None,
        preflight_limit: Limit | None,
    ) -> None:
        self.id = spec.id
        self.service = service.name
        self.own = spec.service == ISSUER_SERVICE  # a part of the node itself, which is told who is connected
        self.authenticate = authenticate
        self.vouched = vouched
        self.strength = strength  # what it asks of the sign-in behind a call
        self.same_network = spec.strength is not None and spec.strength.same_network
        self.allow = allow
        self.conditional = conditional  # whether `allow` wants to know the call
        self.cors = cors
        self.limit = limit
        self.preflight_limit = preflight_limit  # of nobody known, hence per address
        self.pool = pool
        self.body_limit = spec.body_limit
        self.timeout = spec.timeout_ns / 1e9
        self.durable = spec.durable
        self.forward_credentials = service.forward_credentials
        self.subjects = _places(spec)  # none: no path identifies anybody
        self.asks_params = conditional or bool(self.subjects)  # and for the segments of a path

    def identifying(self, segments: tuple[str, ...], params: Mapping[str, str]) -> dict[int, str]:
        """Which segments of a path that matched identify somebody, and as what: number to kind.

        Where a value is repeated further on, it identifies there as well.
        """
        names = tuple(params)
        for places in self.subjects:
            if (
                places.names == names
                and places.size <= len(segments)
                and all(segments[at] == text for at, text in places.literals)
            ):
                found = dict(places.kinds)
                values = {segments[at]: kind for at, kind in found.items()}
                for number, segment in enumerate(segments):
                    if number not in found and segment in values:
                        found[number] = values[segment]
                return found
        return {}


class Places:
    """Where one pattern of a route identifies somebody."""

    __slots__ = ("kinds", "literals", "names", "size")

    def __init__(
        self, size: int, names: tuple[str, ...], literals: list[tuple[int, str]], kinds: dict[int, str]
    ) -> None:
        self.size = size  # segments
        self.names = names  # of its parameters, in their order
        self.literals = literals  # segment number, text
        self.kinds = kinds  # segment number to kind


def _places(spec: RouteSpec) -> tuple[Places, ...]:
    kinds = {param: kind for kind, param in spec.subject.items()}
    found = []
    for pattern in spec.patterns:
        params = [(at, text[1:-1]) for at, text in enumerate(pattern.segments) if text.startswith("{")]
        where = {at: kinds[name] for at, name in params if name in kinds}
        if where:
            literals = [(at, text) for at, text in enumerate(pattern.segments) if not text.startswith("{")]
            found.append(Places(len(pattern.segments), tuple(name for _, name in params), literals, where))
    return tuple(found)


class Matched:
    """A route found for one (method, host, target), kept so that it is not looked for again."""

    __slots__ = ("params", "preflight", "route", "target")

    def __init__(self, route: Route, target: Target, params: Mapping[str, str], preflight: bool = False) -> None:
        self.route = route
        self.target = target
        self.params = params
        self.preflight = preflight
