"""What an outside issuer tells us ends what is its own, once, at the time it says, and nothing of anybody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.control.signals.receiver import AGAIN, KEPT, KEYS, WAITING
from interlock.control.signals.sources import Stale
from interlock.errors import RecordUnavailable, StateError
from interlock.identity import client_handle, issuer_handle, principal_handle, session_handle, token_handle
from interlock.issuer.errors import NotYet
from interlock.issuer.http import Request, Response
from interlock.issuer.signals.events import (
    CREDENTIAL_CHANGE,
    DEVICE_COMPLIANCE_CHANGE,
    SESSION_REVOKED,
    STREAM_UPDATED,
    VERIFICATION,
    complex_subject,
    iss_sub,
    jwt_id,
    opaque,
)
from interlock.issuer.signals.sets import SetRefused
from interlock.snapshot import NotBefore, read_changes
from interlock.snapshot.page import EPOCH
from interlock.store.signins import SessionRow, SignIns
from tests.unit.control.signals.conftest import IDP, MUTE, POLLED, Bench
from tests.unit.jose.material import rsa, sign

ALICE = iss_sub(IDP, "alice")
PRINCIPAL = "user:login.example.com/alice"
HANDLE = principal_handle(PRINCIPAL)
MEDIA = {"content-type": "application/secevent+jwt"}
RISK = "https://schemas.openid.net/secevent/caep/event-type/risk-level-change"


def now(bench: Bench) -> int:
    return bench.clock.wall() // SECOND


def push(bench: Bench, token: bytes, request: Request | None = None, **headers: str) -> Response:
    request = request or Request(
        "POST", "/oauth/ssf/events", headers={**MEDIA, **headers}, body=token, now=bench.clock.wall()
    )
    return bench.receiver.push(request)


def refused(bench: Bench, token: bytes, **headers: str) -> str:
    """The code that comes back."""
    answer = push(bench, token, **headers)
    assert answer.status == 400
    body = json.loads(answer.body)
    assert set(body) == {"err", "description"}
    assert dict(answer.fields)["content-language"] == "en"  # RFC 8935 section 2.3
    return str(body["err"])


# -- what is done


def test_a_person_of_the_issuer_is_refused_until_when_it_happened(bench: Bench) -> None:
    happened = now(bench) - 100
    answer = push(bench, bench.set(SESSION_REVOKED, ALICE, {"event_timestamp": happened}))
    assert (answer.status, answer.body) == (202, b"")
    assert bench.since(HANDLE) == happened + 1, "what was issued after it holds"


def test_workers_are_told(bench: Bench) -> None:
    push(bench, bench.set(SESSION_REVOKED, ALICE))
    (change,) = read_changes(bench.paths.changes, 0, bench.page.words[EPOCH])
    assert change == NotBefore(HANDLE, now(bench) + 1, bench.clock.wall() + KEPT)


def test_without_a_time_it_is_when_it_was_issued(bench: Bench) -> None:
    push(bench, bench.set(SESSION_REVOKED, ALICE, iat=now(bench) - 50))
    assert bench.since(HANDLE) == now(bench) - 49


@pytest.mark.parametrize("stated", [10**9 * 10, 1_700_000_000_000, 1e300, 2**70])
def test_it_cannot_have_happened_later_than_now(bench: Bench, stated: float) -> None:
    """Or an issuer with a wrong clock, or milliseconds, would lock its people out for years."""
    assert push(bench, bench.set(SESSION_REVOKED, ALICE, {"event_timestamp": stated})).status == 202
    assert bench.since(HANDLE) == now(bench) + 30 + 1, "the leeway of the file, and no more"


@pytest.mark.parametrize("stated", [0, -5, 0.5])
def test_long_ago_ends_nothing_that_lives(bench: Bench, stated: float) -> None:
    assert push(bench, bench.set(SESSION_REVOKED, ALICE, {"event_timestamp": stated})).status == 202
    assert bench.since(HANDLE) == 1


def test_a_mark_is_never_moved_back(bench: Bench) -> None:
    push(bench, bench.set(SESSION_REVOKED, ALICE, {"event_timestamp": now(bench)}))
    push(bench, bench.set(SESSION_REVOKED, ALICE, {"event_timestamp": now(bench) - 1000}))
    assert bench.since(HANDLE) == now(bench) + 1


@pytest.mark.parametrize(
    ("subject", "handle"),
    [
        (opaque("s1"), session_handle(IDP, "s1")),
        (complex_subject(user=ALICE, session=opaque("s1")), session_handle(IDP, "s1")),
        (jwt_id(IDP, "t1"), token_handle(IDP, "t1")),
    ],
)
def test_one_session_or_token_is_refused_for_good(bench: Bench, subject: Any, handle: bytes) -> None:
    assert push(bench, bench.set(SESSION_REVOKED, subject)).status == 202
    assert bench.revocations.is_revoked(handle)
    assert bench.since(HANDLE) == 0, "nothing else of the person"


def test_clients_and_all_of_the_issuers(bench: Bench) -> None:
    push(bench, bench.set(SESSION_REVOKED, complex_subject(application=iss_sub(IDP, "app"))))
    assert bench.since(client_handle(IDP, "app")) == now(bench) + 1
    push(bench, bench.set(SESSION_REVOKED, complex_subject(tenant={"format": "uri", "uri": IDP})))
    assert bench.since(issuer_handle(IDP)) == now(bench) + 1


@pytest.mark.parametrize(("change", "ends"), [("revoke", True), ("delete", True), ("update", True), ("create", False)])
def test_a_changed_credential_ends_what_came_before(bench: Bench, change: str, ends: bool) -> None:
    payload = {"credential_type": "password", "change_type": change, "event_timestamp": now(bench) - 3}
    assert push(bench, bench.set(CREDENTIAL_CHANGE, ALICE, payload)).status == 202
    assert bench.since(HANDLE) == (now(bench) - 2 if ends else 0)
    (told,) = bench.told("signal:receive")
    assert told["done"] == ("refused" if ends else "nothing")


@pytest.mark.parametrize(("current", "ends"), [("not-compliant", True), ("compliant", False)])
def test_a_device_that_is_not_compliant_ends_who_is_at_it(bench: Bench, current: str, ends: bool) -> None:
    payload = {"previous_status": "compliant", "current_status": current}
    subject = complex_subject(device=iss_sub(IDP, "laptop"), user=ALICE)
    assert push(bench, bench.set(DEVICE_COMPLIANCE_CHANGE, subject, payload)).status == 202
    assert bool(bench.since(HANDLE)) is ends
    push(bench, bench.set(DEVICE_COMPLIANCE_CHANGE, complex_subject(device=iss_sub(IDP, "laptop")), payload))
    assert bool(bench.since(principal_handle("device:login.example.com/laptop"))) is ends


def test_it_is_on_the_record_with_the_name_of_the_token(bench: Bench) -> None:
    push(bench, bench.set(SESSION_REVOKED, ALICE, jti="set-x", txn="tx-1"))
    (revoked,) = bench.told("credential:revoke")
    assert revoked["signal"] == "set-x"
    assert revoked["principal"] == PRINCIPAL
    assert revoked["issued_before"]
    (told,) = bench.told("signal:receive")
    assert told["jti"] == "set-x"
    assert told["issuer"] == IDP
    assert told["principal"] == PRINCIPAL
    assert told["txn"] == "tx-1"
    assert bench.acts.events == ["credential:revoke", "signal:receive"]


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (RISK, ALICE),
        ("urn:example:event", ALICE),
        (VERIFICATION, opaque("stream-1")),
        (SESSION_REVOKED, complex_subject(tenant=opaque("t"))),
        (SESSION_REVOKED, {"format": "did", "url": "did:example:1"}),
    ],
)
def test_what_is_not_known_is_acknowledged_and_recorded(bench: Bench, event: str, subject: Any) -> None:
    assert push(bench, bench.set(event, subject)).status == 202
    assert bench.acts.events == ["signal:receive"]
    assert list(bench.revocations.marks(bench.clock.wall())) == []
    assert list(bench.revocations.revocations(bench.clock.wall())) == []


def test_that_a_stream_is_paused_is_seen(bench: Bench) -> None:
    push(bench, bench.set(STREAM_UPDATED, opaque("s"), {"status": "paused"}))
    assert bench.receiver.status_of(IDP).status == "paused"
    push(bench, bench.set(STREAM_UPDATED, opaque("s"), {"status": "enabled"}))
    assert bench.receiver.status_of(IDP).status == "enabled"


# -- who signs in here as somebody of that issuer


def sign_in(bench: Bench, account: str, sid: str = "s1") -> None:
    at = bench.clock.wall()
    row = SessionRow(sid.encode().ljust(32, b"."), sid, account, at, at, at + 3600 * SECOND, at, (), "", "k")
    SignIns(bench.state).begin(row, most=30)


@pytest.mark.parametrize("subject", [ALICE, complex_subject(user=ALICE, session=opaque("theirs"))])
def test_a_linked_account_loses_its_sign_ins_and_others_hear_of_it(bench: Bench, subject: Any) -> None:
    account, other = bench.person("al"), bench.person("bo")
    sign_in(bench, account.id)
    sign_in(bench, other.id, "s2")
    bench.linked[(IDP, "alice")] = (account.principal, "https://id.example.com")
    bench.stream()
    happened = now(bench) - 10
    push(bench, bench.set(SESSION_REVOKED, subject, {"event_timestamp": happened}, txn="tx-1"))
    signins = SignIns(bench.state)
    assert [row.sid for row in signins.sessions(bench.clock.wall())] == ["s2"]
    assert bench.since(principal_handle(account.principal)) == happened + 1
    assert bench.since(principal_handle(other.principal)) == 0
    (claims,) = bench.waiting()
    assert claims["sub_id"]["sub"] == account.id
    assert claims["txn"] == "tx-1"
    (told,) = bench.told("signal:receive")
    assert account.principal in told.values()


def test_two_who_tell_each_other_come_to_an_end(bench: Bench) -> None:
    account = bench.person("al")
    bench.linked[(IDP, "alice")] = (account.principal, "https://id.example.com")
    bench.stream()
    for _ in range(3):  # the other side tells of what it heard from us, of the same cause
        push(bench, bench.set(SESSION_REVOKED, ALICE, txn="tx-1"))
    assert len(bench.waiting()) == 1
    push(bench, bench.set(SESSION_REVOKED, ALICE, txn="tx-2"))
    assert len(bench.waiting()) == 2


def test_what_others_could_not_be_told_of_they_are_told_of_when_it_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = bench.person("al")
    bench.linked[(IDP, "alice")] = (account.principal, "https://id.example.com")
    bench.stream()
    token = bench.set(SESSION_REVOKED, ALICE)

    def broken(*_: object, **__: object) -> None:
        raise StateError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(bench.outbox._kept, "enqueue", broken)
        assert push(bench, token).status == 503
    assert push(bench, token).status == 202
    assert len(bench.waiting()) == 1


def test_nobody_else_is_linked_and_a_new_credential_ends_nothing(bench: Bench) -> None:
    account = bench.person("al")
    bench.linked[(MUTE, "alice")] = (account.principal, "https://id.example.com")
    bench.linked[(IDP, "alice@example.com")] = (account.principal, "https://id.example.com")
    push(bench, bench.set(SESSION_REVOKED, ALICE))
    push(bench, bench.set(SESSION_REVOKED, {"format": "email", "email": "alice@example.com"}))
    bench.linked[(IDP, "alice")] = (account.principal, "https://id.example.com")
    push(bench, bench.set(CREDENTIAL_CHANGE, ALICE, {"credential_type": "password", "change_type": "create"}))
    push(bench, bench.set(RISK, ALICE))
    assert bench.since(principal_handle(account.principal)) == 0


# -- who may say it, and of whom


@pytest.mark.parametrize(
    "subject",
    [
        iss_sub(MUTE, "bob"),
        iss_sub("https://id.example.com", "usr-alice"),
        complex_subject(user=iss_sub(MUTE, "bob"), session=opaque("s1")),
        jwt_id(POLLED, "t1"),
        {"format": "aliases", "identifiers": [ALICE, iss_sub(MUTE, "bob")]},
    ],
)
def test_nobody_speaks_of_anothers_subjects(bench: Bench, subject: Any) -> None:
    assert refused(bench, bench.set(SESSION_REVOKED, subject)) == "access_denied"
    assert bench.acts.events == ["signal:refused"]
    assert list(bench.revocations.marks(bench.clock.wall())) == []
    assert list(bench.revocations.revocations(bench.clock.wall())) == []


def test_the_same_name_with_another_issuer_is_somebody_else(bench: Bench) -> None:
    push(bench, bench.set(SESSION_REVOKED, opaque("s1")))
    assert not bench.revocations.is_revoked(session_handle(MUTE, "s1"))
    assert not bench.revocations.is_revoked(session_handle("https://id.example.com", "s1"))
    push(bench, bench.set(SESSION_REVOKED, ALICE))
    assert bench.since(principal_handle("user:mute.example.com/alice")) == 0
    assert bench.since(principal_handle("user:interlock/alice")) == 0


@pytest.mark.parametrize(
    "name", ["../interlock/alice", "interlock/alice", "alice\nuser:interlock/bob", "a\u202eb", "\x00"]
)
def test_a_name_stays_beneath_its_authority(bench: Bench, name: str) -> None:
    answer = push(bench, bench.set(SESSION_REVOKED, iss_sub(IDP, name)))
    assert bench.since(principal_handle("user:interlock/alice")) == 0
    assert bench.since(principal_handle("user:interlock/bob")) == 0
    if answer.status == 202:
        assert bench.since(principal_handle(f"user:login.example.com/{name}"))


def test_an_issuer_without_signals_in_the_file_says_nothing(bench: Bench) -> None:
    assert refused(bench, bench.set(SESSION_REVOKED, iss_sub(MUTE, "bob"), iss=MUTE)) == "invalid_issuer"


def test_one_that_is_polled_cannot_push_and_the_other_way_round(bench: Bench) -> None:
    token = bench.set(SESSION_REVOKED, iss_sub(POLLED, "bob"), iss=POLLED)
    assert refused(bench, token) == "invalid_issuer"
    assert bench.receiver.take(token, by="poll", only=POLLED).jti
    with pytest.raises(SetRefused, match="invalid_issuer"):
        bench.receiver.take(bench.set(SESSION_REVOKED, ALICE), by="poll", only=POLLED)


def test_another_issuers_key_does_not_sign_for_it(bench: Bench) -> None:
    assert refused(bench, bench.set(SESSION_REVOKED, ALICE, key=rsa("mute"), kid="idp")) == "invalid_key"
    assert bench.acts.done == [], "what anybody can send is not written down each time"


def test_access_tokens_and_id_tokens_of_the_issuer_are_no_signals(bench: Bench) -> None:
    """Whoever has a token of the issuer would else end everybody's sessions with it."""
    claims = {
        "iss": IDP,
        "sub": "mallory",
        "aud": "sp",
        "iat": now(bench),
        "exp": now(bench) + 300,
        "jti": "t1",
        "sub_id": ALICE,
        "events": {SESSION_REVOKED: {}},
    }
    for typ in ("at+jwt", "JWT", "logout+jwt"):
        token = sign({"typ": typ, "alg": "RS256", "kid": "idp"}, json.dumps(claims).encode(), rsa("idp"))
        assert refused(bench, token) == "invalid_request"
    assert refused(bench, bench.set(SESSION_REVOKED, ALICE, exp=now(bench) + 300)) == "invalid_request"
    assert refused(bench, bench.set(SESSION_REVOKED, ALICE, sub="alice")) == "invalid_request"
    assert bench.since(HANDLE) == 0


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (CREDENTIAL_CHANGE, {}),
        (CREDENTIAL_CHANGE, {"change_type": "explode"}),
        (CREDENTIAL_CHANGE, {"change_type": ["revoke"]}),
        (DEVICE_COMPLIANCE_CHANGE, {}),
        (DEVICE_COMPLIANCE_CHANGE, {"current_status": "fine"}),
        (SESSION_REVOKED, {"event_timestamp": "yesterday"}),
        (SESSION_REVOKED, {"event_timestamp": True}),
        (SESSION_REVOKED, {"event_timestamp": None}),
    ],
)
def test_an_event_that_is_not_as_it_should_be_is_refused(bench: Bench, event: str, payload: Any) -> None:
    assert refused(bench, bench.set(event, ALICE, payload)) == "invalid_request"
    assert bench.since(HANDLE) == 0
    (told,) = bench.told("signal:refused")
    assert told["jti"] == "set-1"


