"""Revoking: on the record first, then in the state, then at the workers, with whatever hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.desk import BESIDE_THE_NODE
from interlock.cli.desk import REVOKING as FROM_COMMANDS
from interlock.clock import SECOND, ManualClock
from interlock.control.build import SnapshotBuilder
from interlock.control.credentials import Named, OfCertificate, OfIssuer, OfToken, Plain
from interlock.control.dependants import dependants
from interlock.control.keys import Create, KeyDesk
from interlock.control.operations import OPERATIONS, Lane
from interlock.control.paths import Paths
from interlock.control.presented import Tokens
from interlock.control.publish import Publisher
from interlock.control.revocation import RevocationDesk
from interlock.errors import NotFound, RecordUnavailable, StateError, UsageError
from interlock.identity import (
    certificate_handle,
    client_handle,
    decode_key_entry,
    family_handle,
    issuer_handle,
    key_handle,
    principal_handle,
    session_handle,
    token_handle,
)
from interlock.keys import Keyring
from interlock.snapshot import Change, KeyAdded, NodePage, NodeSpec, NotBefore, Revoked, Snapshot, read_changes
from interlock.snapshot.directory import Directory
from interlock.snapshot.page import EPOCH
from interlock.store import Revocations, State
from interlock.store.accounts import Account, Accounts
from interlock.store.clients import UNMANAGED, Client, Clients, Grant, Secret
from interlock.store.revocations import KEPT
from interlock.store.signins import SessionRow, SignIns
from tests.unit.control.conftest import Acts
from tests.unit.control.test_credentials import FILE, OTHER, OWN, config, with_keys
from tests.unit.identity.authorities import Authority
from tests.unit.identity.fakes import ISSUER, issuer_spec, token

ALICE = "user:login.example.com/alice"
BILLING = "service:interlock/billing"
LATER = 400 * 86_400 * SECOND


class Bench:
    """A desk, and what it changes."""

    def __init__(self, state: State, paths: Paths, page: NodePage, clock: ManualClock, acts: Acts) -> None:
        self.state, self.paths, self.page, self.clock, self.acts = state, paths, page, clock, acts
        self.publisher = Publisher(paths, page)
        self.changed: list[Client] = []
        self.desk = RevocationDesk(state, self.publisher, clock, dependants(state, self.changed.append))
        self.named = Named(config(FILE + f"issuer: {{url: {OWN}}}\n"), Tokens(paths.snapshot, lambda _text, _now: None))
        self.directory = Directory(page, paths.changes, b"k" * 32)
        self.kept = Revocations(state)

    @property
    def changes(self) -> Sequence[Change]:
        return read_changes(self.paths.changes, 0, self.page.words[EPOCH])

    @property
    def second(self) -> int:
        return self.clock.wall() // SECOND

    def rebuild(self) -> Directory:
        """A worker that was started again after a new snapshot."""
        SnapshotBuilder(self.paths, self.state, self.page, self.clock).build(NodeSpec("", 0, 1), [])
        self.directory.rebase(Snapshot.open(self.paths.snapshot))
        return self.directory

    def key(self, keyring: Keyring, name: str = "billing") -> dict[str, Any]:
        desk = KeyDesk(self.state, self.publisher, self.clock)
        return desk.create(Create(name, ["caller"]), frozenset({"caller"}), keyring, self.acts)

    def revoke(self, kind: str) -> dict[str, Any]:
        """One of each kind."""
        acts, named, desk = self.acts, self.named, self.desk
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "token": lambda: desk.token(OfToken("t1", ISSUER), named, acts),
            "client": lambda: desk.client(OfIssuer("shop", OTHER), named, acts),
            "session": lambda: desk.session(OfIssuer("s1", OTHER), named, acts),
            "principal": lambda: desk.principal(Plain(ALICE), named, acts),
            "user": lambda: desk.user(Plain(ALICE), named, acts),
            "issuer": lambda: desk.issuer(Plain(ISSUER), named, acts),
            "certificate": lambda: desk.certificate(OfCertificate("ab" * 32), named, acts),
        }
        return ways[kind]()


HANDLES = {
    "token": token_handle(ISSUER, "t1"),
    "client": client_handle(OTHER, "shop"),
    "session": session_handle(OTHER, "s1"),
    "principal": principal_handle(ALICE),
    "user": principal_handle(ALICE),
    "issuer": issuer_handle(ISSUER),
    "certificate": certificate_handle(b"\xab" * 32),
}
MARKED = {"client", "principal", "user", "issuer"}
EVERY = pytest.mark.parametrize("kind", sorted(HANDLES))


@pytest.fixture
def bench(state: State, paths: Paths, page: NodePage, clock: ManualClock, acts: Acts) -> Bench:
    return Bench(state, paths, page, clock, acts)


def broken(*_: object, **__: object) -> None:
    raise StateError("disk I/O error")


@EVERY
def test_recorded_kept_and_published(bench: Bench, kind: str) -> None:
    done = bench.revoke(kind)
    handle = HANDLES[kind]
    assert bench.acts.events == ["credential:revoke"]
    (change,) = bench.changes
    if kind in MARKED:
        assert change == NotBefore(handle, bench.second + 1)
        assert [(one.handle, one.since, one.act) for one in bench.kept.marks(bench.clock.wall())] == [
            (handle, bench.second + 1, done["act"])
        ]
    else:
        assert change == Revoked(handle)
        assert [(one.handle, one.act) for one in bench.kept.revocations(bench.clock.wall())] == [(handle, done["act"])]
    assert done["revoked"][0]["kind"] == ("principal" if kind == "user" else kind)
    assert bool(done["issued_before"]) == (kind in MARKED)
    shown = bench.desk.live()["revocations"]
    assert [one["act"] for one in shown] == [done["act"]]
    assert done["revoked"][0]["id"] in shown[0]["what"]


@EVERY
def test_what_cannot_be_recorded_is_not_done(bench: Bench, kind: str) -> None:
    bench.acts.broken = True
    with pytest.raises(RecordUnavailable):
        bench.revoke(kind)
    assert bench.changes == []
    assert bench.desk.live()["revocations"] == []


@EVERY
def test_a_broken_database_still_refuses_and_says_what_is_missing(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it missed stays refused over every new snapshot of this node."""
    since = bench.second + 1
    with monkeypatch.context() as patched:
        patched.setattr(Revocations, "keep", broken)
        with pytest.raises(StateError, match="repeat the command"):
            bench.revoke(kind)
    for _ in range(2):
        directory = bench.rebuild()
        if kind in MARKED:
            assert directory.not_before(HANDLES[kind]) == since
        else:
            assert directory.is_revoked(HANDLES[kind])
        bench.clock.advance(LATER / SECOND)  # nor does it end by itself
    bench.revoke(kind)
    assert len(bench.desk.live()["revocations"]) == 1


