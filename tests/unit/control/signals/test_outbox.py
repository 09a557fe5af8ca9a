"""What happens here is put in the queue of whom it is to be told to, by the names that our tokens have."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.control.credentials import Named, OfIssuer, OfToken, Plain
from interlock.control.presented import Tokens
from interlock.control.signals import outbox
from interlock.control.signals.telling import Telling
from interlock.errors import StateError, UsageError
from interlock.issuer.signals.events import CREDENTIAL_CHANGE, DEVICE_COMPLIANCE_CHANGE, SESSION_REVOKED, SUPPORTED
from interlock.model import Event
from interlock.store.signals import DISABLED, PAUSED
from interlock.store.signins import SessionRow, SignIns
from tests.unit.control.signals.conftest import IDP, OWN, Bench


def named(bench: Bench) -> Named:
    return Named(bench.config, Tokens(bench.paths.snapshot, lambda _text, _now: None))


def session(bench: Bench, account: str, sid: str = "s1") -> None:
    now = bench.clock.wall()
    row = SessionRow(sid.encode().ljust(32, b"."), sid, account, now, now, now + 3600 * SECOND, now, (), "", "k")
    SignIns(bench.state).begin(row, most=30)


def only(bench: Bench, stream: str = "s") -> tuple[str, Any, Any]:
    """Event, subject and payload of the one that waits."""
    (claims,) = bench.waiting(stream)
    ((event, payload),) = claims["events"].items()
    return event, claims["sub_id"], payload


def test_a_revoked_user_is_told_of_by_sub(bench: Bench) -> None:
    account = bench.person()
    bench.stream()
    bench.desk.user(Plain("alice"), named(bench), bench.acts)
    event, subject, payload = only(bench)
    assert event == SESSION_REVOKED
    assert subject == {"format": "iss_sub", "iss": OWN, "sub": account.id}
    assert payload == {"event_timestamp": bench.clock.wall() // SECOND, "initiating_entity": "admin"}
    (claims,) = bench.waiting()
    assert claims["iss"] == OWN
    assert claims["aud"] == "shop"
    assert claims["iat"] == bench.clock.wall() // SECOND
    assert not {"sub", "exp"} & set(claims)


def test_a_revoked_session_is_told_of_with_its_user(bench: Bench) -> None:
    account = bench.person()
    session(bench, account.id)
    bench.stream()
    bench.desk.session(OfIssuer("s1"), named(bench), bench.acts)
    _, subject, _ = only(bench)
    assert subject == {
        "format": "complex",
        "user": {"format": "iss_sub", "iss": OWN, "sub": account.id},
        "session": {"format": "opaque", "id": "s1"},
    }


def test_a_session_of_nobody_known_is_named_alone(bench: Bench) -> None:
    bench.stream()
    bench.desk.session(OfIssuer("s9"), named(bench), bench.acts)
    assert only(bench)[1] == {"format": "opaque", "id": "s9"}


def test_tokens_clients_services_and_all_of_ours(bench: Bench) -> None:
    bench.client()
    bench.stream()
    bench.desk.token(OfToken("t1", OWN), named(bench), bench.acts)
    bench.desk.client(OfIssuer("shop"), named(bench), bench.acts)
    bench.desk.principal(Plain("service:interlock/shop"), named(bench), bench.acts)
    bench.desk.issuer(Plain(OWN), named(bench), bench.acts)
    bench.outbox.disabled("shop")
    of_shop = {"format": "iss_sub", "iss": OWN, "sub": "shop"}
    assert [claims["sub_id"] for claims in bench.waiting()] == [
        {"format": "jwt_id", "iss": OWN, "jti": "t1"},
        {"format": "complex", "application": of_shop},
        of_shop,
        {"format": "complex", "tenant": {"format": "uri", "uri": OWN}},
        {"format": "complex", "application": of_shop},
    ]


def test_what_is_of_others_is_told_to_nobody(bench: Bench) -> None:
    bench.stream()
    names = named(bench)
    bench.desk.user(Plain("user:login.example.com/alice"), names, bench.acts)
    bench.desk.session(OfIssuer("s1", IDP), names, bench.acts)
    bench.desk.issuer(Plain(IDP), names, bench.acts)
    bench.receiver.take(bench.set(SESSION_REVOKED, {"format": "iss_sub", "iss": IDP, "sub": "alice"}), by="push")
    bench.desk.user(Plain("nobody"), names, bench.acts)
    assert bench.waiting() == []


def test_it_waits_before_the_act_returns_and_what_cannot_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.person()
    bench.stream()

    def broken(*_: object, **__: object) -> None:
        raise StateError("disk I/O error")

    monkeypatch.setattr(bench.outbox._kept, "enqueue", broken)
    with pytest.raises(StateError, match="repeat the command"):
        bench.desk.user(Plain("alice"), named(bench), bench.acts)
    monkeypatch.undo()
    bench.desk.user(Plain("alice"), named(bench), bench.acts)
    assert len(bench.waiting()) == 1


@pytest.mark.parametrize(
    ("why", "by"), [("signed out", "user"), ("replaced", "user"), ("revoked: r1", "admin"), ("disabled", "admin")]
)
def test_a_session_that_is_ended_is_told_of(bench: Bench, why: str, by: str) -> None:
    account = bench.person()
    session(bench, account.id)
    bench.stream()
    bench.outbox.ended("s1", why)
    event, subject, payload = only(bench)
    assert event == SESSION_REVOKED
    assert subject["session"] == {"format": "opaque", "id": "s1"}
    assert payload["initiating_entity"] == by


@pytest.mark.parametrize("why", ["expired", "idle"])
def test_one_that_is_over_by_itself_is_not(bench: Bench, why: str) -> None:
    bench.stream()
    bench.outbox.ended("s1", why)
    assert bench.waiting() == []


@pytest.mark.parametrize(
    ("event", "details", "claims"),
    [
        (Event.USER_PASSWORD, {"invited": False}, ("password", "update")),
        (Event.USER_PASSWORD, {"invited": True}, ("password", "create")),
        (Event.USER_CHANGE, {"what": "password"}, ("password", "revoke")),
        (Event.FACTOR_ADD, {"kind": "totp"}, ("app", "create")),
        (Event.FACTOR_ADD, {"kind": "passkey"}, ("fido2-platform", "create")),
        (Event.FACTOR_REMOVE, {"kind": "passkey"}, ("fido2-platform", "delete")),
        (Event.USER_CHANGE, {"roles": ["a"]}, None),
        (Event.SESSION_BEGIN, {}, None),
        (Event.FACTOR_ADD, {"kind": "carrier pigeon"}, None),
    ],
)
def test_changed_credentials_are_told_of_by_what_is_on_the_record(
    bench: Bench, event: Event, details: dict[str, Any], claims: tuple[str, str] | None
) -> None:
    account = bench.person()
    bench.stream()
    record = Telling(Both(bench), bench.outbox, "user")
    record.act(event, {"principal": account.principal, **details})
    assert bench.acts.events == [event.text], "on the record, too"
    if claims is None:
        assert bench.waiting() == []
        return
    found, subject, payload = only(bench)
    assert found == CREDENTIAL_CHANGE
    assert subject["sub"] == account.id
    assert (payload["credential_type"], payload["change_type"]) == claims
    assert payload["initiating_entity"] == "user"


class Both:
    """Notes over the acts of the bench."""

    def __init__(self, bench: Bench) -> None:
        self.note = self.act = bench.acts.act


def test_what_cannot_be_recorded_is_not_told(bench: Bench) -> None:
    account = bench.person()
    bench.stream()
    bench.acts.broken = True
    with pytest.raises(Exception, match="disk is full"):
        Telling(Both(bench), bench.outbox, "user").act(Event.USER_PASSWORD, {"principal": account.principal})
    assert bench.waiting() == []


def test_devices_are_told_of_with_who_is_at_them(bench: Bench) -> None:
    account = bench.person()
    bench.stream()
    claims = {"previous_status": "compliant", "current_status": "not-compliant"}
    told = bench.outbox.announce(
        "device-compliance-change", account.principal, "s1", device="laptop", reason="no disk key", claims=claims
    )
    assert told == 1
    event, subject, payload = only(bench)
    assert event == DEVICE_COMPLIANCE_CHANGE
    assert subject == {
        "format": "complex",
        "user": {"format": "iss_sub", "iss": OWN, "sub": account.id},
        "session": {"format": "opaque", "id": "s1"},
        "device": {"format": "iss_sub", "iss": OWN, "sub": "laptop"},
    }
    assert payload["current_status"] == "not-compliant"
    assert payload["reason_admin"] == {"en": "no disk key"}


def test_each_stream_hears_what_it_asked_for(bench: Bench) -> None:
    account = bench.person()
    bench.stream("all")
    bench.stream("one", requested=(CREDENTIAL_CHANGE,))
    bench.stream("none", requested=())
    bench.stream("off", status=DISABLED)
    bench.stream("later", status=PAUSED)
    bench.outbox.announce("session-revoked", account.principal)
    assert {name: len(bench.waiting(name)) for name in ("all", "one", "none", "off", "later")} == {
        "all": 1,
        "one": 0,
        "none": 0,
        "off": 0,
        "later": 1,
    }
    one, other = bench.waiting("all")[0], bench.waiting("later")[0]
    assert one["jti"] != other["jti"], "each has a token of its own"
    assert one["txn"] == other["txn"], "of the same cause"


def test_who_was_left_out_is_not_told_of(bench: Bench) -> None:
    alice, bob = bench.person("alice"), bench.person("bob")
    stream = bench.stream()
    bench.streams.remove_subject(stream, {"format": "iss_sub", "iss": OWN, "sub": alice.id})
    bench.outbox.announce("session-revoked", alice.principal)
    bench.outbox.announce("session-revoked", alice.principal, "s1")
    assert bench.waiting() == []
    bench.outbox.announce("session-revoked", bob.principal)
    bench.desk.issuer(Plain(OWN), named(bench), bench.acts)
    assert len(bench.waiting()) == 2
    bench.streams.add_subject(stream, {"format": "iss_sub", "iss": OWN, "sub": alice.id})
    bench.outbox.announce("session-revoked", alice.principal)
    assert len(bench.waiting()) == 3


def test_nobody_unless_asked_for(bench: Bench) -> None:
    bench.configure("issuer: {url: https://id.example.com, signals: {subjects: none}}\n")
    alice, bob = bench.person("alice"), bench.person("bob")
    stream = bench.stream()
    bench.outbox.announce("session-revoked", alice.principal)
    assert bench.waiting() == []
    bench.streams.add_subject(stream, {"format": "iss_sub", "iss": OWN, "sub": alice.id})
    bench.outbox.announce("session-revoked", alice.principal)
    bench.outbox.announce("session-revoked", bob.principal)
    assert len(bench.waiting()) == 1


def test_without_the_section_nobody_is_told(bench: Bench) -> None:
    account = bench.person()
    bench.stream()
    for more in ("issuer: {url: https://id.example.com}\n", ""):
        bench.configure(more)
        bench.outbox.announce("session-revoked", account.principal)
        bench.outbox.ended("s1", "signed out")
        bench.outbox.disabled("shop")
    assert bench.waiting() == []


def test_what_is_no_signal_is_a_fault_of_ours(bench: Bench) -> None:
    account = bench.person()
    for kind, by in (("session", "admin"), ("session-revoked", "me")):
        with pytest.raises(UsageError):
            bench.outbox.announce(kind, account.principal, by=by)


def test_a_full_queue_pauses_the_stream_and_counts_what_is_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    account = bench.person()
    bench.stream()
    lost: list[str] = []
    bench.outbox.lost = lost.append
    monkeypatch.setattr(outbox, "MOST", 2)
    for _ in range(4):
        bench.outbox.announce("session-revoked", account.principal)
    stream = bench.kept.stream("s")
    assert (stream.status, stream.lost, stream.paused_by) == (PAUSED, 2, "node")
    assert len(bench.waiting()) == 2
    assert lost == ["s", "s"]


def test_whoever_delivers_is_woken(bench: Bench) -> None:
    account = bench.person()
    bench.stream()
    woken: list[int] = []
    bench.outbox.filled = lambda: woken.append(len(bench.waiting()))
    bench.outbox.announce("session-revoked", account.principal)
    assert woken == [1], "when it is there"


def test_all_that_is_supported_can_be_announced() -> None:
    assert set(outbox._EVENTS.values()) == set(SUPPORTED)
