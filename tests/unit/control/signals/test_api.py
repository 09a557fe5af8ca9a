"""Managing streams and polling as a receiver does, over a whole issuer: its own streams, within what is allowed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from interlock.clock import SECOND
from interlock.control.signals.outbox import Outbox
from interlock.control.signals.streams import OF_CLIENT, OF_STREAM, AddStream, NamedStream, SetStatus, StreamDesk
from interlock.errors import RecordUnavailable, UsageError
from interlock.issuer.app import ENDPOINTS, handle
from interlock.issuer.errors import NotYet
from interlock.issuer.http import Request, Response
from interlock.issuer.signals import api
from interlock.issuer.signals.events import CREDENTIAL_CHANGE, SESSION_REVOKED, SUPPORTED, VERIFICATION
from interlock.issuer.signals.stream import MIN_VERIFICATION, POLL, PUSH
from interlock.keys import FactorKey
from interlock.model import Event
from interlock.store.accounts import Account, Accounts
from interlock.store.signals import Signals
from tests.unit.issuer.desk import URL, Desk, claims_of, header, told

PLACE = "https://receiver.example.com/events"


class Service(Desk):
    """The issuer with its streams, and a client that manages some."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        settings.setdefault("signals", {"push_to": [PLACE, "https://wide.example.com/ssf/*"]})
        super().__init__(folder, **settings)
        self.kept = Signals(self.state)
        self.outbox = Outbox(self.state, self.clock, lambda: self.settings)
        self.key = FactorKey(b"f" * 32)
        self.streams = StreamDesk(
            self.state, self.clock, self.outbox, lambda: self.settings, lambda: self.key, lambda: self.record
        )
        self.outbox.filled = self.streams.filled
        if self.settings.signals is not None:
            self.issuer.signals = self.streams
        for name in ("shop", "bank"):
            self.client(name, scopes=(api.SCOPE, "other"))
        self.bearer = {name: self.access(name) for name in ("shop", "bank")}

    def access(self, client: str, scope: str = api.SCOPE) -> str:
        return str(told(self.token(client, grant_type="client_credentials", scope=scope))["access_token"])

    def ask(
        self, method: str, path: str, body: Any = None, *, client: str = "shop", query: dict[str, str] | None = None
    ) -> Response:
        return handle(self.issuer, self.request(method, path, body, client=client, query=query))

    def request(
        self, method: str, path: str, body: Any = None, *, client: str = "shop", query: dict[str, str] | None = None
    ) -> Request:
        return Request(
            method,
            path,
            query=urlencode(query or {}),
            headers={"authorization": f"Bearer {self.bearer[client]}", "content-type": "application/json"},
            body=b"" if body is None else json.dumps(body).encode(),
            now=self.clock.wall(),
        )

    def stream(self, client: str = "shop", **body: Any) -> str:
        made = self.ask("POST", api.STREAMS, body, client=client)
        assert made.status == 201, made.body
        return str(told(made)["stream_id"])

    def poll(self, stream: str, client: str = "shop", **body: Any) -> Response:
        body.setdefault("returnImmediately", True)
        return self.ask("POST", api.POLL, body, client=client, query={"stream_id": stream})

    def sets(self, stream: str, **body: Any) -> dict[str, dict[str, Any]]:
        """The claims of what a poll gives."""
        found = told(self.poll(stream, **body))["sets"]
        return {jti: claims_of(token) for jti, token in found.items()}

    def person(self, name: str = "alice") -> Account:
        account = Account(f"usr-{name}", name, (), self.clock.wall(), "k")
        Accounts(self.state).add(account)
        return account


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.state.close()


# -- metadata


def test_the_metadata_of_the_standard(service: Service) -> None:
    answer = service.send("GET", api.WELL_KNOWN)
    assert answer.status == 200
    assert header(answer, "content-type") == "application/json"
    assert told(answer) == {
        "spec_version": "1_0",
        "issuer": URL,
        "jwks_uri": URL + "/oauth/jwks",
        "delivery_methods_supported": [PUSH, POLL],
        "configuration_endpoint": URL + "/oauth/ssf/streams",
        "status_endpoint": URL + "/oauth/ssf/status",
        "add_subject_endpoint": URL + "/oauth/ssf/subjects/add",
        "remove_subject_endpoint": URL + "/oauth/ssf/subjects/remove",
        "verification_endpoint": URL + "/oauth/ssf/verify",
        "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
        "default_subjects": "ALL",
    }


