"""What runs beside what in the control process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from interlock.control.lanes import FOLLOWERS, READERS, Lanes
from interlock.errors import NodeError

HELD = 10.0  # seconds at most, so that a test which fails also ends


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_changes_wait_for_each_other_and_nothing_else_waits_for_them() -> None:
    async def main() -> None:
        lanes, go_on, done = Lanes(), threading.Event(), list[str]()
        first = asyncio.ensure_future(lanes.change(lambda: (go_on.wait(HELD), done.append("first"))))
        second = asyncio.ensure_future(lanes.change(lambda: done.append("second")))
        await asyncio.sleep(0)  # they have begun
        for lane in (lanes.revoke, lanes.ask, lanes.show, lanes.follow):
            assert await lane(lambda: 7) == 7
        assert done == []
        go_on.set()
        await asyncio.gather(first, second)
        assert done == ["first", "second"]
        await lanes.end_readers()
        lanes.close()

    run(main())


def test_who_only_reads_keeps_no_operator_waiting() -> None:
    async def main() -> None:
        lanes, go_on = Lanes(), threading.Event()
        slow = [asyncio.ensure_future(lanes.show(lambda: go_on.wait(HELD))) for _ in range(2 * READERS)]
        await asyncio.sleep(0)
        assert await lanes.ask(lambda: 7) == 7
        assert not any(one.done() for one in slow)
        go_on.set()
        await asyncio.gather(*slow)

    run(main())


def test_so_many_follow_and_no_more_and_each_leaves_its_place() -> None:
    async def main() -> None:
        lanes, go_on = Lanes(), threading.Event()

        def broken() -> None:
            raise ConnectionError

        for _ in range(2 * FOLLOWERS):
            with pytest.raises(ConnectionError):
                await lanes.follow(broken)
        following = [asyncio.ensure_future(lanes.follow(lambda: go_on.wait(HELD))) for _ in range(FOLLOWERS)]
        await asyncio.sleep(0)
        with pytest.raises(NodeError, match="follow the record already"):
            await lanes.follow(lambda: 7)
        go_on.set()
        await asyncio.gather(*following)
        assert await lanes.follow(lambda: 7) == 7

    run(main())


def test_what_is_being_revoked_ends_and_changes_can_still_be_made() -> None:
    async def main() -> None:
        lanes, go_on, done = Lanes(), threading.Event(), list[str]()
        revoking = asyncio.ensure_future(lanes.revoke(lambda: (go_on.wait(HELD), done.append("revoked"))))
        ending = asyncio.ensure_future(lanes.end_readers())
        await asyncio.sleep(0.01)
        assert not ending.done()
        go_on.set()
        await ending
        assert done == ["revoked"]
        await revoking
        for lane in (lanes.revoke, lanes.ask, lanes.show, lanes.follow):
            with pytest.raises(RuntimeError, match="shutdown"):
                await lane(int)
        assert await lanes.change(lambda: 7) == 7
        lanes.close()

    run(main())
