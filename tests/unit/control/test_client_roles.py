"""Clients as an operator makes them: roles that come and go, and who may register themselves."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.control.clients import (
    ClientDesk,
    ClientRoles,
    CreateClient,
    InitialTokenWanted,
    NamedClient,
)
from interlock.control.paths import Paths
from interlock.control.publish import Publisher
from interlock.errors import NotFound, RecordUnavailable, UsageError
from interlock.identity import client_handle
from interlock.keys import Keyring, lookup_hash
from interlock.snapshot import NodePage
from interlock.snapshot.directory import Directory
from interlock.store import Revocations, State
from interlock.store.clients import Client, Clients
from interlock.store.registrations import Registrations
from tests.unit.control.conftest import Acts

ROLES = frozenset({"caller", "auditor"})
URL = "https://id.example.com"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def told() -> list[Client]:
    return []


@pytest.fixture
def desk(state: State, paths: Paths, page: NodePage, clock: ManualClock, told: list[Client]) -> ClientDesk:
    return ClientDesk(state, Publisher(paths, page), clock, lambda: URL, told.append)


def make(desk: ClientDesk, keyring: Keyring, acts: Acts, **wanted: Any) -> str:
    made = desk.create(CreateClient(**{"name": "billing", "roles": ["caller"], **wanted}), ROLES, keyring, acts)
    return str(made["client_id"])


def test_roles_come_at_once_and_go_with_every_token(
    desk: ClientDesk,
    keyring: Keyring,
    acts: Acts,
    state: State,
    paths: Paths,
    page: NodePage,
    clock: ManualClock,
    told: list[Client],
) -> None:
    client_id = make(desk, keyring, acts)
    handle = client_handle(URL, client_id)
    done = desk.roles(ClientRoles(client_id, add=["auditor"]), ROLES, acts)
    assert done["roles"] == ["caller", "auditor"]
    assert Revocations(state).not_before(handle) == 0, "a token without it does no harm"
    done = desk.roles(ClientRoles(client_id, remove=["caller"]), ROLES, acts)
    assert done["roles"] == ["auditor"]
    assert told[-1].roles == Clients(state).get(client_id).roles == ("auditor",)
    assert Revocations(state).not_before(handle) == clock.wall() // SECOND + 1
    directory = Directory(page, paths.changes, keyring.lookup_key)
    directory.catch_up()
    assert directory.not_before(handle) == clock.wall() // SECOND + 1
    assert acts.events == ["client:create", "client:change", "client:change"]
    assert acts.done[-1][1]["removed"] == ["caller"]


def test_roles_that_make_no_sense_change_nothing(desk: ClientDesk, keyring: Keyring, acts: Acts, state: State) -> None:
    client_id = make(desk, keyring, acts)
    for wanted in (
        ClientRoles(client_id),
        ClientRoles(client_id, add=["interlock:admin"]),
        ClientRoles(client_id, remove=["auditor"]),
    ):
        with pytest.raises(UsageError):
            desk.roles(wanted, ROLES, acts)
    with pytest.raises(NotFound):
        desk.roles(ClientRoles("nobody", add=["caller"]), ROLES, acts)
    acts.broken = True
    with pytest.raises(RecordUnavailable):
        desk.roles(ClientRoles(client_id, remove=["caller"]), ROLES, acts)
    assert Clients(state).get(client_id).roles == ("caller",)


def test_an_initial_token_is_kept_as_a_hash_for_so_long_and_so_often(
    desk: ClientDesk, keyring: Keyring, acts: Acts, state: State, clock: ManualClock
) -> None:
    made = desk.initial_token(InitialTokenWanted(2, 3600 * SECOND), keyring, acts)
    text = made["initial_access_token"]
    assert text.startswith("ili_")
    assert text not in str(acts.done)
    assert acts.done[0] == ("registration:token", {key: acts.done[0][1][key] for key in ("initial", "uses", "expires")})
    hashed = lookup_hash(keyring.lookup_key, text.encode())
    kept = Registrations(state)
    now = clock.wall()
    assert kept.find(hashed, now) is not None
    assert kept.find(b"x" * 32, now) is None
    assert [kept.use(hashed, now) for _ in range(3)] == [True, True, False]
    kept.give_back(hashed)
    assert kept.find(hashed, now + 3600 * SECOND) is None
    assert not kept.use(hashed, now + 3600 * SECOND)
    assert [one["id"] for one in desk.initial_tokens()["initial_tokens"]] == [made["id"]]
    assert text not in str(desk.initial_tokens())
    desk.withdraw(NamedClient(made["id"]), acts)
    assert not kept.use(hashed, now)
    with pytest.raises(NotFound):
        desk.withdraw(NamedClient(made["id"]), acts)


def test_initial_tokens_that_would_be_good_for_ever_are_not_made(
    desk: ClientDesk, keyring: Keyring, acts: Acts
) -> None:
    for wanted in (InitialTokenWanted(0, SECOND), InitialTokenWanted(1001, SECOND), InitialTokenWanted(1, 0)):
        with pytest.raises(UsageError):
            desk.initial_token(wanted, keyring, acts)
    acts.broken = True
    with pytest.raises(RecordUnavailable):
        desk.initial_token(InitialTokenWanted(1, SECOND), keyring, acts)
    assert desk.initial_tokens() == {"initial_tokens": []}


def test_under_fapi2_no_client_is_made_that_could_not_be_used(
    desk: ClientDesk, keyring: Keyring, acts: Acts, state: State
) -> None:
    for method in ("client_secret_basic", "client_secret_post", "none"):
        wanted = CreateClient(name="billing", method=method, grants=["refresh_token"])
        with pytest.raises(UsageError, match="fapi2"):
            desk.create(wanted, ROLES, keyring, acts, fapi2=True)
    assert Clients(state).all() == []
    desk.create(CreateClient(name="billing"), ROLES, keyring, acts)


def test_grants_are_given_with_what_they_need(desk: ClientDesk, keyring: Keyring, acts: Acts, state: State) -> None:
    for wanted in (
        {"grants": [EXCHANGE], "method": "none"},
        {"grants": [JWT_BEARER], "method": "none"},
        {"grants": [JWT_BEARER], "assertion_issuer": "https://ci.example"},
        {"grants": [JWT_BEARER], "assertion_subjects": ["x"]},
        {"assertion_subjects": ["x"]},
    ):
        with pytest.raises(UsageError):
            make(desk, keyring, acts, **wanted)
    client_id = make(
        desk,
        keyring,
        acts,
        grants=[JWT_BEARER],
        method="none",
        assertion_issuer="https://ci.example",
        assertion_subjects=["repo:example/app"],
        details=["pay"],
    )
    client = Clients(state).get(client_id)
    assert client.assertion_subjects == ("repo:example/app",)
    assert client.authorization_details_types == ("pay",)