def test_all_of_its_events_or_none(bench: Bench) -> None:
    events = {SESSION_REVOKED: {}, CREDENTIAL_CHANGE: {"change_type": "explode"}}
    assert refused(bench, bench.set(SESSION_REVOKED, ALICE, events=events)) == "invalid_request"
    assert bench.since(HANDLE) == 0


# -- again, and again


def test_one_that_comes_again_is_acknowledged_and_does_nothing(bench: Bench) -> None:
    token = bench.set(SESSION_REVOKED, opaque("s1"))
    assert push(bench, token).status == 202
    done = len(bench.acts.done)
    epoch = bench.page.words[EPOCH]
    for _ in range(5):
        bench.clock.advance(60)
        assert push(bench, token).status == 202
    assert len(bench.acts.done) == done
    assert bench.page.words[EPOCH] == epoch


def test_a_replay_is_known_for_as_long_as_it_would_be_believed(bench: Bench) -> None:
    token = bench.set(SESSION_REVOKED, ALICE, {"event_timestamp": now(bench)})
    push(bench, token)
    done = len(bench.acts.done)
    for days in (1, 6, 6):
        bench.clock.advance(days * 86_400)
        bench.publish(IDP, rsa("idp"))
        push(bench, bench.set(VERIFICATION, opaque("s")))  # has the old forgotten
        push(bench, token)
    assert len(bench.acts.done) == done + 3, "the verifications only"
    bench.clock.advance(2 * 86_400)
    bench.publish(IDP, rsa("idp"))
    assert refused(bench, token) == "invalid_request"


