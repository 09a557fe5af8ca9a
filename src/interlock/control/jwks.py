"""Keeps the keys of outside issuers fresh, in the background and when a worker asks.

Workers verify with what the snapshot holds; fetching is never on the path of a call. When keys change, a
new snapshot is made at once; when they do not, only often enough that they never look stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.clock import SECOND, Clock
from interlock.control.compile import source_of
from interlock.control.issuers import Known, KnownKeys
from interlock.control.log import Log
from interlock.control.status import rfc3339

if TYPE_CHECKING:
    from interlock.config import Config, Issuer
    from interlock.identity.jwks_fetch import JwksSource

EVERY = 300 * SECOND  # between two fetches in the background
RETRY = 5 * SECOND


class IssuerWatch:
    """The issuers of the running configuration whose keys come from a URL. `changed` makes a new snapshot."""

    def __init__(self, known: KnownKeys, changed: Callable[[], Awaitable[None]], clock: Clock, log: Log) -> None:
        self._known = known
        self._changed = changed
        self._clock = clock
        self._log = log
        self._tasks: dict[str, tuple[Issuer, JwksSource, asyncio.Task[None]]] = {}
        self.fetches = 0
        self.failures = 0
        self._problems: dict[str, str] = {}
        self._published: dict[str, Known] = {}  # what a snapshot was made of by us; a restart knows of none
        self._publishing = asyncio.Lock()
        self._asked: set[asyncio.Task[bool]] = set()

    def configure(self, config: Config) -> None:
        """Watch the issuers of `config`, and no others."""
        wanted = {one.issuer: one for one in config.identity.issuers if not isinstance(one.jwks, Path)}
        for name, (issuer, _, task) in list(self._tasks.items()):
            if wanted.get(name) != issuer:
                task.cancel()
                del self._tasks[name]
                self._problems.pop(name, None)
                self._published.pop(name, None)
        for name, issuer in wanted.items():
            if name not in self._tasks:
                from interlock.identity.jwks_fetch import JwksSource  # and an HTTP client with it

                source = JwksSource(name, self._clock, url=str(issuer.jwks or ""))
                task = asyncio.get_running_loop().create_task(self._watch(issuer, source))
                self._tasks[name] = (issuer, source, task)

    def refresh(self, issuer: str) -> None:
        """A worker met a key that nobody knows. The source itself sees to it that this cannot become a flood."""
        watched = self._tasks.get(issuer)
        if watched is not None and len(self._asked) < 64:
            task = asyncio.get_running_loop().create_task(self._quietly(watched[0], watched[1]))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    def status(self) -> list[dict[str, Any]]:
        """How each issuer is doing."""
        found = []
        for name, (issuer, _, _) in self._tasks.items():
            known = self._known.get(name, source_of(issuer))
            age = self._clock.wall() - known.fetched_ns if known is not None else None
            found.append(
                {
                    "issuer": name,
                    "age_seconds": round(age / SECOND, 3) if age is not None else None,
                    "fetched": rfc3339(known.fetched_ns) if known is not None else None,
                    "usable": age is not None and age <= issuer.max_stale,
                    "problem": self._problems.get(name),
                }
            )
        return found

    async def close(self) -> None:
        tasks: list[asyncio.Task[Any]] = [task for _, _, task in self._tasks.values()]
        tasks += self._asked
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, issuer: Issuer, source: JwksSource) -> None:
        while True:
            worked = await self._quietly(issuer, source)
            pause = min(EVERY, issuer.max_stale // 4) if worked else RETRY
            await asyncio.sleep(pause / SECOND)

    async def _quietly(self, issuer: Issuer, source: JwksSource) -> bool:
        self.fetches += 1
        worked = await self._try(issuer, source)
        self.failures += not worked
        return worked

    async def _try(self, issuer: Issuer, source: JwksSource) -> bool:
        from interlock.identity.jwks_fetch import JwksUnavailable

        try:
            await self._fetch(issuer, source)
        except JwksUnavailable as problem:
            if self._problems.get(issuer.issuer) is None:
                self._log.warning("the keys of an issuer cannot be fetched", issuer=issuer.issuer, problem=str(problem))
            self._problems[issuer.issuer] = str(problem)
            return False
        except Exception as problem:  # the watch goes on: the last known keys serve until they are stale
            self._log.error("watching an issuer failed", issuer=issuer.issuer, problem=repr(problem))
            self._problems[issuer.issuer] = repr(problem)
            return False
        if self._problems.pop(issuer.issuer, None) is not None:
            self._log.info("the keys of an issuer can be fetched again", issuer=issuer.issuer)
        return True

    async def _fetch(self, issuer: Issuer, source: JwksSource) -> None:
        jwks = await source.fetch()
        async with self._publishing:
            now, place = self._clock.wall(), source_of(issuer)
            # Compared with what was published, not with what was kept: if making the snapshot failed after
            # the keys were kept, workers still trust the old ones, and it is made again at the next try.
            before = self._published.get(issuer.issuer)
            same = before is not None and (before.jwks, before.source) == (jwks, place)
            if same and before is not None and now - before.fetched_ns < issuer.max_stale // 4:
                return
            known = Known(issuer.issuer, jwks, now, place)
            await asyncio.to_thread(self._known.put, known)
            await self._changed()
            self._published[issuer.issuer] = known