def test_the_latest_of_state_and_log_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state has the first mark and missed the second; the next snapshot has both to choose from."""
    bench.revoke("principal")
    bench.clock.advance(10)
    monkeypatch.setattr(Revocations, "keep", broken)
    with pytest.raises(StateError):
        bench.revoke("principal")
    assert bench.rebuild().not_before(HANDLES["principal"]) == bench.second + 1
    directory = Directory(bench.page, bench.paths.changes, b"k" * 32)
    directory.rebase(Snapshot.open(bench.paths.snapshot))
    bench.clock.step(-5)
    with pytest.raises(StateError):
        bench.revoke("principal")
    directory.catch_up()
    assert directory.not_before(HANDLES["principal"]) == bench.second + 6, "a clock that is set back moves no mark"


# -- a principal and what it has


def test_a_principal_goes_with_its_keys(bench: Bench, keyring: Keyring) -> None:
    keys = [bench.key(keyring), bench.key(keyring)]
    other = bench.key(keyring, "other")
    done = bench.desk.principal(Plain(BILLING), bench.named, bench.acts)
    assert {one["id"] for one in done["revoked"]} == {BILLING, *(key["id"] for key in keys)}
    rows = bench.state.keys()
    assert {row.id for row in rows if row.revoked} == {key["id"] for key in keys}
    assert {Revoked(key_handle(key["id"])) for key in keys} < set(bench.changes)
    assert Revoked(key_handle(other["id"])) not in bench.changes
    event, details = bench.acts.done[-1]
    assert event == "credential:revoke"
    assert details["principal"] == BILLING
    assert set(details["keys"]) == {key["id"] for key in keys}
    assert done["notes"] == []


def test_keys_are_refused_although_the_state_cannot_tell_which(
    bench: Bench, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark reaches them: a key says when it was made."""
    bench.key(keyring)
    with monkeypatch.context() as patched:
        patched.setattr(State, "keys", broken)
        patched.setattr(Revocations, "keep", broken)
        with pytest.raises(StateError, match="repeat"):
            bench.desk.principal(Plain(BILLING), bench.named, bench.acts)
    (added, mark) = bench.changes
    assert isinstance(added, KeyAdded)
    assert isinstance(mark, NotBefore)
    assert decode_key_entry(added.value).created // SECOND < mark.since


