"""When a running node prunes: soon after its start, then once a day; sooner again after a failure; never unasked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.control import housekeeping
from interlock.control.acts import NODE
from interlock.control.housekeeping import HOUSEKEEPING, PRUNING, STARTED, Housekeeping
from interlock.errors import RecordUnavailable

DONE = {"segments": [], "bytes": 0, "keys": []}


class Ended(Exception):
    """The test has seen enough."""


def waits(monkeypatch: pytest.MonkeyPatch, outcomes: list[Any], *, retention: object = "30d") -> list[tuple[str, Any]]:
    """What the timer did: each wait, and each pruning with who did it."""
    seen: list[tuple[str, Any]] = []
    left = iter(outcomes)

    async def sleep(seconds: float) -> None:
        if len(seen) >= 2 * len(outcomes):
            raise Ended
        seen.append(("wait", seconds))

    async def prune(actor: object) -> Any:
        outcome = next(left)
        seen.append(("prune", actor))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(housekeeping.asyncio, "sleep", sleep)
    house = SimpleNamespace(
        _pruned=False,
        prune=prune,
        _desks=SimpleNamespace(config=SimpleNamespace(record=SimpleNamespace(retention=retention))),
        _log=SimpleNamespace(info=lambda *_, **__: None, error=lambda *_, **__: None),
    )
    with pytest.raises(Ended):
        asyncio.run(Housekeeping._keep_retention(house))  # type: ignore[arg-type]
    return seen


def test_soon_after_a_start_and_then_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = waits(monkeypatch, [DONE, DONE, DONE])
    assert [what for what in seen if what[0] == "wait"] == [
        ("wait", STARTED),
        ("wait", PRUNING),
        ("wait", PRUNING),
    ]
    assert [what for what in seen if what[0] == "prune"] == [("prune", NODE)] * 3
    assert PRUNING == 24 * 3600


def test_what_failed_is_tried_again_soon_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = waits(monkeypatch, [DONE, RecordUnavailable("the disk is full"), DONE, DONE])
    assert [seconds for what, seconds in seen if what == "wait"] == [STARTED, PRUNING, HOUSEKEEPING, PRUNING]


def test_without_a_retention_nothing_is_ever_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = waits(monkeypatch, [DONE, DONE, DONE], retention=None)
    assert seen == [("wait", STARTED)] + [("wait", HOUSEKEEPING)] * 5
