"""Refusals in a flood are counted, not written one by one.

Each source (a network while the caller is anonymous, a principal once it is not) has a few records of
its own a second; what exceeds them becomes one counted record a second. So nobody can fill the record by
being refused, and nothing is hidden: the counts are on it. While the disk's reserve is in use, all that is
anonymous is one source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from interlock.addresses import NETWORK, block

OWN_RECORDS: Final = 10  # per source and second
ALL_RECORDS: Final = 500  # per worker and second
SOURCES: Final = 4096  # counted apart; the rest together as EVERYBODY
EVERYBODY: Final = "*"


class Flood:
    """What one source was refused beyond its own records, in the present second."""

    __slots__ = ("count", "reasons", "recorded", "since")

    def __init__(self, since: int) -> None:
        self.since = since  # wall ns
        self.recorded = 0
        self.count = 0
        self.reasons: dict[str, int] = {}


class Floods:
    """Pure; `sweep` is called once a second."""

    def __init__(self) -> None:
        self._sources: dict[str, Flood] = {}
        self._recorded = 0

    def own_record(self, source: str, reason: str, now: int, *, anonymous: bool, tight: bool) -> bool:
        """Whether this refusal is written by itself; if not, it has been counted.

        `source` is the caller's address if it is `anonymous`, else its principal. `tight`: the disk's reserve
        is in use, so every anonymous refusal is counted.
        """
        tight = tight and anonymous
        flood = self._of(EVERYBODY if tight else block(source, NETWORK) if anonymous else source, now)
        if not tight and flood.recorded < OWN_RECORDS and self._recorded < ALL_RECORDS:
            flood.recorded += 1
            self._recorded += 1
            return True
        flood.count += 1
        flood.reasons[reason] = flood.reasons.get(reason, 0) + 1
        return False

    def take_back(self, source: str, flood: Flood) -> None:
        """What a sweep gave could not be put on the record: it is counted on."""
        onto = self._of(source, flood.since)
        onto.since = min(onto.since, flood.since)
        onto.count += flood.count
        for reason, count in flood.reasons.items():
            onto.reasons[reason] = onto.reasons.get(reason, 0) + count

    def _of(self, source: str, now: int) -> Flood:
        flood = self._sources.get(source)
        if flood is None:
            if len(self._sources) >= SOURCES:
                source = EVERYBODY
                flood = self._sources.get(source)
            if flood is None:
                flood = self._sources[source] = Flood(now)
        return flood

    def sweep(self) -> Iterator[tuple[str, Flood]]:
        """What was counted since the last sweep, to be put on the record; counting begins anew."""
        sources, self._sources = self._sources, {}
        self._recorded = 0
        for source, flood in sources.items():
            if flood.count:
                yield source, flood
