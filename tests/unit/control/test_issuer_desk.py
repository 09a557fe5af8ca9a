"""The issuer of a node, put together: its keys, clients and whom it trusts are what workers have, at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND, ManualClock
from interlock.config import OwnIssuer
from interlock.control.build import SnapshotBuilder
from interlock.control.issuer_desk import IssuerDesk
from interlock.control.issuer_keys import OVERLAP, IssuerKeys
from interlock.control.issuer_notes import CountedNotes
from interlock.control.issuer_routes import own_issuer
from interlock.control.issuer_status import ISSUER_REPORT, IssuerStatus
from interlock.control.paths import Paths
from interlock.control.publish import Publisher
from interlock.errors import KeyMaterialError, RecordUnavailable, StateError
from interlock.identity.handles import certificate_handle
from interlock.keys import Keyring
from interlock.model import Event
from interlock.snapshot import NodePage, NodeSpec, Revoked, Snapshot, TrustSpec
from interlock.snapshot.metrics import OAUTH_ERRORS, OAUTH_WORD, Counter
from interlock.store import State
from interlock.store.clients import Client, Clients, Secret
from tests.unit.control.conftest import Acts
from tests.unit.control.test_anchors import Own
from tests.unit.identity.authorities import Authority
from tests.unit.issuer.desk import FakeRecord, NoProofs, OnceInMemory

URL = "https://id.example.com"
HOUR = 3600 * SECOND
DAY = 24 * HOUR


@pytest.fixture
def settings() -> OwnIssuer:
    return OwnIssuer.model_validate({"url": URL, "trust": "partners"})


@pytest.fixture
def keys(keyring: Keyring, paths: Paths, clock: ManualClock, acts: Acts) -> IssuerKeys:
    return IssuerKeys(keyring, paths, clock, acts)


def client(client_id: str = "billing", **fields: Any) -> Client:
    values: dict[str, Any] = {
        "client_id": client_id,
        "client_name": "b",
        "principal": "service:interlock/b",
        "created": 1,
    }
    return Client(**{**values, **fields})


# -- keys


def test_keys_are_written_out_listed_and_on_the_record(
    keys: IssuerKeys, settings: OwnIssuer, paths: Paths, clock: ManualClock, acts: Acts, keyring: Keyring
) -> None:
    first = keys.tend(settings).signer
    assert json.loads(paths.issuer_jwks.read_text()) == {"keys": [first.jwk]}
    assert acts.events == [], "that there is a first one is no rotation"
    clock.advance(89 * DAY / SECOND)
    found = keys.tend(settings)
    assert found.signer.kid == first.kid
    (new,) = {one.kid for one in found.published} - {first.kid}
    assert acts.done == [("keyring:rotate", {"key": "issuer", "former": first.kid, "new": new})]
    assert [one.state for one in keys.described] == ["signs", "next"]
    clock.advance(DAY / SECOND)
    assert keys.tend(settings).signer.kid == new
    assert [one.state for one in keys.described] == ["former", "signs"]
    clock.advance(OVERLAP / SECOND)
    assert [one.kid for one in keys.tend(settings).published] == [new]
    entry = keyring.inventory().keys["issuer"]
    assert {one.id: bool(one.destroyed_ns) for one in entry.versions} == {first.kid: True, new: False}


def test_what_cannot_be_recorded_is_no_key(
    keys: IssuerKeys, settings: OwnIssuer, clock: ManualClock, acts: Acts, keyring: Keyring
) -> None:
    first = keys.tend(settings).signer
    sealed = keyring.open("issuer")
    clock.advance(89 * DAY / SECOND)
    acts.broken = True
    with pytest.raises(RecordUnavailable):
        keys.tend(settings)
    assert keyring.open("issuer") == sealed
    acts.broken = False
    assert {one.kid for one in keys.tend(settings).published} > {first.kid}


def test_keys_that_are_known_need_nobody_who_opens_them(
    keys: IssuerKeys, settings: OwnIssuer, clock: ManualClock, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What seals them may be far away, and not answer for a while."""
    first = keys.tend(settings).signer

    def away(*_: object) -> bytes:
        raise KeyMaterialError("the vault does not answer")

    monkeypatch.setattr(Keyring, "open", away)
    monkeypatch.setattr(Keyring, "seal", away)
    clock.advance(DAY / SECOND)
    assert keys.tend(settings).signer is first
    clock.advance(88 * DAY / SECOND)
    with pytest.raises(KeyMaterialError):
        keys.tend(settings)
    monkeypatch.undo()
    assert len(keys.tend(settings).published) == 2