def test_a_key_made_at_once_after_the_revocation_holds(bench: Bench, keyring: Keyring) -> None:
    bench.key(keyring)
    bench.clock.advance(0.3)
    bench.desk.principal(Plain(BILLING), bench.named, bench.acts)
    bench.clock.advance(0.1)
    made = bench.key(keyring)
    entry = next(
        decode_key_entry(change.value)
        for change in bench.changes
        if isinstance(change, KeyAdded) and decode_key_entry(change.value).id == made["id"]
    )
    directory = bench.rebuild()
    assert entry.created // SECOND >= directory.not_before(principal_handle(BILLING))
    assert entry.not_before == 0, "it works at once"
    assert not directory.is_revoked(key_handle(made["id"]))


def test_a_name_that_nobody_here_has_is_told(bench: Bench) -> None:
    done = bench.desk.user(Plain("Alice"), bench.named, bench.acts)
    assert "spelling" in done["notes"][0]
    assert bench.desk.user(Plain(ALICE), bench.named, bench.acts)["notes"] == [], "of others nobody can tell"


# -- what our own issuer keeps


def client(name: str = "shop-1", **members: Any) -> Client:
    made = {"client_name": "shop", "principal": "service:interlock/shop", "created": 1}
    return Client(client_id=name, secrets=(Secret(b"h" * 32, 1),), **{**made, **members})


def grant(name: str, **members: Any) -> Grant:
    made = {"client_id": "shop-1", "principal": "user:interlock/alice", "created": 1, "expires": 1 << 62}
    return Grant(id=name, current=b"c" * 32, **{**made, **members})


def session(sid: str, account: str) -> SessionRow:
    return SessionRow(sid.encode().ljust(32, b"."), sid, account, 1, 1, 1 << 62, 1, ("pwd",), "", "k")


@pytest.fixture
def signed_in(bench: Bench) -> Bench:
    """Alice is signed in twice and has let two clients in; Bob is signed in once."""
    clients, signins = Clients(bench.state), SignIns(bench.state)
    for one in (client(), client("other-2", principal="service:interlock/other")):
        clients.add(one)
    for account in ("alice", "bob"):
        Accounts(bench.state).add(Account(f"id-{account}", account, (), 1, "k"))
    for one in (
        grant("f1", session="s1"),
        grant("f2", session="s2", client_id="other-2"),
        grant("f3", principal="user:interlock/bob", session="s3"),
    ):
        clients.add_grant(one)
    for row in (session("s1", "id-alice"), session("s2", "id-alice"), session("s3", "id-bob")):
        signins.begin(row, most=10)
    return bench