def test_without_the_section_there_is_nothing_of_it(tmp_path: Path) -> None:
    service = Service(tmp_path, signals=None)
    assert service.send("GET", api.WELL_KNOWN).status == 404
    for path in api.MANAGED:
        assert service.ask("POST", path, {}).status == 404


# -- who may


@pytest.mark.parametrize("path", api.MANAGED)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_endpoint_wants_a_token_of_the_scope(service: Service, path: str, method: str) -> None:
    if method not in ENDPOINTS[path].methods:
        assert service.ask(method, path).status == 405
        return
    other = service.access("shop", "other")
    for authorization in ("", "Bearer x", f"Basic {service.bearer['shop']}", service.bearer["shop"]):
        answer = service.send(method, path, headers={"authorization": authorization}, query={"stream_id": "x"})
        assert answer.status == 401, authorization
        assert 'scope="ssf.manage"' in header(answer, "www-authenticate")
    answer = service.send(method, path, headers={"authorization": f"Bearer {other}"}, query={"stream_id": "x"})
    assert answer.status == 403


def test_a_stream_is_its_clients_own(service: Service) -> None:
    mine = service.stream()
    subject = {"format": "opaque", "id": "x"}
    attempts = [
        service.ask("GET", api.STREAMS, client="bank", query={"stream_id": mine}),
        service.ask("PATCH", api.STREAMS, {"stream_id": mine, "description": "x"}, client="bank"),
        service.ask("PUT", api.STREAMS, {"stream_id": mine}, client="bank"),
        service.ask("DELETE", api.STREAMS, client="bank", query={"stream_id": mine}),
        service.ask("GET", api.STATUS, client="bank", query={"stream_id": mine}),
        service.ask("POST", api.STATUS, {"stream_id": mine, "status": "disabled"}, client="bank"),
        service.ask("POST", api.ADD_SUBJECT, {"stream_id": mine, "subject": subject}, client="bank"),
        service.ask("POST", api.REMOVE_SUBJECT, {"stream_id": mine, "subject": subject}, client="bank"),
        service.ask("POST", api.VERIFY, {"stream_id": mine}, client="bank"),
        service.poll(mine, client="bank"),
    ]
    assert [answer.status for answer in attempts] == [404] * len(attempts)
    assert told(service.ask("GET", api.STREAMS, client="bank")) == []
    nobody = service.ask("GET", api.STREAMS, client="bank", query={"stream_id": "none"})
    assert nobody.body == attempts[0].body, "whether it exists is not told"
    assert service.kept.stream(mine).status == "enabled"


# -- configuration


def test_a_stream_that_is_polled_is_what_one_gets(service: Service) -> None:
    answer = service.ask("POST", api.STREAMS)
    assert answer.status == 201
    found = told(answer)
    assert found["delivery"]["method"] == POLL
    assert found["delivery"]["endpoint_url"] == f"{URL}/oauth/ssf/poll?stream_id={found['stream_id']}"
    assert (found["iss"], found["aud"]) == (URL, "shop")
    assert found["events_delivered"] == list(SUPPORTED)
    assert told(service.ask("GET", api.STREAMS)) == [found]
    assert told(service.ask("GET", api.STREAMS, query={"stream_id": found["stream_id"]})) == found
    (act,) = service.record.of(Event.SIGNAL_STREAM)
    assert (act["what"], act["client"]) == ("create", "shop")


def test_the_content_type_of_a_request_does_not_matter(service: Service) -> None:
    request = service.request("POST", api.STREAMS, {"description": "d"})
    request.headers = {"authorization": request.headers["authorization"]}
    assert handle(service.issuer, request).status == 201