def test_keys_of_a_damaged_file_are_not_made_anew(
    keys: IssuerKeys, settings: OwnIssuer, keyring: Keyring, paths: Paths, clock: ManualClock, acts: Acts
) -> None:
    """Whoever damages it would otherwise have every token of everybody refused."""
    keys.tend(settings)
    (keyring.folder / "issuer.sealed").write_bytes(b"nonsense")
    with pytest.raises(KeyMaterialError):
        IssuerKeys(keyring, paths, clock, acts).tend(settings)


# -- what workers have


@pytest.fixture
def built(
    keys: IssuerKeys, settings: OwnIssuer, paths: Paths, state: State, page: NodePage, clock: ManualClock
) -> SnapshotBuilder:
    keys.tend(settings)
    builder = SnapshotBuilder(paths, state, page, clock)
    authority = PARTNERS
    node = NodeSpec(
        "",
        0,
        1,
        issuers=own_issuer(settings, paths),
        trust={"partners": TrustSpec("partners", authority.pem, "san-uri")},
    )
    builder.build(node, [])
    return builder


def node_of(paths: Paths) -> NodeSpec:
    snapshot = Snapshot.open(paths.snapshot)
    try:
        return snapshot.node
    finally:
        snapshot.close()


def test_a_rebuild_brings_new_keys_to_the_workers(
    built: SnapshotBuilder, keys: IssuerKeys, settings: OwnIssuer, paths: Paths, clock: ManualClock
) -> None:
    """Without that, every token of the new key would be refused from its first second on."""
    assert not built.behind()
    clock.advance(89 * DAY / SECOND)
    found = keys.tend(settings)
    assert built.behind()
    built.rebuild()
    (own,) = node_of(paths).issuers
    assert json.loads(own.jwks) == found.jwks
    assert not built.behind()


def test_a_rebuild_brings_and_takes_the_certificates_of_clients(
    built: SnapshotBuilder, paths: Paths, state: State
) -> None:
    own = Own("billing")
    clients = Clients(state)
    clients.add(client(certificates=(own.pem,)))
    assert built.behind()
    built.rebuild()
    assert node_of(paths).client_anchors == [own.pem]
    clients.change("billing", disabled=5)
    assert built.behind()
    built.rebuild()
    assert node_of(paths).client_anchors == []


def test_a_node_without_an_issuer_has_no_anchors(
    paths: Paths, state: State, page: NodePage, clock: ManualClock
) -> None:
    Clients(state).add(client(certificates=(Own("billing").pem,)))
    builder = SnapshotBuilder(paths, state, page, clock)
    builder.build(NodeSpec("", 0, 1), [])
    assert node_of(paths).client_anchors == []
    assert not builder.behind()


# -- the desk


NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARTNERS = Authority(start=NOW - timedelta(days=4000), end=NOW + timedelta(days=40_000))


@pytest.fixture
def desk(
    built: SnapshotBuilder,
    settings: OwnIssuer,
    paths: Paths,
    page: NodePage,
    keyring: Keyring,
    state: State,
    clock: ManualClock,
) -> Iterator[IssuerDesk]:
    record: Any = FakeRecord()
    made = IssuerDesk(paths, page, keyring, state, Publisher(paths, page), record, NoProofs(), OnceInMemory(), clock)
    made.configure(settings)
    yield made
    made.close()


def test_a_client_is_as_the_state_has_it_whoever_speaks_last(desk: IssuerDesk, state: State) -> None:
    """A rotation that tells of its change after a revocation has told of its own brings nothing back."""
    assert desk.issuer is not None
    clients = Clients(state)
    before = client(secrets=(Secret(b"s" * 32, 1),))
    clients.add(before)
    clients.change("billing", secrets=(Secret(b"s" * 32, 1, 2),))
    desk.client_changed(before)
    known = desk.issuer.registry.get("billing")
    assert known is not None
    assert known.client.secrets[0].until == 2


