"""Clients and grants in the state: kept whole, changed as they are, revoked by whatever they hang on."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.errors import NotFound, StateError, UsageError
from interlock.store import State
from interlock.store.clients import Client, Clients, Grant, Secret

ALICE = "user:interlock/alice"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / "state.db")


@pytest.fixture
def clients(state: State) -> Clients:
    return Clients(state)


def client(client_id: str = "billing-1", **fields: Any) -> Client:
    values: dict[str, Any] = {
        "client_id": client_id,
        "client_name": "billing",
        "principal": "service:interlock/billing",
        "created": 1,
        **fields,
    }
    return Client(**values)


def grant(grant_id: str, **fields: Any) -> Grant:
    values: dict[str, Any] = {
        "id": grant_id,
        "client_id": "app",
        "principal": ALICE,
        "created": 1,
        "expires": 100,
        "current": b"h" * 32,
        **fields,
    }
    return Grant(**values)


def test_a_client_is_kept_whole(clients: Clients) -> None:
    """Every field: what is forgotten here is lost."""
    whole = client(
        secrets=(Secret(b"s" * 32, 5, 9),),
        grant_types=("authorization_code", "refresh_token"),
        redirect_uris=("https://a.example/cb",),
        post_logout_redirect_uris=("https://a.example/bye",),
        roles=("caller",),
        scopes=("read", "wr\u00efte"),
        resources=("https://api.example",),
        jwks={"keys": [{"kty": "EC", "nested": {"a": [1, 2.5, None, True]}}]},
        certificates=("PEM",),
        tls_client_certificate_bound_access_tokens=True,
        registration=b"r" * 32,
        acts=("act-1",),
    )
    clients.add(whole)
    assert clients.get("billing-1") == whole
    assert clients.all() == [whole]


def test_a_grant_is_kept_whole(clients: Clients) -> None:
    whole = grant(
        "g1",
        subject="usr",
        account="usr",
        scopes=("openid",),
        audience=("https://a", "https://b"),
        roles=("teller",),
        details=({"type": "payment", "amount": {"value": "1.00"}},),
        session="sid",
        auth_time=7,
        acr="2",
        amr=("pwd", "otp"),
        nonce="n",
        jkt=b"j" * 32,
        certificate=b"c" * 32,
    )
    clients.add_grant(whole)
    assert clients.grant("g1") == whole
    assert clients.grant("g2") is None


def test_an_id_is_taken_once(clients: Clients) -> None:
    clients.add(client())
    with pytest.raises((UsageError, StateError)):
        clients.add(client(principal="service:interlock/other"))
    assert clients.get("billing-1").principal == "service:interlock/billing"


def test_who_is_not_there_is_not_found(clients: Clients) -> None:
    with pytest.raises(NotFound):
        clients.get("nobody")
    with pytest.raises(NotFound):
        clients.change("nobody", roles=())


def test_a_disabled_client_is_changed_no_more(clients: Clients) -> None:
    clients.add(client(disabled=5))
    with pytest.raises(UsageError, match="disabled"):
        clients.change("billing-1", roles=("admin",))
    assert clients.get("billing-1").roles == ()


def test_a_change_that_raises_changes_nothing(clients: Clients) -> None:
    clients.add(client())

    def fail(found: Client) -> Client:
        raise UsageError("no")

    with pytest.raises(UsageError):
        clients.modify("billing-1", fail)
    assert clients.get("billing-1") == client()


def test_changes_at_once_are_all_there(clients: Clients) -> None:
    """None of them is made of what the client was before the others."""
    clients.add(client())

    def change(number: int) -> None:
        clients.modify("billing-1", lambda one: msgspec.structs.replace(one, acts=(*one.acts, f"act-{number}")))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(change, range(40)))
    assert sorted(clients.get("billing-1").acts) == sorted(f"act-{number}" for number in range(40))


def test_what_was_revoked_is_not_brought_back_by_a_rotation_at_the_same_time(clients: Clients) -> None:
    for round_ in range(10):
        name = f"c{round_}"
        clients.add(client(name, secrets=(Secret(b"old", 1),)))

        def revoke(one: Client) -> Client:
            return msgspec.structs.replace(one, secrets=tuple(Secret(s.hash, s.created, 10) for s in one.secrets))

        def rotate(one: Client) -> Client:
            former = tuple(s if s.until else Secret(s.hash, s.created, 999) for s in one.secrets)
            return msgspec.structs.replace(one, secrets=(Secret(b"new", 2), *former))

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda change, name=name: clients.modify(name, change), (revoke, rotate)))
        old = next(one for one in clients.get(name).secrets if one.hash == b"old")
        assert old.until == 10


# -- grants


def test_of_two_that_renew_one_does(clients: Clients) -> None:
    clients.add_grant(grant("g1"))

    def renew(number: int) -> bool:
        return clients.renew_grant(grant("g1", current=bytes([number]) * 32), b"h" * 32)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(renew, range(8))).count(True) == 1


def test_a_revoked_grant_is_not_renewed(clients: Clients) -> None:
    clients.add_grant(grant("g1"))
    assert [one.id for one in clients.revoke_grants(5, "why", id="g1")] == ["g1"]
    assert not clients.renew_grant(grant("g1", current=b"n" * 32), b"h" * 32)
    found = clients.grant("g1")
    assert found is not None
    assert (found.revoked, found.why, found.usable(6)) == (5, "why", False)
    assert clients.revoke_grants(6, "again", id="g1") == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"client_id": "app"}, {"g1", "g2"}),
        ({"principal": ALICE}, {"g1", "g3"}),
        ({"session": "s1"}, {"g1"}),
        ({"account": "usr"}, {"g1", "g3"}),
        ({"id": "g2"}, {"g2"}),
        ({"client_id": "app", "principal": ALICE}, {"g1"}),
        ({"client_id": "nobody"}, set()),
        ({"session": ""}, {"g2", "g3"}),
    ],
)
def test_grants_are_revoked_by_what_they_hang_on(clients: Clients, where: dict[str, str], expected: set[str]) -> None:
    clients.add_grant(grant("g1", session="s1", account="usr"))
    clients.add_grant(grant("g2", principal="user:interlock/bob"))
    clients.add_grant(grant("g3", client_id="other", account="usr"))
    clients.add_grant(grant("old", session="s1", account="usr", expires=5))
    assert {one.id for one in clients.living_grants(10, **where)} == (expected if "id" not in where else {"g2"})
    assert {one.id for one in clients.revoke_grants(10, "why", **where)} == expected
    assert clients.living_grants(10, **where) == []


def test_all_grants_are_never_revoked_by_mistake(clients: Clients) -> None:
    clients.add_grant(grant("g1"))
    with pytest.raises(StateError):
        clients.revoke_grants(5, "why")
    assert clients.living_grants(5, client_id="app")


def test_what_is_over_is_forgotten(clients: Clients) -> None:
    clients.add_grant(grant("g1", expires=50))
    clients.add_grant(grant("g2", expires=51))
    assert clients.forget_grants(50) == 1
    assert clients.grant("g1") is None
    assert clients.grant("g2") is not None


def test_what_is_damaged_is_said_to_be(clients: Clients, tmp_path: Path) -> None:
    clients.add(client())
    clients.add_grant(grant("g1"))
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("update clients set data = '{'")
        database.execute("update grants set data = '[]'")
    database.close()
    for read in (lambda: clients.get("billing-1"), clients.all, lambda: clients.grant("g1")):
        with pytest.raises(StateError, match="damaged"):
            read()


def test_nothing_shows_a_secret(clients: Clients) -> None:
    assert "hash" not in repr(Secret(b"hash", 1))
    assert b"clear" not in msgspec.json.encode(client(secrets=(Secret(b"s" * 32, 1),)))
