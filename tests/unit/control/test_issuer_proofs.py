"""What is good once at the authorization server: strangers leave room for clients, and clients for each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from interlock.clock import SECOND
from interlock.control.issuer_proofs import CLIENTS, KEPT, SharedReplays, Shares
from interlock.issuer.errors import OAuthError
from interlock.snapshot.replay import TOKENS, Claim, ReplayTable
from interlock.store.clients import Client

NOW = 1_800_000_000 * SECOND
MONOTONIC = 5_000 * SECOND


@pytest.fixture
def table(tmp_path: Path) -> ReplayTable:
    return ReplayTable.create(
        tmp_path / "replays", wall=NOW - 3600 * SECOND, monotonic=MONOTONIC - 3600 * SECOND, slots=4096
    )


def claim(replays: SharedReplays, client: str, number: int, created: int = 1) -> bool:
    name = hashlib.sha256(f"{client} {number}".encode()).digest()
    of = Client(client_id=client, client_name=client, principal=f"service:interlock/{client}", created=created)
    return replays.claim(name, NOW, NOW + 60 * SECOND, NOW, ahead=10 * SECOND, of=of)


def has_room(replays: SharedReplays, client: str, number: int) -> bool:
    """Whether one more is taken; what cannot be kept is refused as a fault of ours."""
    try:
        return claim(replays, client, number)
    except OAuthError as problem:
        return problem.status != 503


def test_it_is_good_once(table: ReplayTable) -> None:
    replays = SharedReplays(table, lambda: MONOTONIC)
    assert claim(replays, "billing", 1)
    assert not claim(replays, "billing", 1)
    assert claim(replays, "billing", 2)


def test_whoever_was_made_since_the_start_need_not_wait(tmp_path: Path) -> None:
    table = ReplayTable.create(tmp_path / "replays", wall=NOW - SECOND, monotonic=MONOTONIC - SECOND, slots=4096)
    replays = SharedReplays(table, lambda: MONOTONIC)
    with pytest.raises(OAuthError, match="cannot be told"):
        claim(replays, "billing", 1, created=NOW - 60 * SECOND)
    assert claim(replays, "shipping", 1, created=NOW)
    assert not claim(replays, "shipping", 1, created=NOW)


def test_proofs_of_strangers_leave_room_for_assertions(table: ReplayTable) -> None:
    replays = SharedReplays(table, lambda: MONOTONIC)
    answers = {
        table.claim(
            hashlib.sha256(b"%d" % number).digest(),
            b"jti",
            iat=NOW,
            wall=NOW,
            monotonic=MONOTONIC,
            window=60 * SECOND,
            ahead=10 * SECOND,
            region=TOKENS,
        )
        for number in range(4096)
    }
    assert Claim.FULL in answers, "anybody can fill the region of token endpoints"
    assert all(claim(replays, "billing", number) for number in range(100))


def test_a_client_fills_its_own_part(table: ReplayTable) -> None:
    replays = SharedReplays(table, lambda: MONOTONIC)
    assert 0 < sum(has_room(replays, "greedy", number) for number in range(4096)) <= 1024
    assert not all(has_room(replays, "greedy", number) for number in range(4096, 4100))
    assert sum(has_room(replays, f"client-{number}", number) for number in range(200)) > 100


def test_a_client_of_many_keys_leaves_room_for_proofs_of_others() -> None:
    """Each proof is of another key, so nothing but who brings them tells that they are one client's."""
    places = 4096
    shares = Shares(places)
    taken = sum(shares.take("greedy", now) for now in range(0, 2 * KEPT, KEPT // 10_000))
    kept = sum(shares.take("greedy", now) for now in range(2 * KEPT, 3 * KEPT, KEPT // 10_000))
    assert 0 < kept <= places // 4
    assert taken <= 3 * places // 4
    assert all(shares.take(f"client-{number}", 2 * KEPT) for number in range(1000))


def test_who_waits_has_a_whole_share_again() -> None:
    shares = Shares(4096)
    assert sum(shares.take("billing", 0) for _ in range(4096)) == 1024
    assert not shares.take("billing", KEPT // 4096)
    assert sum(shares.take("billing", KEPT) for _ in range(4096)) == 1024


def test_shares_of_clients_that_take_nothing_are_forgotten() -> None:
    shares = Shares(4096)
    for number in range(3 * CLIENTS):
        assert shares.take(f"client-{number}", number * KEPT)
    assert len(shares._taken) <= CLIENTS
