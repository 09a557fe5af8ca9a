"""Clients as the endpoints know them: what others change in the state holds at the next use, whoever was told of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.errors import StateError
from interlock.keys import lookup_hash
from interlock.store import State
from interlock.store.clients import Clients, Secret
from tests.unit.issuer.desk import LOOKUP, SECRET, Desk

ASKED = {"grant_type": "client_credentials"}


@pytest.fixture
def beside(desk: Desk) -> Iterator[Clients]:
    """A command that works on the same state beside a control process that hangs and hears nothing."""
    state = State.open(desk.state.path)
    yield Clients(state)
    state.close()


def test_a_secret_that_was_revoked_beside_a_hanging_process_is_good_for_nothing_when_it_goes_on(
    desk: Desk, beside: Clients
) -> None:
    client = desk.client()
    assert desk.token(**ASKED).status == 200
    ended = Secret(client.secrets[0].hash, client.secrets[0].created, desk.clock.wall())
    beside.change("billing", secrets=(ended,))
    assert desk.token(**ASKED).status == 401


def test_a_secret_that_was_replaced_beside_it_is_the_one_that_holds(desk: Desk, beside: Clients) -> None:
    desk.client()
    assert desk.token(**ASKED).status == 200
    beside.change("billing", secrets=(Secret(lookup_hash(LOOKUP, b"ils_new"), desk.clock.wall()),))
    assert desk.token(**ASKED).status == 401
    assert desk.token("billing", "ils_new", **ASKED).status == 200


def test_a_client_that_was_disabled_or_removed_beside_it_is_nobody(desk: Desk, beside: Clients) -> None:
    desk.client()
    desk.client("shipping")
    assert desk.token(**ASKED).status == desk.token("shipping", SECRET, **ASKED).status == 200
    beside.change("billing", disabled=desk.clock.wall())
    beside.remove("shipping")
    assert desk.token(**ASKED).status == desk.token("shipping", SECRET, **ASKED).status == 401
    assert len(desk.issuer.registry) == 0


def test_a_client_that_was_made_beside_it_is_known(desk: Desk, beside: Clients) -> None:
    assert len(desk.issuer.registry) == 0
    secret = Secret(lookup_hash(LOOKUP, SECRET.encode()), desk.clock.wall())
    client = desk.client("shipping")
    beside.remove("shipping")
    assert desk.issuer.registry.get("shipping") is None
    beside.add(client)
    beside.change("shipping", secrets=(secret,), assertion_issuer="https://ci.example.org", assertion_subjects=("x",))
    assert desk.token("shipping", SECRET, **ASKED).status == 200
    spoken_for = desk.issuer.registry.spoken_for("https://ci.example.org", "x")
    assert [one.client_id for one in spoken_for] == ["shipping"]


def test_what_is_made_of_a_client_is_kept_while_others_change(desk: Desk, beside: Clients) -> None:
    desk.client()
    desk.client("shipping")
    known = desk.issuer.registry.get("billing")
    beside.change("shipping", roles=("other",))
    assert desk.issuer.registry.get("billing") is known
    beside.change("billing", roles=("other",))
    assert desk.issuer.registry.get("billing") is not known


def test_one_that_was_dropped_stays_so_where_the_state_could_not_be_told(desk: Desk, beside: Clients) -> None:
    desk.client()
    desk.issuer.registry.drop("billing")
    beside.change("billing", roles=("other",))
    assert desk.issuer.registry.get("billing") is None
    assert desk.issuer.registry.spoken_for("", "") == []


def test_without_its_state_nobody_is_known_and_no_token_given(desk: Desk, tmp_path: Path) -> None:
    desk.client()
    assert desk.token(**ASKED).status == 200
    with sqlite3.connect(desk.state.path) as broken:
        broken.execute("ALTER TABLE clients RENAME TO lost")
    broken.close()
    with pytest.raises(StateError):
        desk.issuer.registry.get("billing")
    assert desk.token(**ASKED).status == 503


@pytest.mark.parametrize("name", ["", "nobody", "\ud800", "a\0b", "'; DROP TABLE clients; --"])
def test_names_that_nobody_has(desk: Desk, name: str) -> None:
    desk.client()
    assert desk.issuer.registry.get(name) is None
    assert desk.issuer.registry.get("billing") is not None