def living(bench: Bench) -> set[str]:
    now = bench.clock.wall()
    found = {row.sid for row in SignIns(bench.state).sessions(now)}
    return found | {one.id for one in Clients(bench.state).living_grants(now)}


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("user", {"s3", "f3"}),
        ("client", {"s1", "s2", "s3", "f2"}),
        ("session", {"s2", "s3", "f2", "f3"}),
        ("issuer", set()),
        ("token", {"s1", "s2", "s3", "f2", "f3"}),
    ],
)
def test_what_hangs_on_it_dies(signed_in: Bench, kind: str, left: set[str]) -> None:
    bench = signed_in
    before = living(bench)
    with_keys(bench.paths, issuer_spec(issuer=OWN, authority="interlock"))
    desk, named, acts = bench.desk, bench.named, bench.acts
    done = {
        "user": lambda: desk.user(Plain("alice"), named, acts),
        "client": lambda: desk.client(OfIssuer("shop-1"), named, acts),
        "session": lambda: desk.session(OfIssuer("s1"), named, acts),
        "issuer": lambda: desk.issuer(Plain(OWN), named, acts),
        "token": lambda: desk.token(OfToken(token=token(iss=OWN, jti="t1", fid="f1").decode()), named, acts),
    }[kind]()
    assert living(bench) == left
    dead = {one["id"] for one in done["revoked"] if one["kind"] in ("session", "family")}
    assert dead == before - left
    for name in dead:
        handle = family_handle(OWN, name) if name.startswith("f") else session_handle(OWN, name)
        assert any(isinstance(change, Revoked) and change.handle == handle for change in bench.changes), name
        assert bench.rebuild().is_revoked(handle), "what was issued from it in the same moment"
    for name in left:
        handle = family_handle(OWN, name) if name.startswith("f") else session_handle(OWN, name)
        assert not bench.directory.is_revoked(handle)
    assert [
        row.why for row in [Clients(bench.state).grant(name) for name in before - left if name.startswith("f")] if row
    ]
    assert done["expires"] is not None, "our own tokens live so long and no longer"


def test_what_hangs_on_it_dies_before_the_mark_is_dated(signed_in: Bench) -> None:
    """A refresh that came through while its family still lived is dated before the mark."""
    bench = signed_in

    class Slow:
        def kill(self, *_: object) -> list[Any]:
            bench.clock.advance(3)
            return []

    begun = bench.second
    desk = RevocationDesk(bench.state, bench.publisher, bench.clock, [Slow()])
    desk.user(Plain("alice"), bench.named, bench.acts)
    (mark,) = bench.changes
    assert isinstance(mark, NotBefore)
    assert mark.since == begun + 3 + 1