def test_it_is_pushed_where_the_file_allows_and_nowhere_else(service: Service) -> None:
    for url in (PLACE, "https://wide.example.com/ssf/shop"):
        made = service.ask("POST", api.STREAMS, {"delivery": {"method": PUSH, "endpoint_url": url}})
        assert made.status == 201
    for url in (
        "https://receiver.example.com/events/",
        "https://receiver.example.com/",
        "https://evil.example.net/events",
        "https://wide.example.com/other",
        "http://127.0.0.1:8080/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "https://wide.example.com/ssf/../admin",
    ):
        refused = service.ask("POST", api.STREAMS, {"delivery": {"method": PUSH, "endpoint_url": url}})
        assert refused.status == 400, url
    stream = service.stream()
    change = {"stream_id": stream, "delivery": {"method": PUSH, "endpoint_url": "https://evil.example.net/"}}
    for method in ("PATCH", "PUT"):
        assert service.ask(method, api.STREAMS, change).status == 400
    assert service.kept.stream(stream).method == "poll"


def test_changing_and_replacing(service: Service) -> None:
    stream = service.stream(description="first", events_requested=[SESSION_REVOKED])
    changed = told(service.ask("PATCH", api.STREAMS, {"stream_id": stream, "description": "second"}))
    assert changed["description"] == "second"
    assert changed["events_delivered"] == [SESSION_REVOKED]
    changed = told(service.ask("PUT", api.STREAMS, {"stream_id": stream, "events_requested": [CREDENTIAL_CHANGE]}))
    assert "description" not in changed, "what is not said of a replacement is gone"
    assert changed["events_delivered"] == [CREDENTIAL_CHANGE]
    shown = told(service.ask("GET", api.STREAMS, query={"stream_id": stream}))
    assert service.ask("PATCH", api.STREAMS, shown).status == 200, "what was read can be sent back"
    for name, value in (("aud", "bank"), ("iss", "https://evil.example"), ("events_delivered", [])):
        assert service.ask("PATCH", api.STREAMS, {"stream_id": stream, name: value}).status == 400
    assert service.ask("PATCH", api.STREAMS, {"description": "x"}).status == 400
    assert service.ask("PATCH", api.STREAMS, [1]).status == 400


def test_a_header_is_never_sent_to_another_place_than_it_was_meant_for(service: Service) -> None:
    delivery = {"method": PUSH, "endpoint_url": PLACE, "authorization_header": "Bearer hunter2"}
    made = service.ask("POST", api.STREAMS, {"delivery": delivery})
    stream = told(made)["stream_id"]
    assert b"hunter2" not in made.body
    assert service.kept.stream(stream).authorization
    assert "hunter2" not in str(service.record.acts)
    moved = {"stream_id": stream, "delivery": {"method": PUSH, "endpoint_url": "https://wide.example.com/ssf/x"}}
    assert service.ask("PATCH", api.STREAMS, moved).status == 200
    assert service.kept.stream(stream).authorization == b""


def test_a_deleted_stream_is_gone_with_what_waits(service: Service) -> None:
    account, stream = service.person(), service.stream()
    service.outbox.announce("session-revoked", account.principal)
    assert service.ask("DELETE", api.STREAMS, query={"stream_id": stream}).status == 204
    assert service.ask("DELETE", api.STREAMS, query={"stream_id": stream}).status == 404
    assert service.ask("DELETE", api.STREAMS).status == 400
    assert service.kept.backlogs() == {}


def test_a_client_has_only_so_many(service: Service) -> None:
    for _ in range(OF_CLIENT):
        service.stream()
    assert service.ask("POST", api.STREAMS, {}).status == 400
    service.stream(client="bank")


def test_what_cannot_be_recorded_is_not_done(service: Service) -> None:
    stream = service.stream()
    service.record.broken = RecordUnavailable("the disk is full")
    assert service.ask("POST", api.STREAMS, {}).status == 503
    assert service.ask("DELETE", api.STREAMS, query={"stream_id": stream}).status == 503
    service.record.broken = None
    assert [one.id for one in service.kept.streams()] == [stream]


# -- status, subjects, verification


