"""People, for operators: on the record first, a way in that is good once, and nothing kept of what was taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.audit.subjects_register import Register
from interlock.clock import SECOND, ManualClock
from interlock.config import load
from interlock.control.service import Administration
from interlock.control.users import (
    CreateUser,
    NamedUser,
    RemoveFactor,
    ResetUser,
    UnlockUser,
    UserDesk,
    UserRoles,
)
from interlock.control.wire import os_actor
from interlock.errors import NotFound, RecordUnavailable, StateError, UsageError
from interlock.issuer.lockout import LIMIT, Lockout
from interlock.issuer.passwords import Hasher
from interlock.keys import FactorKey
from interlock.store import Persons, State
from interlock.store.accounts import TOTP, Accounts, Factor
from interlock.store.clients import Clients, Grant
from interlock.store.schema import METADATA
from interlock.store.signins import SessionRow, SignIns
from tests.unit.control.conftest import FILE, Acts

ROLES = frozenset({"teller", "auditor"})
URL = "https://id.example.com"
PASSWORD = "wet paper lanterns at noon"
KEY = FactorKey(b"k" * 32)


@pytest.fixture
def desk(state: State, clock: ManualClock) -> UserDesk:
    return UserDesk(state, lambda: KEY, clock, lambda: URL, hasher=lambda: Hasher(memory_kib=64, passes=1))


@pytest.fixture
def withdrawn() -> list[str]:
    return []


def make(desk: UserDesk, acts: Acts, **wanted: Any) -> dict[str, Any]:
    return desk.create(CreateUser(**{"name": "alice", "roles": ["teller"], **wanted}), ROLES, acts)


def account(state: State) -> Any:
    found = Accounts(state).find("alice")
    assert found is not None
    return found


def test_a_link_is_given_out_and_only_its_hash_is_kept(
    desk: UserDesk, acts: Acts, state: State, clock: ManualClock, paths: Any
) -> None:
    made = make(desk, acts)
    assert made["principal"] == "user:interlock/alice"
    assert made["state"] == "invited"
    code = made["link"].removeprefix(f"{URL}/oauth/signin/begin?code=")
    assert len(code) == 43
    assert account(state).invitation == KEY.hash("invitation", code.encode())
    assert account(state).invited_until == clock.wall() + 24 * 3600 * SECOND
    assert account(state).password == b""
    assert acts.done == [("user:create", {"principal": "user:interlock/alice", "roles": ["teller"]})]
    assert account(state).acts == ("act-1",)
    assert code.encode() not in b"".join(path.read_bytes() for path in paths.state.parent.glob("state.db*"))
    assert "link" not in desk.list()["users"][0]


def test_a_password_that_an_operator_sets_is_to_be_changed(desk: UserDesk, acts: Acts, state: State) -> None:
    made = make(desk, acts, password=PASSWORD)
    assert "link" not in made
    assert made["must_change"] is True
    assert PASSWORD not in str(acts.done) + str(made) + repr(CreateUser("alice", password=PASSWORD))
    sealed = account(state).password
    encoded = KEY.unwrap(sealed, f"password\0{account(state).id}").decode()
    assert Hasher(memory_kib=64, passes=1).verify(encoded, PASSWORD)
    for unfit in ("short", "password password", "alice alice alice"):
        with pytest.raises(UsageError):
            make(desk, acts, name="bob", password=unfit)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "\u0430lice", ".alice", "x" * 65, "a\0"])
def test_what_is_no_name(desk: UserDesk, acts: Acts, name: str) -> None:
    with pytest.raises(UsageError):
        make(desk, acts, name=name)
    assert acts.done == []


def test_one_person_per_name_however_it_is_spelled(desk: UserDesk, acts: Acts) -> None:
    make(desk, acts, name="Alice")
    for name in ("alice", "ALICE", "\uff21lice"):
        with pytest.raises(UsageError, match="already"):
            make(desk, acts, name=name)
    assert len(acts.done) == 1


def test_roles_are_those_of_the_file(desk: UserDesk, acts: Acts, withdrawn: list[str]) -> None:
    with pytest.raises(UsageError, match="no role"):
        make(desk, acts, roles=["root"])
    with pytest.raises(UsageError, match="no role"):
        make(desk, acts, roles=["interlock:admin"])
    make(desk, acts)
    with pytest.raises(UsageError, match="no role"):
        desk.roles(UserRoles("alice", ["root"]), ROLES, acts, withdrawn.append)
    changed = desk.roles(UserRoles("ALICE", ["auditor", "auditor"]), ROLES, acts, withdrawn.append)
    assert changed["roles"] == ["auditor"]
    assert acts.done[-1][1]["former"] == ["teller"]
    assert withdrawn == ["user:interlock/alice"]  # tokens say the old ones


@pytest.mark.parametrize("expires", [0, 59 * SECOND, 8 * 86_400 * SECOND, -1])
def test_how_long_a_link_is_good(desk: UserDesk, acts: Acts, expires: int) -> None:
    with pytest.raises(UsageError, match="link"):
        make(desk, acts, expires_ns=expires)
    assert acts.done == []


def test_disabling_and_enabling(desk: UserDesk, acts: Acts, state: State, withdrawn: list[str]) -> None:
    make(desk, acts)
    assert desk.disable(NamedUser("alice"), acts, withdrawn.append)["state"] == "disabled"
    assert withdrawn == ["user:interlock/alice"]
    assert account(state).invitation == b""
    assert desk.enable(NamedUser("alice"), acts)["state"] == "active"
    assert acts.events == ["user:create", "user:disable", "user:enable"]
    with pytest.raises(NotFound):
        desk.disable(NamedUser("bob"), acts, withdrawn.append)


def test_when_the_state_is_broken_the_workers_refuse_all_the_same(
    desk: UserDesk, acts: Acts, withdrawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(desk, acts)

    def broken(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(desk._accounts, "change", broken)
    with pytest.raises(StateError):
        desk.disable(NamedUser("alice"), acts, withdrawn.append)
    assert withdrawn == ["user:interlock/alice"]


def test_resetting_a_password(desk: UserDesk, acts: Acts, state: State, withdrawn: list[str]) -> None:
    make(desk, acts, password=PASSWORD)
    before = account(state)
    done = desk.reset(ResetUser("alice"), acts, withdrawn.append)
    assert done["link"].startswith(URL)
    after = account(state)
    assert after.password == b""
    assert after.changed > before.changed  # what was half-way with the old one begins again
    assert withdrawn == ["user:interlock/alice"]
    assert acts.done[-1] == (
        "user:change",
        {"principal": "user:interlock/alice", "what": "password", "invited": True},
    )
    desk.reset(ResetUser("alice", password="slow rivers carry old boats"), acts, withdrawn.append)
    assert account(state).must_change
    assert account(state).invitation == b""


def test_unlocking(desk: UserDesk, acts: Acts, state: State, clock: ManualClock) -> None:
    made = make(desk, acts, password=PASSWORD)
    lockout = Lockout(SignIns(state), KEY)
    for _ in range(LIMIT):
        lockout.attempt(account=made["id"], name="", source="192.0.2.7", now=clock.wall())
    (shown,) = desk.list()["users"]
    assert shown["state"] == "locked"
    assert shown["locked_until"]
    assert desk.unlock(UnlockUser("alice"), acts)["state"] == "active"
    assert lockout.address_locked("192.0.2.7", clock.wall())
    desk.unlock(UnlockUser("alice", "192.0.2.7"), acts)
    assert not lockout.address_locked("192.0.2.7", clock.wall())
    assert acts.done[-1] == ("user:unlock", {"principal": "user:interlock/alice", "subject": "source:192.0.2.7"})


def test_removing_factors(desk: UserDesk, acts: Acts, state: State, withdrawn: list[str]) -> None:
    made = make(desk, acts)
    accounts = Accounts(state)
    for number in (1, 2):
        accounts.add_factor(
            Factor(f"f{number}", made["id"], TOTP, "", 1, KEY.id, b"sealed", bytes([number]) * 32), most=9
        )
    accounts.set_recovery(made["id"], [b"r" * 32], 1)
    with pytest.raises(NotFound):
        desk.remove_factor(RemoveFactor("alice", "f9"), acts, withdrawn.append)
    assert desk.remove_factor(RemoveFactor("alice", "f1"), acts, withdrawn.append)["removed"] == ["f1"]
    assert accounts.recovery_left(made["id"]) == 1
    desk.remove_factor(RemoveFactor("alice"), acts, withdrawn.append)
    assert accounts.recovery_left(made["id"]) == 0
    assert withdrawn == ["user:interlock/alice"] * 2
    with pytest.raises(NotFound):
        desk.remove_factor(RemoveFactor("alice"), acts, withdrawn.append)


def test_what_cannot_be_recorded_is_not_done(desk: UserDesk, acts: Acts, state: State, withdrawn: list[str]) -> None:
    make(desk, acts)
    before = account(state)
    acts.broken = True
    for work in (
        lambda: make(desk, acts, name="bob"),
        lambda: desk.disable(NamedUser("alice"), acts, withdrawn.append),
        lambda: desk.enable(NamedUser("alice"), acts),
        lambda: desk.unlock(UnlockUser("alice"), acts),
        lambda: desk.reset(ResetUser("alice"), acts, withdrawn.append),
        lambda: desk.roles(UserRoles("alice", ["auditor"]), ROLES, acts, withdrawn.append),
    ):
        with pytest.raises(RecordUnavailable):
            work()
    assert account(state) == before
    assert len(Accounts(state).all()) == 1
    assert withdrawn == []


# -- with everything behind it


def perform(administration: Administration, op: str, **arguments: Any) -> dict[str, Any]:
    return administration.perform(op, arguments, os_actor(), lambda _row: None)


def test_enabling_somebody_brings_no_session_back(desk: UserDesk, state: State, acts: Acts, clock: ManualClock) -> None:
    """Not even one that came about while nobody looked."""
    made = desk.create(CreateUser("alice"), ROLES, acts)
    now = clock.wall()
    signins = SignIns(state)
    signins.begin(SessionRow(b"c" * 32, "sid-1", made["id"], now, now, now + 10**12, now, ("pwd",), "acr", "k"), most=5)
    desk.disable(NamedUser("alice"), acts, lambda _principal: None)
    assert desk.enable(NamedUser("alice"), acts)["sessions"] == 0
    assert signins.sessions(now) == []


def test_removing_somebody_leaves_nothing_of_them_in_the_state(
    desk: UserDesk, acts: Acts, state: State, clock: ManualClock, withdrawn: list[str]
) -> None:
    """Nor of anybody else's less than there was."""
    made, other = make(desk, acts), desk.create(CreateUser("bob"), ROLES, acts)
    now = clock.wall()
    accounts, clients, signins = Accounts(state), Clients(state), SignIns(state)
    for number, one in enumerate((made, other)):
        who, mark = one["id"], bytes([65 + number]) * 32
        accounts.add_factor(Factor(f"f-{who}", who, TOTP, "", now, KEY.id, b"sealed", mark), most=5)
        accounts.set_recovery(who, [mark], now)
        accounts.link(who, "works", mark, now)
        signins.begin(SessionRow(mark, f"s-{who}", who, now, now, now + 10**12, now, ("pwd",), "acr", "k"), most=5)
        clients.add_grant(
            Grant(id=f"g-{who}", client_id="app", principal=one["principal"], created=now, expires=1 << 62,
                  current=b"c", account=who)
        )  # fmt: skip
        clients.allow(who, "app", frozenset({"read"}), frozenset(), now)
        Lockout(signins, KEY).attempt(account=who, name=one["name"], source="", now=now)
    done = desk.remove(NamedUser("alice"), acts, withdrawn.append)
    assert (done["state"], withdrawn) == ("removed", ["user:interlock/alice"])
    assert acts.done[-1] == ("user:remove", {"principal": "user:interlock/alice"}), "on the record"
    assert [one["name"] for one in desk.list()["users"]] == ["bob"]
    with state.reading() as connection:
        for table in METADATA.sorted_tables:
            for row in connection.execute(table.select()):
                assert made["id"] not in str(row), table.name
                assert "alice" not in str(row), table.name
    assert len(accounts.factors(other["id"])) == len(accounts.links(other["id"])) == 1
    assert clients.consent(other["id"], "app")[0] == {"read"}
    assert clients.grant(f"g-{other['id']}") is not None
    assert len(signins.sessions(now)) == 1
    with pytest.raises(NotFound):
        desk.remove(NamedUser("alice"), acts, withdrawn.append)
    assert make(desk, acts)["id"] != made["id"], "the name is free, and somebody else's"