def test_a_client_that_is_disabled_is_gone_whatever_the_state_says(
    desk: IssuerDesk, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.issuer is not None
    Clients(state).add(client())
    desk.client_changed(client())
    assert desk.issuer.registry.get("billing") is not None

    def broken(*_: object) -> Client:
        raise StateError("the disk is gone")

    monkeypatch.setattr(Clients, "modify", broken)
    desk.client_changed(msgspec.structs.replace(client(), disabled=7))
    assert desk.issuer.registry.get("billing") is None


@pytest.mark.parametrize("profile", [None, "fapi2"])
def test_workers_are_told_what_proofs_of_its_tokens_are_signed_with(
    desk: IssuerDesk, settings: OwnIssuer, paths: Paths, profile: str | None
) -> None:
    (spec,) = own_issuer(settings.model_copy(update={"profile": profile}), paths)
    assert spec.dpop_fapi2 is (profile == "fapi2")


@pytest.mark.parametrize("nonce", ["accepted", "required"])
def test_workers_are_told_that_proofs_have_to_bring_a_nonce(
    desk: IssuerDesk, settings: OwnIssuer, paths: Paths, nonce: str
) -> None:
    changed = OwnIssuer.model_validate({"url": settings.url, "dpop": {"nonce": nonce}})
    (spec,) = own_issuer(changed, paths)
    assert spec.dpop_nonce is (nonce == "required")


def test_codes_and_whoever_signs_in_outlive_a_reload(desk: IssuerDesk, settings: OwnIssuer) -> None:
    assert desk.issuer is not None
    before = desk.issuer
    desk.configure(settings)
    assert desk.issuer is not before
    assert desk.issuer.codes is before.codes


def test_the_bundle_of_the_file_vouches_and_no_other(
    desk: IssuerDesk, settings: OwnIssuer, paths: Paths, page: NodePage, clock: ManualClock
) -> None:
    assert desk.issuer is not None
    now = datetime.fromtimestamp(clock.wall() // SECOND, UTC)
    days = {"start": now - timedelta(days=1), "end": now + timedelta(days=9)}
    leaf = PARTNERS.issue(uris=["spiffe://example.org/a"], **days)
    stranger = Authority(start=days["start"], end=days["end"]).issue(uris=["spiffe://example.org/a"], **days)
    assert desk.issuer.vouched(leaf.peer.der, clock.wall())
    assert not desk.issuer.vouched(stranger.peer.der, clock.wall())
    Publisher(paths, page)._log.append([Revoked(certificate_handle(leaf.fingerprint))])
    assert not desk.issuer.vouched(leaf.peer.der, clock.wall()), "as soon as it is announced"
    other = PARTNERS.issue(uris=["spiffe://example.org/b"], **days)
    assert desk.issuer.vouched(other.peer.der, clock.wall())
    for name in ("", "nosuch"):
        desk.configure(settings.model_copy(update={"trust": name}))
        assert not desk.issuer.vouched(other.peer.der, clock.wall())


def test_status_says_what_it_is(desk: IssuerDesk, paths: Paths, state: State) -> None:
    Clients(state).add(client())
    desk.client_changed(client())
    status = desk.status("")
    assert status is not None
    assert (status.url, status.serving, status.clients, len(status.keys)) == (URL, True, 1, 1)
    ISSUER_REPORT.write(paths.run, status)
    assert ISSUER_REPORT.read(paths.run) == status
    desk.configure(None)
    assert desk.status("") is None
    ISSUER_REPORT.write(paths.run, None)
    assert ISSUER_REPORT.read(paths.run) is None
    (paths.run / "issuer.json").write_text("{")
    assert ISSUER_REPORT.read(paths.run) is None
    assert IssuerStatus(URL, False, "why").problem == "why"


def test_what_is_issued_and_refused_is_counted() -> None:
    record: Any = FakeRecord()
    notes = CountedNotes(record)
    for _ in range(3):
        notes.note(Event.TOKEN_ISSUE, {})
    for error in ("invalid_client", "invalid_client", "invalid_grant", "something_new"):
        notes.note(Event.TOKEN_REFUSED, {"error": error})
    record.broken = RecordUnavailable("full")
    with pytest.raises(RecordUnavailable):
        notes.note(Event.TOKEN_ISSUE, {})
    totals = notes.totals()
    assert totals[Counter.TOKENS_ISSUED] == 3
    assert [totals[OAUTH_WORD[error]] for error in ("invalid_client", "invalid_grant", OAUTH_ERRORS[-1])] == [2, 1, 1]