def test_a_receiver_pauses_and_goes_on(service: Service) -> None:
    account, stream = service.person(), service.stream()
    assert told(service.ask("GET", api.STATUS, query={"stream_id": stream})) == {
        "stream_id": stream,
        "status": "enabled",
    }
    paused = service.ask("POST", api.STATUS, {"stream_id": stream, "status": "paused", "reason": "maintenance"})
    assert told(paused) == {"stream_id": stream, "status": "paused", "reason": "maintenance"}
    service.outbox.announce("session-revoked", account.principal)
    assert service.sets(stream) == {}, "nothing while it is paused"
    service.ask("POST", api.STATUS, {"stream_id": stream, "status": "enabled"})
    assert len(service.sets(stream)) == 1, "and nothing is lost"
    service.ask("POST", api.STATUS, {"stream_id": stream, "status": "disabled"})
    service.outbox.announce("session-revoked", account.principal)
    service.ask("POST", api.STATUS, {"stream_id": stream, "status": "enabled"})
    assert service.sets(stream) == {}, "a disabled stream holds nothing"
    for wrong in ({"status": "off"}, {}, {"status": "paused", "reason": 7}):
        assert service.ask("POST", api.STATUS, {"stream_id": stream, **wrong}).status == 400


def test_what_an_operator_has_set_the_receiver_does_not_undo(service: Service) -> None:
    stream = service.stream()
    service.streams.put_status(SetStatus(stream, "paused", "contract ended"), service.record)
    assert service.ask("POST", api.STATUS, {"stream_id": stream, "status": "enabled"}).status == 403
    service.streams.put_status(SetStatus(stream, "enabled"), service.record)
    events = [event for claims in service.sets(stream).values() for event in claims["events"]]
    assert {event.rpartition("/")[2] for event in events} == {"stream-updated"}
    assert service.ask("POST", api.STATUS, {"stream_id": stream, "status": "paused"}).status == 200
    with pytest.raises(UsageError):
        service.streams.put_status(SetStatus(stream, "off"), service.record)


def test_subjects_are_left_out_and_taken_in_again(service: Service) -> None:
    account, stream = service.person(), service.stream()
    subject = {"format": "iss_sub", "iss": URL, "sub": account.id}
    removed = service.ask("POST", api.REMOVE_SUBJECT, {"stream_id": stream, "subject": subject})
    assert (removed.status, removed.body) == (204, b"")
    service.outbox.announce("session-revoked", account.principal)
    assert service.sets(stream) == {}
    added = service.ask("POST", api.ADD_SUBJECT, {"stream_id": stream, "subject": subject, "verified": True})
    assert (added.status, added.body) == (200, b"")
    service.outbox.announce("session-revoked", account.principal)
    assert len(service.sets(stream)) == 1
    unknown = {"format": "email", "email": "nobody@example.com"}
    assert service.ask("POST", api.ADD_SUBJECT, {"stream_id": stream, "subject": unknown}).status == 200, "not told"
    for wrong in (None, "alice", {"format": "iss_sub"}, {"format": "complex"}):
        assert service.ask("POST", api.ADD_SUBJECT, {"stream_id": stream, "subject": wrong}).status == 400


def test_a_verification_event_comes_by_the_stream_with_its_state(service: Service) -> None:
    stream = service.stream()
    state = base64.b64encode(b"This is an example state value.").decode()
    answer = service.ask("POST", api.VERIFY, {"stream_id": stream, "state": state})
    assert (answer.status, answer.body) == (204, b"")
    (claims,) = service.sets(stream).values()
    assert claims["sub_id"] == {"format": "opaque", "id": stream}
    assert claims["events"] == {VERIFICATION: {"state": state}}
    again = service.ask("POST", api.VERIFY, {"stream_id": stream})
    assert again.status == 429
    assert header(again, "retry-after")
    service.clock.pass_seconds(MIN_VERIFICATION)
    service.bearer["shop"] = service.access("shop")
    assert service.ask("POST", api.VERIFY, {"stream_id": stream}).status == 204
    assert service.ask("POST", api.VERIFY, {"stream_id": stream, "state": "x" * 2000}).status == 400
    assert service.ask("POST", api.VERIFY, {"stream_id": stream, "state": 7}).status == 400