def test_what_could_not_be_done_is_done_when_it_comes_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    token = bench.set(SESSION_REVOKED, ALICE)

    def broken(*_: object, **__: object) -> None:
        raise StateError("disk I/O error")

    for target, name in ((bench.desk._kept, "keep"), (bench.kept.__class__, "remember")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, broken)
            answer = push(bench, token)
            assert answer.status == 503
            assert dict(answer.fields)["retry-after"]
    bench.acts.broken = True
    assert push(bench, token).status == 503
    bench.acts.broken = False
    assert push(bench, token).status == 202
    assert bench.since(HANDLE)


def test_what_cannot_be_recorded_is_not_done(bench: Bench) -> None:
    bench.acts.broken = True
    with pytest.raises(RecordUnavailable):
        bench.receiver.take(bench.set(SESSION_REVOKED, ALICE), by="push")
    assert bench.since(HANDLE) == 0


# -- keys


def test_an_unknown_key_waits_for_newer_ones_and_not_for_ever(bench: Bench) -> None:
    token = bench.set(SESSION_REVOKED, ALICE, key=rsa("next"))
    request = Request("POST", "/oauth/ssf/events", headers=MEDIA, body=token, now=bench.clock.wall())
    for _ in range(3):
        with pytest.raises(NotYet):
            push(bench, token, request)
    assert bench.refreshed == [IDP], "once"
    bench.publish(IDP, rsa("idp"), rsa("next"))
    assert push(bench, token, request).status == 202

    other = bench.set(SESSION_REVOKED, ALICE, key=rsa("made up"))
    request = Request("POST", "/oauth/ssf/events", headers=MEDIA, body=other, now=bench.clock.wall())
    with pytest.raises(NotYet):
        push(bench, other, request)
    bench.clock.advance(KEYS / SECOND)
    assert push(bench, other, request).status == 400


