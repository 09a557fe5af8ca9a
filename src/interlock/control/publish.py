"""Brings what changed to the workers: the change log, the epoch, and waiting until each has taken it up."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.control.paths import Paths
from interlock.snapshot import Change, ChangeLog, NodePage, announce


class Publisher:
    """Of a running node; without a page there is nobody to tell, and the next snapshot holds it all."""

    def __init__(self, paths: Paths, page: NodePage | None) -> None:
        self._run = paths.run
        self._page = page
        self._log = ChangeLog(paths.changes, page)

    def publish(self, changes: Sequence[Change]) -> list[int]:
        """Return when every live worker acts on the changes; gives the process ids of those killed for not doing so."""
        if self._page is None:
            return []
        self._log.append(changes)
        return [killed.pid for killed in announce(self._run, self._page)]