def test_what_began_to_hang_on_it_meanwhile_dies_too(signed_in: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thief redeems a code in that moment: the access token is dated before the mark, the refresh token is not."""
    bench = signed_in
    publish = bench.publisher.publish

    def while_it_is_published(changes: Sequence[Change]) -> list[int]:
        now = bench.clock.wall()
        grant = Grant(
            id="meanwhile",
            client_id="app",
            principal="user:interlock/alice",
            created=now,
            expires=now + LATER,
            current=b"h" * 32,
        )
        Clients(bench.state).add_grant(grant)
        return publish(changes)

    monkeypatch.setattr(bench.publisher, "publish", while_it_is_published)
    bench.desk.user(Plain("alice"), bench.named, bench.acts)
    found = Clients(bench.state).grant("meanwhile")
    assert found is not None
    assert found.revoked


@pytest.mark.parametrize("which", ["kill", "keep"])
def test_what_hangs_on_it_is_told_to_the_workers_although_the_state_fails(
    signed_in: Bench, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    bench = signed_in
    monkeypatch.setattr(*((SignIns, "revoke", broken) if which == "kill" else (Revocations, "keep", broken)))
    with pytest.raises(StateError, match="repeat"):
        bench.desk.user(Plain("alice"), bench.named, bench.acts)
    said = {change.handle: change for change in bench.changes if not isinstance(change, KeyAdded)}
    assert principal_handle("user:interlock/alice") in said
    assert family_handle(OWN, "f1") in said
    assert all(change.until == 0 for change in said.values()), "until the command was repeated"


def test_a_client_loses_its_secrets_and_can_be_given_another(signed_in: Bench, keyring: Keyring) -> None:
    bench = signed_in
    key = bench.key(keyring, "shop")
    done = bench.desk.client(OfIssuer("shop-1"), bench.named, bench.acts)
    assert {"kind": "client-secret", "id": "shop-1", "issuer": None} in done["revoked"]
    assert {"kind": "key", "id": key["id"], "issuer": None} in done["revoked"], "its principal's"
    kept = Clients(bench.state).get("shop-1")
    assert not kept.disabled
    assert [secret.until for secret in kept.secrets] == [bench.clock.wall()]
    assert [one.client_id for one in bench.changed] == ["shop-1"], "the running issuer is told"
    bench.clock.advance(1)
    again = bench.desk.client(OfIssuer("shop-1"), bench.named, bench.acts)
    assert [one["kind"] for one in again["revoked"]] == ["client"]


def test_a_client_that_registered_itself_loses_what_would_give_it_another_secret(bench: Bench) -> None:
    clients = Clients(bench.state)
    clients.add(client("dyn-1", registration=b"r" * 32))
    done = bench.desk.client(OfIssuer("dyn-1"), bench.named, bench.acts)
    assert {"kind": "registration-token", "id": "dyn-1", "issuer": None} in done["revoked"]
    assert bench.acts.done[-1][1]["takes"] == ["client-secret", "registration-token"], "on the record"
    kept = clients.get("dyn-1")
    assert kept.registration == UNMANAGED
    assert kept.self_registered, "else it would count as one that an operator has looked at"
    bench.clock.advance(1)
    again = bench.desk.client(OfIssuer("dyn-1"), bench.named, bench.acts)
    assert [one["kind"] for one in again["revoked"]] == ["client"]
    assert "takes" not in bench.acts.done[-1][1]


def test_a_client_that_was_made_here_is_none_that_registered_itself_after_a_revocation(signed_in: Bench) -> None:
    signed_in.desk.client(OfIssuer("shop-1"), signed_in.named, signed_in.acts)
    assert not Clients(signed_in.state).get("shop-1").self_registered


def test_a_disabled_client_stays_disabled(bench: Bench) -> None:
    Clients(bench.state).add(client("dyn-1", registration=b"r" * 32, disabled=7))
    done = bench.desk.client(OfIssuer("dyn-1"), bench.named, bench.acts)
    assert [one["kind"] for one in done["revoked"]] == ["client"]
    assert Clients(bench.state).get("dyn-1").disabled == 7


def test_a_client_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.desk.client(OfIssuer("nobody"), bench.named, bench.acts)
    assert bench.acts.done == []


# -- forgetting


def test_what_is_over_goes_from_snapshots_and_then_from_the_state(bench: Bench) -> None:
    with_keys(bench.paths, issuer_spec())
    text = token(exp=bench.second + 60, jti="t1").decode()
    bench.desk.token(OfToken(token=text), bench.named, bench.acts)
    bench.desk.client(OfIssuer("shop", OTHER, until_ns=bench.clock.wall() + 60 * SECOND), bench.named, bench.acts)
    bench.desk.principal(Plain(ALICE), bench.named, bench.acts)
    directory = bench.rebuild()
    assert directory.is_revoked(HANDLES["token"])
    assert directory.not_before(HANDLES["client"])
    bench.clock.advance(60 + 301)
    directory = bench.rebuild()
    assert not directory.is_revoked(HANDLES["token"])
    assert not directory.not_before(HANDLES["client"])
    assert directory.not_before(HANDLES["principal"]), "of which nobody knows when it is over"
    snapshot = Snapshot.open(bench.paths.snapshot)
    assert (len(snapshot.table("revoked")), len(snapshot.table("marks"))) == (0, 1)
    assert bench.desk.drop(bench.acts) == 0, "a day later"
    bench.clock.advance(KEPT / SECOND)
    assert bench.desk.drop(bench.acts) == 2
    assert bench.acts.done[-1] == ("revocation:expire", {"count": 2})
    assert bench.desk.drop(bench.acts) == 0
    assert bench.acts.events.count("revocation:expire") == 1
    assert len(bench.desk.live()["revocations"]) == 1


def test_a_token_that_still_lives_is_still_refused(bench: Bench) -> None:
    """To the last moment at which any worker could take it, with the widest leeway there is."""
    with_keys(bench.paths, issuer_spec())
    text = token(exp=bench.second + 60, jti="t1").decode()
    bench.desk.token(OfToken(token=text), bench.named, bench.acts)
    bench.clock.advance(60 + 300)
    assert bench.rebuild().is_revoked(HANDLES["token"])


@pytest.mark.parametrize(
    "exp", [2**63 // SECOND - 300, 2**63 // SECOND, 2**64 // SECOND, 253_402_300_798, 253_402_300_799]
)
def test_a_token_that_never_ends_is_refused_for_good(bench: Bench, exp: int) -> None:
    """Issuers write 9999-12-31 for never; such a token is taken, so who has stolen it must be got rid of."""
    with_keys(bench.paths, issuer_spec())
    done = bench.desk.token(OfToken(token=token(exp=exp, jti="t1").decode()), bench.named, bench.acts)
    assert done["expires"] is None
    assert bench.rebuild().is_revoked(HANDLES["token"])
    assert Revoked(HANDLES["token"]) in bench.changes


@pytest.mark.parametrize("year", [2262, 2263, 2555, 9999])
def test_a_certificate_that_never_ends_is_refused_for_good(bench: Bench, year: int) -> None:
    """RFC 5280 section 4.1.2.5 has devices without an end say 99991231235959Z."""
    leaf = Authority().issue(end=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))
    done = bench.desk.certificate(OfCertificate(pem=leaf.pem), bench.named, bench.acts)
    assert done["expires"] is None
    assert bench.rebuild().is_revoked(certificate_handle(leaf.fingerprint))


def test_erasing_a_person_takes_the_name_from_what_revoked_them(bench: Bench) -> None:
    bench.desk.principal(Plain(ALICE), bench.named, bench.acts)
    bench.state.forget(ALICE, "service:interlock/erased-1", bench.clock.wall())
    (shown,) = bench.desk.live()["revocations"]
    assert shown["what"] == "principal service:interlock/erased-1"
    assert bench.rebuild().not_before(HANDLES["principal"])


def test_commands_and_control_mean_the_same_by_revoking() -> None:
    revoking = {name for name, one in OPERATIONS.items() if one.lane is Lane.REVOKING}
    assert revoking == FROM_COMMANDS
    assert revoking < BESIDE_THE_NODE


def test_without_a_node_nobody_is_told(bench: Bench, tmp_path: Path) -> None:
    desk = RevocationDesk(bench.state, Publisher(Paths(tmp_path / "none"), None), bench.clock, [])
    done = desk.principal(Plain(ALICE), bench.named, bench.acts)
    assert done["workers_killed"] == []
    assert bench.rebuild().not_before(HANDLES["principal"])


@pytest.mark.parametrize("wanted", [OfToken(), OfToken("x", "https://nobody.example.com")])
def test_what_is_asked_wrongly_is_on_no_record(bench: Bench, wanted: OfToken) -> None:
    with pytest.raises(UsageError):
        bench.desk.token(wanted, bench.named, bench.acts)
    assert bench.acts.done == []
    assert bench.changes == []
