"""The threads of the control process, and what runs beside what.

All changes run in one thread, one after another. What must not wait for them has threads of its own: revoking, reading
for operators, and reading for who only reads, so that a slow one of those keeps no operator waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from interlock.control.operations import Lane
from interlock.errors import NodeError

READERS: Final = 2  # questions to the record at a time
FOLLOWERS: Final = 8  # who watch the record at a time
T = TypeVar("T")


class Lanes:
    """For the event loop. What has begun goes on though nobody waits for it any more."""

    def __init__(self) -> None:
        self._changes = ThreadPoolExecutor(1, "changes")
        self._revoking = ThreadPoolExecutor(1, "revoking")
        self._questions = ThreadPoolExecutor(READERS, "questions")
        self._shown = ThreadPoolExecutor(READERS, "shown")
        self._followers = ThreadPoolExecutor(FOLLOWERS, "followers")
        self._following = 0

    async def run(self, lane: Lane, work: Callable[[], T]) -> T:
        """As the table of operations says."""
        match lane:
            case Lane.CHANGES:
                return await self.change(work)
            case Lane.REVOKING:
                return await self.revoke(work)
            case Lane.QUESTIONS:
                return await self.ask(work)
            case Lane.FOLLOWING:
                return await self.follow(work)

    async def change(self, work: Callable[[], T]) -> T:
        """Run in the one thread that changes things."""
        return await asyncio.get_running_loop().run_in_executor(self._changes, work)

    async def revoke(self, work: Callable[[], T]) -> T:
        """Waits for no other change: it is as safe beside the node."""
        return await asyncio.get_running_loop().run_in_executor(self._revoking, work)

    async def ask(self, work: Callable[[], T]) -> T:
        """What may take long and changes nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._questions, work)

    async def show(self, work: Callable[[], T]) -> T:
        """The same, for who only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._shown, work)

    async def follow(self, work: Callable[[], T]) -> T:
        """Each in a thread of its own, for as long as it lasts. Raises `NodeError` when there are too many."""
        if self._following >= FOLLOWERS:
            raise NodeError(f"{FOLLOWERS} follow the record already")
        self._following += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._followers, work)
        finally:
            self._following -= 1

    async def end_readers(self) -> None:
        """Nobody reads or revokes any more; changes can still be made. What is being revoked ends first."""
        await self.revoke(int)
        self._revoking.shutdown()
        self._questions.shutdown(wait=False, cancel_futures=True)
        self._shown.shutdown(wait=False, cancel_futures=True)
        self._followers.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """After the last change."""
        self._changes.shutdown()
