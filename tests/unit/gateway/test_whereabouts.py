"""A token from elsewhere is news once for each place; from the usual place it costs a lookup."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from interlock.addresses import unmapped
from interlock.gateway.peer import network_of
from interlock.gateway.whereabouts import LASTS, TOLD, Whereabouts
from interlock.model import Identity, Principal
from interlock.snapshot.sightings import HELD, Sighting, SightingTable
from tests.unit.identity import fakes

NOW, SECOND = 1_700_000_000 * 10**9, 10**9
PROGRAM, OTHER = b"program1", b"program2"


def of(number: int = 1) -> Identity:
    principal = Principal("user", "login.example.com", "alice")
    return Identity(
        principal, str(principal), ("jwt",), issuer="https://login", expires=NOW + 60 * SECOND,
        handles=(number.to_bytes(32, "big"),), limit_key=number.to_bytes(16, "big"),
    )  # fmt: skip


class Bench:
    def __init__(self, folder: Path) -> None:
        SightingTable.create(folder / "sightings", 1024).close()
        self.workers = [Whereabouts(SightingTable.open(folder / "sightings")) for _ in range(2)]

    def look(self, address: str, program: bytes = PROGRAM, worker: int = 0, number: int = 1) -> tuple[Sighting, bool]:
        network = network_of(unmapped(address))
        return self.workers[worker].look(of(number), network, program, NOW, SECOND, True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("first", "then", "moved"),
    [
        ("192.0.2.7", "192.0.2.250", False),
        ("192.0.2.7", "192.0.3.7", True),
        ("::ffff:192.0.2.7", "192.0.2.8", False),
        ("2001:db8:1:2::7", "2001:db8:1:2:ffff::1", False),
        ("2001:db8:1:2::7", "2001:db8:1:3::7", True),
        ("192.0.2.7", "2001:db8::1", True),
    ],
)
def test_a_network_is_a_24_or_a_64(bench: Bench, first: str, then: str, moved: bool) -> None:
    assert bench.look(first) == (Sighting(False, False), False)
    for worker in (0, 1):
        sighting, news = bench.look(then, worker=worker)
        assert sighting.moved is moved
        assert news is moved


def test_it_is_news_once_for_each_place(bench: Bench) -> None:
    bench.look("192.0.2.7")
    assert [bench.look("192.0.3.7")[1] for _ in range(3)] == [True, False, False]
    assert bench.look("192.0.2.7") == (Sighting(False, False), False)
    assert bench.look("192.0.3.9") == (Sighting(True, False), False), "there again"
    assert bench.look("192.0.4.7")[1]
    assert bench.look("192.0.2.7", OTHER) == (Sighting(False, True), True)


def test_a_token_in_many_hands_does_not_fill_the_record(bench: Bench) -> None:
    bench.look("192.0.2.7")
    found = [bench.look(f"198.51.{n}.7") for n in range(100)]
    assert all(sighting.moved for sighting, _ in found)
    assert sum(news for _, news in found) == TOLD


def test_the_usual_place_costs_no_look_into_the_table(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.look("192.0.2.7")
    monkeypatch.delattr(SightingTable, "see")
    assert bench.look("192.0.2.7") == (Sighting(False, False), False)


def test_what_could_not_be_remembered_is_tried_again(tmp_path: Path) -> None:
    SightingTable.create(tmp_path / "small", 32).close()
    worker = Whereabouts(SightingTable.open(tmp_path / "small"))
    network = network_of(unmapped("192.0.2.7"))
    for number in range(33):
        sighting, _ = worker.look(of(number), network, b"", NOW, SECOND, True)
    assert not sighting.known
    assert worker.look(of(32), network, b"", NOW, 61 * SECOND, True)[0].known


def test_a_token_that_never_ends_is_looked_at_like_any(bench: Bench) -> None:
    """Issuers write 9999-12-31 for never: the layer accepts it, so its calls must not fail here."""
    presented = fakes.token(exp=253_402_300_799)
    found = fakes.identity(fakes.Desk().route("jwt")(presented, None, None, fakes.SOURCE, fakes.NOW))
    home, away = (network_of(unmapped(address)) for address in ("192.0.2.7", "192.0.3.7"))
    worker = bench.workers[0]
    assert worker.look(found, home, b"", fakes.NOW, SECOND, True) == (Sighting(False, False), False)
    assert worker.look(found, away, b"", fakes.NOW, SECOND, True) == (Sighting(True, False), True)


def test_the_table_hears_of_a_token_for_as_long_as_it_is_used(bench: Bench) -> None:
    """What one worker would keep for itself, the others would come to forget."""
    home, away = (network_of(unmapped(address)) for address in ("192.0.2.7", "192.0.3.7"))
    never = msgspec.structs.replace(of(), expires=253_402_300_799 * SECOND)
    for passed in range(0, 2 * HELD, LASTS):
        looked = bench.workers[0].look(never, home, b"", NOW + passed, SECOND + passed, True)
        assert looked == (Sighting(False, False), False)
    looked = bench.workers[1].look(never, away, b"", NOW + 2 * HELD, SECOND + 2 * HELD, True)
    assert looked == (Sighting(True, False), True)


@pytest.mark.parametrize("way", ["jwt+api_key", "api_key+jwt"])
def test_a_stolen_token_is_known_again_beside_another_key(bench: Bench, way: str) -> None:
    """It is the token that has a place: by whichever key the thief comes with, and no other token has that of this."""
    desk = fakes.Desk()
    keys = [desk.directory.mint(principal="user:login.example.com/alice")[1] for _ in range(2)]
    home, away = (network_of(unmapped(address)) for address in ("192.0.2.7", "192.0.3.7"))

    def look(presented: bytes, key: bytes, network: bytes) -> bool:
        found = fakes.identity(desk.route(way)(presented, key, None, fakes.SOURCE, fakes.NOW))
        return bench.workers[0].look(found, network, b"", fakes.NOW, SECOND, True)[0].moved

    stolen, other = fakes.token(jti="t1"), fakes.token(jti="t2")
    assert not look(stolen, keys[0], home)
    assert look(stolen, keys[1], away)
    assert not look(other, keys[0], away)


def test_one_client_of_many_tokens_shuts_no_route_for_others(tmp_path: Path) -> None:
    """The attack: all of them at a route that does not ask, then at one that does, until no other's finds a place."""
    SightingTable.create(tmp_path / "sightings", 8192).close()
    worker = Whereabouts(SightingTable.open(tmp_path / "sightings"))
    desk, network = fakes.Desk(), network_of(unmapped("192.0.2.7"))
    one = fakes.identity(desk.jwt.verify(fakes.token(sub="mallory"), fakes.NOW))
    for number in range(3 * 8192):
        many = msgspec.structs.replace(one, handles=(number.to_bytes(32, "big"),))
        worker.look(many, network, b"", fakes.NOW, SECOND, number > 8192)
    known = [worker.look(of(number), network, b"", NOW, SECOND, True)[0].known for number in range(100_000, 100_500)]
    assert known.count(False) < 60
