"""Issuers' keys: kept fresh, kept over failures, and a new snapshot only when it is worth one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.config import Config, load
from interlock.control import jwks as subject
from interlock.control.issuers import DISCOVERY, Known, KnownKeys
from interlock.control.jwks import IssuerWatch
from interlock.control.log import Log
from interlock.errors import StateError
from interlock.identity import jwks_fetch
from interlock.identity.jwks_fetch import JwksUnavailable

ISSUER = "https://login.example.com"
REST = """\
version: 1
listeners:
  - {address: 127.0.0.1:8080, tls: off}
services:
  up: {upstreams: [http://127.0.0.1:9000]}
routes:
  - {match: GET /a, service: up, authenticate: [jwt], allow: a:read, limit: none}
roles:
  reader: [a:read]
"""


class Source:
    """Answers with what is set, or fails."""

    answer = "one"
    asked = 0

    def __init__(self, issuer: str, _clock: object, *, url: str = "") -> None:
        assert issuer == ISSUER

    async def fetch(self) -> str:
        Source.asked += 1
        if not Source.answer:
            raise JwksUnavailable("down")
        return Source.answer


@pytest.fixture(autouse=True)
def _source(monkeypatch: pytest.MonkeyPatch) -> None:
    Source.answer, Source.asked = "one", 0
    monkeypatch.setattr(jwks_fetch, "JwksSource", Source)
    monkeypatch.setattr(subject, "RETRY", SECOND // 100)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "interlock.yaml"
    path.write_text(REST + f"identity: {{issuers: [{{issuer: {ISSUER}, audience: a, algorithms: [RS256]}}]}}\n")
    return load(path)


class Watched:
    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.known = KnownKeys(folder)
        self.made = 0
        self.broken = False
        self.log = os.open(folder.parent / "log", os.O_CREAT | os.O_WRONLY)
        self.watch = IssuerWatch(self.known, self.changed, clock, Log("control", self.log))

    async def changed(self) -> None:
        if self.broken:
            raise StateError("the disk is full")
        self.made += 1

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not check():
                await asyncio.sleep(0.005)


@pytest.fixture
def watched(tmp_path: Path, clock: ManualClock) -> Watched:
    return Watched(tmp_path / "jwks", clock)


def test_keys_are_fetched_kept_and_published(watched: Watched, config: Config, clock: ManualClock) -> None:
    async def story() -> None:
        watched.watch.configure(config)
        await watched.until(lambda: watched.made == 1)
        known = watched.known.get(ISSUER, DISCOVERY)
        assert known is not None
        assert (known.jwks, known.fetched_ns) == ("one", clock.wall())
        assert watched.watch.status()[0]["usable"]
        await watched.watch.close()

    asyncio.run(story())


def test_the_same_keys_again_are_worth_no_snapshot_until_they_grow_old(
    watched: Watched, config: Config, clock: ManualClock
) -> None:
    async def story() -> None:
        watched.watch.configure(config)
        await watched.until(lambda: watched.made == 1)
        watched.watch.refresh(ISSUER)
        await watched.until(lambda: Source.asked == 2)
        await asyncio.sleep(0.02)
        assert watched.made == 1
        clock.advance(7 * 3600)
        watched.watch.refresh(ISSUER)
        await watched.until(lambda: watched.made == 2)
        Source.answer = "two"
        watched.watch.refresh(ISSUER)
        await watched.until(lambda: watched.made == 3)
        await watched.watch.close()

    asyncio.run(story())


def test_keys_whose_snapshot_could_not_be_made_are_published_at_the_next_try(watched: Watched, config: Config) -> None:
    async def story() -> None:
        watched.broken = True
        watched.watch.configure(config)
        await watched.until(lambda: watched.watch.status()[0]["problem"] is not None)
        assert watched.known.get(ISSUER, DISCOVERY) is not None, "kept, and yet no worker has them"
        watched.broken = False
        await watched.until(lambda: watched.made == 1)
        await watched.until(lambda: watched.watch.status()[0]["problem"] is None)
        await watched.watch.close()

    asyncio.run(story())


def test_keys_that_a_process_before_kept_are_published_once_more(
    watched: Watched, config: Config, clock: ManualClock
) -> None:
    """It may have died between keeping them and making the snapshot."""
    watched.known.put(Known(ISSUER, "one", clock.wall(), DISCOVERY))

    async def story() -> None:
        watched.watch.configure(config)
        await watched.until(lambda: watched.made == 1)
        watched.watch.refresh(ISSUER)
        await watched.until(lambda: Source.asked == 2)
        await asyncio.sleep(0.02)
        assert watched.made == 1
        await watched.watch.close()

    asyncio.run(story())


def test_keys_of_another_url_are_published_though_they_are_the_same(watched: Watched, config: Config) -> None:
    async def story() -> None:
        watched.watch.configure(config)
        await watched.until(lambda: watched.made == 1)
        moved = config.path.with_name("moved.yaml")
        moved.write_text(
            config.path.read_text().replace("audience: a,", "audience: a, jwks: https://keys.example.com/,")
        )
        watched.watch.configure(load(moved))
        assert not watched.watch.status()[0]["usable"]
        await watched.until(lambda: watched.made == 2)
        assert watched.known.get(ISSUER, DISCOVERY) is None
        assert watched.known.get(ISSUER, "https://keys.example.com/") is not None
        await watched.watch.close()

    asyncio.run(story())


def test_a_failing_issuer_keeps_its_last_keys_and_is_asked_again(watched: Watched, config: Config) -> None:
    async def story() -> None:
        watched.watch.configure(config)
        await watched.until(lambda: watched.made == 1)
        Source.answer = ""
        watched.watch.refresh(ISSUER)
        await watched.until(lambda: watched.watch.status()[0]["problem"] is not None)
        known = watched.known.get(ISSUER, DISCOVERY)
        assert known is not None
        assert known.jwks == "one"
        assert watched.made == 1
        await watched.watch.close()

    asyncio.run(story())


def test_an_issuer_that_is_down_at_the_start_is_tried_until_it_is_up(watched: Watched, config: Config) -> None:
    async def story() -> None:
        Source.answer = ""
        watched.watch.configure(config)
        await watched.until(lambda: Source.asked >= 3)
        Source.answer = "one"
        await watched.until(lambda: watched.made == 1)
        assert watched.watch.status()[0]["problem"] is None
        await watched.watch.close()

    asyncio.run(story())


def test_unknown_issuers_and_removed_ones_are_not_asked(watched: Watched, config: Config) -> None:
    async def story() -> None:
        watched.watch.refresh("https://evil.example")
        watched.watch.configure(config)
        await watched.until(lambda: watched.made == 1)
        without = config.path.with_name("without.yaml")
        without.write_text(REST.replace("[jwt]", "[api_key]"))
        watched.watch.configure(load(without))
        assert watched.watch.status() == []
        asked = Source.asked
        watched.watch.refresh(ISSUER)
        await asyncio.sleep(0.03)
        assert Source.asked == asked
        await watched.watch.close()

    asyncio.run(story())


def test_a_flood_of_askings_is_bounded(watched: Watched, config: Config) -> None:
    async def story() -> None:
        watched.watch.configure(config)
        for _ in range(1000):
            watched.watch.refresh(ISSUER)
        assert len(watched.watch._asked) <= 64
        await watched.watch.close()

    asyncio.run(story())
