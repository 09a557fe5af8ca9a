"""Carries logout tokens to clients (OpenID Connect Back-Channel Logout 1.0 section 2.5), beside everything else.

A client that does not answer is tried a few times and then left: its own session ends by itself, and ours has ended
long since. Nothing of an answer is read but its status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from interlock.control.log import Log
from interlock.issuer.backchannel import Farewell

if TYPE_CHECKING:
    import httpx

TRIES = (0.0, 1.0, 10.0, 60.0)  # seconds before each
PATIENCE = 5.0
WAITING = 1000  # at a time; more are dropped and said


class Farewells:
    """For the event loop of the control process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def send(self, farewells: Iterable[Farewell]) -> None:
        for farewell in farewells:
            if len(self._tasks) >= WAITING:
                self._log.error(
                    "a client was not told that somebody signed out", client=farewell.client_id, why="too many"
                )
                continue
            task = asyncio.get_running_loop().create_task(self._send(farewell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, farewell: Farewell) -> None:
        import httpx

        why = ""
        for pause in TRIES:
            await asyncio.sleep(pause)
            try:
                status = await self._post(farewell)
            except httpx.HTTPError as problem:
                why = type(problem).__name__
                continue
            if status in (200, 204):
                return
            why = f"status {status}"
            if status == 400:  # it has read the token and does not take it (section 2.8)
                break
        self._log.warning("a client was not told that somebody signed out", client=farewell.client_id, why=why)

    async def _post(self, farewell: Farewell) -> int:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=PATIENCE, follow_redirects=False, trust_env=False)
        form = {"logout_token": farewell.logout_token}
        async with self._client.stream("POST", farewell.uri, data=form) as answer:
            return answer.status_code