def test_nobody_is_removed_whose_tokens_could_not_be_withdrawn(
    desk: UserDesk, acts: Acts, state: State, withdrawn: list[str]
) -> None:
    make(desk, acts)

    def broken(_principal: str) -> None:
        raise StateError("the disk is gone")

    with pytest.raises(StateError):
        desk.remove(NamedUser("alice"), acts, broken)
    assert account(state).state == "disabled", "and it can be repeated"
    desk.remove(NamedUser("alice"), acts, withdrawn.append)
    assert desk.list()["users"] == []


def test_what_cannot_be_recorded_removes_nobody(desk: UserDesk, acts: Acts, state: State) -> None:
    make(desk, acts)
    acts.broken = True
    with pytest.raises(RecordUnavailable):
        desk.remove(NamedUser("alice"), acts, lambda _principal: None)
    assert account(state).active


@pytest.fixture
def whole(file: Path) -> Any:
    file.write_text(FILE + f"issuer: {{url: {URL}}}\n")
    with Administration.open(file, load(file), writer="cli", running=False) as administration:
        yield administration


def test_disabling_ends_sessions_and_marks_tokens(whole: Administration) -> None:
    made = perform(whole, "user.create", name="alice", roles=["caller"])
    now = whole.clock.wall()
    signins = SignIns(whole.state)
    signins.begin(SessionRow(b"c" * 32, "sid-1", made["id"], now, now, now + 10**12, now, ("pwd",), "acr", "k"), most=5)
    assert perform(whole, "user.list")["users"][0]["sessions"] == 1
    perform(whole, "user.disable", name="alice")
    assert signins.sessions(now) == []
    refused = {one["what"]: one["issued_before"] for one in perform(whole, "revoke.list")["revocations"]}
    assert refused["principal user:interlock/alice"]
    assert "session sid-1" in refused


