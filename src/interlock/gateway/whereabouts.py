"""From where a token is used, against where this node first saw it: a signal on the record, for whoever reads it.

The network is an IPv4 /24 or an IPv6 /64, since addresses within one change by themselves. The TLS fingerprint tells
one program from another: the same after an update it is not, so it never refuses anybody, and a route may refuse for
the network alone. What is remembered here is what was told last, so that a call from the usual place costs a lookup.
"""

from __future__ import annotations

from interlock.clock import SECOND
from interlock.model import Identity
from interlock.snapshot.sightings import Sighting, SightingTable

KNOWN = 16_384  # tokens remembered
LASTS = 3600 * SECOND  # until the table is told of a token again: it forgets those that are seen no more
TOLD = 16  # places of one token that are put on the record by one worker

SAME = Sighting(False, False)


class Whereabouts:
    """One worker's view of the node's table."""

    def __init__(self, table: SightingTable) -> None:
        self._table = table
        self._known: dict[bytes, tuple[bytes, bytes, int, Sighting]] = {}
        self._told: dict[bytes, set[tuple[bytes, bytes]]] = {}

    def look(
        self, identity: Identity, network: bytes, program: bytes, now: int, monotonic: int, asked: bool
    ) -> tuple[Sighting, bool]:
        """How a token's place compares, and whether that is news.

        `network`: of `peer.network_of`; `now` in wall ns; `asked`: whether the route refuses one that moved.
        """
        token = identity.handles[0]
        known = self._known.get(token)
        if known is not None and known[0] == network and known[1] == program and monotonic < known[2]:
            return known[3], False
        until = monotonic + max(0, identity.expires - now)
        sighting = self._table.see(
            token, identity.limit_key, _around(network), program, asked=asked, until=until, now=monotonic
        )
        if len(self._known) >= KNOWN:
            self._known.clear()
            self._told.clear()
        if sighting.known:
            self._known[token] = (network, program, monotonic + LASTS, sighting)
        return sighting, (sighting.moved or sighting.changed) and self._is_news(token, _around(network), program)

    def _is_news(self, token: bytes, network: bytes, program: bytes) -> bool:
        """Once for each place, and for so many places only: a token in many hands does not fill the record."""
        told = self._told.setdefault(token, set())
        if (network, program) in told or len(told) >= TOLD:
            return False
        told.add((network, program))
        return True


def _around(network: bytes) -> bytes:
    """The /24 of an IPv4 address; what an IPv6 address comes as is its /64 already."""
    return network[:3] if len(network) == 4 else network