# -- polling


def test_what_waits_is_given_until_it_is_acknowledged(service: Service) -> None:
    account, stream = service.person(), service.stream()
    for _ in range(3):
        service.outbox.announce("session-revoked", account.principal)
    first = service.sets(stream)
    assert len(first) == 3
    assert list(service.sets(stream)) == list(first), "again: nobody has acknowledged it"
    jtis = list(first)
    assert list(service.sets(stream, ack=jtis[:2])) == jtis[2:]
    assert service.sets(stream, ack=jtis) == {}
    sent = [told["jti"] for told in service.record.of(Event.SIGNAL_SEND)]
    assert sent == jtis


def test_in_portions(service: Service) -> None:
    account, stream = service.person(), service.stream()
    for _ in range(5):
        service.outbox.announce("session-revoked", account.principal)
    found = told(service.poll(stream, maxEvents=2))
    assert len(found["sets"]) == 2
    assert found["moreAvailable"] is True
    jtis = list(found["sets"])
    found = told(service.poll(stream, maxEvents=3, ack=jtis))
    assert len(found["sets"]) == 3
    assert "moreAvailable" not in found
    assert told(service.poll(stream, maxEvents=0, ack=list(found["sets"]))) == {"sets": {}}
    assert service.sets(stream) == {}


def test_what_the_receiver_could_not_take_goes_and_is_recorded(service: Service) -> None:
    account, stream = service.person(), service.stream()
    service.outbox.announce("session-revoked", account.principal)
    (jti,) = service.sets(stream)
    errors = {jti: {"err": "invalid_audience", "description": "x" * 9999}, "never": {"err": "x"}}
    assert service.sets(stream, setErrs=errors) == {}
    (act,) = service.record.of(Event.SIGNAL_REFUSED)
    assert (act["jti"], act["error"], act["by"]) == (jti, "invalid_audience", "receiver")


def test_another_streams_events_are_not_acknowledged_by_this_one(service: Service) -> None:
    account, mine, theirs = service.person(), service.stream(), service.stream(client="bank")
    service.outbox.announce("session-revoked", account.principal)
    (jti,) = [one.jti for one in service.kept.waiting(theirs, 10)]
    service.poll(mine, ack=[jti], setErrs={jti: {"err": "invalid_key"}})
    assert len(service.kept.waiting(theirs, 10)) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"maxEvents": -1},
        {"maxEvents": "all"},
        {"maxEvents": True},
        {"returnImmediately": "no"},
        {"ack": "x"},
        {"ack": [1]},
        {"ack": ["x"] * 1001},
        {"setErrs": []},
        {"setErrs": {"x": "y"}},
    ],
)
def test_a_poll_that_cannot_be_read_is_refused(service: Service, body: dict[str, Any]) -> None:
    stream = service.stream()
    assert service.poll(stream, **body).status == 400


def test_a_stream_that_is_pushed_is_not_polled(service: Service) -> None:
    stream = service.stream(delivery={"method": PUSH, "endpoint_url": PLACE})
    assert service.poll(stream).status == 400


def test_a_poll_waits_for_something_and_has_it_soon(service: Service) -> None:
    account, stream = service.person(), service.stream()
    request = service.request("POST", api.POLL, {}, query={"stream_id": stream})
    for _ in range(3):
        with pytest.raises(NotYet) as later:
            handle(service.issuer, request)
        assert later.value.wait <= 0.2
    service.outbox.announce("session-revoked", account.principal)
    assert len(told(handle(service.issuer, request))["sets"]) == 1


def test_what_another_process_put_there_is_seen_within_a_second(service: Service) -> None:
    account, stream = service.person(), service.stream()
    request = service.request("POST", api.POLL, {}, query={"stream_id": stream})
    with pytest.raises(NotYet):
        handle(service.issuer, request)
    Outbox(service.state, service.clock, lambda: service.settings).announce("session-revoked", account.principal)
    request.now += api.UNSEEN
    assert len(told(handle(service.issuer, request))["sets"]) == 1