def test_who_is_removed_is_refused_and_can_be_erased_from_the_record(whole: Administration) -> None:
    perform(whole, "user.create", name="alice", roles=["caller"])
    perform(whole, "user.remove", name="alice")
    assert perform(whole, "user.list")["users"] == []
    refused = perform(whole, "revoke.list")["revocations"]
    assert any(one["issued_before"] for one in refused), "the mark outlives the account"
    assert "alice" not in str(refused)
    perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")


def test_who_is_erased_leaves_no_name(whole: Administration) -> None:
    perform(whole, "user.create", name="alice", roles=["caller"])
    with pytest.raises(UsageError, match="user disable alice"):
        perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")
    made = account(whole.state)
    clients = Clients(whole.state)
    clients.add_grant(
        Grant(id="g1", client_id="app", principal=made.principal, created=1, expires=1 << 62, current=b"c",
              account=made.id)
    )  # fmt: skip
    clients.allow(made.id, "app", frozenset({"read"}), frozenset(), 1)
    perform(whole, "user.disable", name="alice")
    perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")
    assert clients.grant("g1") is None
    assert clients.consent(made.id, "app") == (frozenset(), frozenset())
    (shown,) = perform(whole, "user.list")["users"]
    assert shown["name"].startswith("erased-")
    files = whole.paths.state.parent.glob("state.db*")
    assert not any(b"alice" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("owner", "step"),
    [(Persons, "begin_erasure"), (Persons, "erase"), (Register, "turn")],
    ids=["begin", "erase", "turn"],
)
def test_an_erasure_that_was_killed_is_gone_through_with_by_the_next(
    whole: Administration, monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    """Whomever that is of: the person of the first is known no more, and the keys of before must go all the same."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    perform(whole, "user.create", name="alice", roles=["caller"])
    perform(whole, "user.remove", name="alice")
    with monkeypatch.context() as broken:
        broken.setattr(owner, step, kill)
        with pytest.raises(Killed):
            perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")
    if step == "begin_erasure":
        perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")
    else:
        with pytest.raises(NotFound, match="interrupted before was gone through with now"):
            perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")
    (erasure,) = Persons(whole.state).erasures()
    assert erasure.erased
    assert erasure.scrubbed
    assert erasure.turned
    with pytest.raises(NotFound, match=r"as far as it can be erased from it$"):
        perform(whole, "audit.erase", subject="user:interlock/alice", reason="asked to")


def test_operations_are_read_strictly(whole: Administration) -> None:
    for op, arguments in [
        ("user.nothing", {}),
        ("user.create", {}),
        ("user.create", {"name": "a", "principal": "user:interlock/root"}),
        ("user.create", {"name": 7}),
        ("user.list", {"all": True}),
        ("user.roles", {"name": "a", "roles": "caller"}),
    ]:
        with pytest.raises(UsageError):
            perform(whole, op, **arguments)


def test_without_an_issuer_nobody_is_made(file: Path) -> None:
    with (
        Administration.open(file, load(file), writer="cli", running=False) as administration,
        pytest.raises(UsageError, match="issuer"),
    ):
        perform(administration, "user.create", name="alice")
