"""A route, compiled: what a call that matched it needs, ready to be called.

Made on the first call that matches, off nobody's path but its own, and reused over snapshots as long as
nothing it was made from has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from interlock.gateway.paths import Target
from interlock.gateway.upstream import Pool
from interlock.identity import Authenticate
from interlock.limits import Limit
from interlock.policy import Allow
from interlock.snapshot import RouteSpec, ServiceSpec


class Route:
    """Callables in the order of the call's life; immutable after construction."""

    __slots__ = (
        "allow",
        "authenticate",
        "body_limit",
        "conditional",
        "cors",
        "durable",
        "forward_credentials",
        "id",
        "limit",
        "pool",
        "preflight_limit",
        "service",
        "spec",
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
        allow: Allow,
        conditional: bool,
        limit: Limit | None,
        preflight_limit: Limit | None,
    ) -> None:
        self.spec = spec
        self.id = spec.id
        self.service = spec.service
        self.authenticate = authenticate
        self.vouched = vouched
        self.allow = allow
        self.conditional = conditional  # whether `allow` wants to know the call
        self.cors = spec.cors
        self.limit = limit
        self.preflight_limit = preflight_limit  # of nobody known, hence per address
        self.pool = pool
        self.body_limit = spec.body_limit
        self.timeout = spec.timeout_ns / 1e9
        self.durable = spec.durable
        self.forward_credentials = service.forward_credentials


class Matched:
    """A route found for one (method, host, target), kept so that it is not looked for again."""

    __slots__ = ("params", "preflight", "route", "target")

    def __init__(self, route: Route, target: Target, params: Mapping[str, str], preflight: bool = False) -> None:
        self.route = route
        self.target = target
        self.params = params
        self.preflight = preflight
