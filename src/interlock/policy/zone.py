"""Zones: who may call a segment of the network, and what they must show.

`from` names trust bundles, which must have vouched for the caller's certificate on this call, or networks in
CIDR form; any one of them will do. `require` names methods, and all of them are needed. A principal's name
opens nothing: an API key may be made for any name, a bundle's word may not.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from interlock.addresses import Network, within
from interlock.model import Identity, Reason, Refusal
from interlock.policy.facts import CallFacts
from interlock.snapshot import ZoneSpec


def compile_zone(zone: ZoneSpec, *, public: bool) -> Callable[[Identity, CallFacts | None], Refusal | None]:
    """A check that gives a refusal or None.

    A public route has no identity to judge, which its `allow: public` says aloud: of its zone only the
    networks hold.
    """
    networks = zone_networks(zone)
    bundles = frozenset(source for source in zone.sources if _network(source) is None)
    required = frozenset() if public else frozenset(zone.require)
    anywhere = not zone.sources or (public and not networks)
    refusal = Refusal(Reason.ZONE_DENIED, (), f"zone {zone.name}")

    def check(identity: Identity, facts: CallFacts | None) -> Refusal | None:
        if not required.issubset(identity.methods):
            return refusal
        if anywhere:
            return None
        if not public and identity.trust in bundles:
            return None
        if networks and facts is not None and within(facts.source, networks):
            return None
        return refusal

    return check


def zone_networks(zone: ZoneSpec) -> tuple[Network, ...]:
    """The networks among a zone's sources."""
    return tuple(network for network in map(_network, zone.sources) if network is not None)


def _network(source: str) -> Network | None:
    try:
        return ip_network(source)
    except ValueError:
        return None