def test_a_flood_of_made_up_keys_waits_for_nothing(bench: Bench) -> None:
    token, waited = bench.set(SESSION_REVOKED, ALICE, key=rsa("made up")), 0
    for _ in range(100):
        try:
            assert push(bench, token).status == 400
        except NotYet:
            waited += 1
    assert waited == WAITING
    bench.clock.advance(KEYS / SECOND + 1)
    assert push(bench, token).status == 400, "nobody waits until they may be asked for again"
    assert bench.refreshed == [IDP]
    bench.clock.advance(AGAIN / SECOND)
    with pytest.raises(NotYet):
        push(bench, token)
    assert bench.refreshed == [IDP, IDP]


def test_keys_that_are_too_old_decide_nothing(bench: Bench) -> None:
    bench.publish(IDP, rsa("idp"), ago=25 * 3600 * SECOND)
    assert push(bench, bench.set(SESSION_REVOKED, ALICE)).status == 503
    with pytest.raises(Stale):
        bench.receiver.take(bench.set(SESSION_REVOKED, ALICE), by="push")
    assert bench.since(HANDLE) == 0


# -- the request itself


@pytest.mark.parametrize("kind", ["", "application/json", "application/jwt", "text/plain", "application/secevent"])
def test_the_body_is_called_what_it_is(bench: Bench, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    request = Request("POST", "/", headers=headers, body=bench.set(SESSION_REVOKED, ALICE), now=bench.clock.wall())
    assert bench.receiver.push(request).status == 400
    assert bench.since(HANDLE) == 0


def test_parameters_of_the_type_do_not_matter(bench: Bench) -> None:
    token = bench.set(SESSION_REVOKED, ALICE)
    headers = {"content-type": "Application/SecEvent+JWT; charset=utf-8"}
    request = Request("POST", "/", headers=headers, body=token + b"\r\n", now=bench.clock.wall())
    assert bench.receiver.push(request).status == 202


def test_only_post(bench: Bench) -> None:
    assert bench.receiver.push(Request("GET", "/", headers=MEDIA, now=1)).status == 405


def test_a_huge_one_is_not_looked_at(bench: Bench) -> None:
    token = bench.set(SESSION_REVOKED, ALICE, padding="x" * 40_000)
    assert refused(bench, token) == "invalid_request"
    assert refused(bench, b"." * 1_000_000) == "invalid_request"


def test_a_flood_of_forgeries_is_said_now_and_then_and_never_recorded(bench: Bench) -> None:
    for _ in range(50):
        refused(bench, bench.set(SESSION_REVOKED, ALICE, key=rsa("mute"), kid="idp"))
    assert len(bench.log.lines) == 1
    bench.clock.advance(11)
    refused(bench, b"x")
    assert len(bench.log.lines) == 2
    assert "'count': 50" in bench.log.lines[1]
    assert bench.acts.done == []


def test_a_bearer_token_is_asked_for_where_the_file_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_TOKEN", "hunter2-and-more")
    bench.configure(
        "identity: {issuers: [{issuer: https://login.example.com, audience: sp, algorithms: [RS256], "
        'jwks: https://login.example.com/jwks, signals: {push: true, token: "${env:PUSH_TOKEN}"}}]}\n'
    )
    token = bench.set(SESSION_REVOKED, ALICE)
    for shown in (
        "",
        "Bearer ",
        "Bearer wrong",
        "hunter2-and-more",
        "Basic hunter2-and-more",
        "Bearer hunter2-and-mor",
    ):
        headers = {"authorization": shown} if shown else {}
        assert refused(bench, token, **headers) == "authentication_failed"
    assert bench.since(HANDLE) == 0
    assert "hunter2" not in str(bench.acts.done) + str(bench.log.lines)
    assert push(bench, token, authorization="Bearer hunter2-and-more").status == 202


def test_a_token_that_does_not_count_fills_no_record_however_often_it_is_sent(bench: Bench) -> None:
    """Signed, and come by: the call that brings it is on the record, the refusal once."""
    for _ in range(20):
        assert refused(bench, bench.set(SESSION_REVOKED, ALICE, jti="one", aud="others")) == "invalid_audience"
    assert len(bench.acts.done) == 1
    assert refused(bench, bench.set(SESSION_REVOKED, ALICE, jti="two", aud="others")) == "invalid_audience"
    assert len(bench.acts.done) == 2


def test_an_audience_of_its_own(bench: Bench) -> None:
    bench.configure(
        "identity: {issuers: [{issuer: https://login.example.com, audience: sp, algorithms: [RS256], "
        "jwks: https://login.example.com/jwks, signals: {push: true, audience: [signals-of-sp]}}]}\n"
    )
    assert refused(bench, bench.set(SESSION_REVOKED, ALICE)) == "invalid_audience"
    assert push(bench, bench.set(SESSION_REVOKED, ALICE, aud="signals-of-sp")).status == 202