def test_a_poll_does_not_wait_for_ever_and_acknowledges_once(service: Service) -> None:
    account, stream = service.person(), service.stream()
    service.outbox.announce("session-revoked", account.principal)
    (jti,) = service.sets(stream)
    request = service.request("POST", api.POLL, {"ack": [jti]}, query={"stream_id": stream})
    with pytest.raises(NotYet):
        handle(service.issuer, request)
    assert len(service.record.of(Event.SIGNAL_SEND)) == 1, "before it waits"
    request.now += api.WAIT
    answer = handle(service.issuer, request)
    assert told(answer) == {"sets": {}}
    assert len(service.record.of(Event.SIGNAL_SEND)) == 1


def test_only_so_many_polls_wait(service: Service) -> None:
    stream = service.stream()
    for _ in range(OF_STREAM):
        with pytest.raises(NotYet):
            handle(service.issuer, service.request("POST", api.POLL, {}, query={"stream_id": stream}))
    answer = handle(service.issuer, service.request("POST", api.POLL, {}, query={"stream_id": stream}))
    assert told(answer) == {"sets": {}}, "the next one is answered at once"
    service.clock.pass_seconds(api.WAIT / SECOND)
    service.bearer["shop"] = service.access("shop")
    with pytest.raises(NotYet):
        handle(service.issuer, service.request("POST", api.POLL, {}, query={"stream_id": stream}))


def test_a_client_that_is_refused_meanwhile_hears_nothing_more(service: Service) -> None:
    from interlock.identity.handles import client_handle

    account, stream = service.person(), service.stream()
    request = service.request("POST", api.POLL, {}, query={"stream_id": stream})
    with pytest.raises(NotYet):
        handle(service.issuer, request)
    service.directory.revoke(client_handle(URL, "shop"))
    service.outbox.announce("session-revoked", account.principal)
    assert handle(service.issuer, request).status == 401


# -- operators


def test_an_operator_makes_one_and_may_push_to_this_machine(service: Service) -> None:
    made = service.streams.add(
        AddStream("bank", push="http://127.0.0.1:9000/x", audience=["sp"], events=["session-revoked"]), service.record
    )
    assert (made["method"], made["url"], made["audience"]) == ("push", "http://127.0.0.1:9000/x", ["sp"])
    assert made["events"] == ["session-revoked"]
    polled = service.streams.add(AddStream("bank"), service.record)
    assert polled["poll"].endswith(f"/oauth/ssf/poll?stream_id={polled['id']}")
    assert len(service.streams.list()["streams"]) == 2
    service.streams.drop(NamedStream(made["id"]), service.record)
    assert len(service.streams.list()["streams"]) == 1


def test_a_receiver_does_not_turn_an_operators_url_into_another_of_this_machine(service: Service) -> None:
    made = service.streams.add(AddStream("shop", push="http://127.0.0.1:9000/x"), service.record)
    same = {"method": PUSH, "endpoint_url": "http://127.0.0.1:9000/x"}
    assert service.ask("PATCH", api.STREAMS, {"stream_id": made["id"], "delivery": same}).status == 200
    assert service.kept.stream(made["id"]).operator
    other = {"method": PUSH, "endpoint_url": "http://127.0.0.1:6379/"}
    assert service.ask("PATCH", api.STREAMS, {"stream_id": made["id"], "delivery": other}).status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        AddStream("shop", push="http://10.0.0.1/"),
        AddStream("shop", push="https://a/?b"),
        AddStream("shop", events=["everything"]),
        AddStream("shop", push=PLACE, authorization="a\nb"),
    ],
)
def test_what_an_operator_mistypes_is_refused(service: Service, wrong: AddStream) -> None:
    with pytest.raises(UsageError):
        service.streams.add(wrong, service.record)
    assert service.kept.streams() == []


def test_a_client_that_could_not_poll_gets_no_such_stream(service: Service) -> None:
    service.client("third")
    with pytest.raises(UsageError, match=r"ssf\.manage"):
        service.streams.add(AddStream("third"), service.record)
    service.streams.add(AddStream("third", push=PLACE), service.record)
