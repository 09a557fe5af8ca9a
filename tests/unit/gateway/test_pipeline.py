"""The life of a call over stand-ins for its neighbours: what must refuse, refuses."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from interlock.gateway.call import Call
from interlock.gateway.http1 import parse_request_head
from interlock.gateway.paths import canonicalize
from interlock.gateway.peer import Peer
from interlock.gateway.pipeline import MATCHES, Pipeline
from interlock.gateway.route import Matched
from interlock.model import ANONYMOUS, Identity, PeerCertificate, Pending, Principal, Reason, Refusal
from interlock.snapshot.sightings import Sighting

KNOWN = Identity(principal=Principal.parse("user:a/b"), text="user:a/b", methods=("jwt",))


class Records:
    """Keeps what would be written."""

    def __init__(self) -> None:
        self.tight = False
        self.intents: list[Call] = []
        self.moves: list[str] = []
        self.refusals: list[Reason] = []

    def intent(self, call: Call) -> None:
        call.intent = (b"s" * 16, len(self.intents))
        self.intents.append(call)

    def refused(self, call: Call, refusal: Refusal, answer: Callable[[bool], None], duration: int) -> None:
        self.refusals.append(refusal.reason)

    def progress(self, call: Call, duration: int) -> None: ...

    def moved(self, call: Call, identity: Identity, what: str) -> None:
        self.moves.append(what)


class House:
    """A pipeline with one route; what the route's layers say is the test's."""

    def __init__(self, *, preflight: bool = False) -> None:
        self.records = Records()
        self.identity: Any = KNOWN
        self.preflights = 0
        self.sighting, self.news = Sighting(False, False), False
        self.shown: list[tuple[Any, ...]] = []
        self.state = SimpleNamespace(
            directory=SimpleNamespace(behind=False, epoch=1), stale=False, trusted_proxies=[ip_network("10.0.0.0/8")]
        )
        self.route = SimpleNamespace(
            id="r", service="up", authenticate=self.authenticate, own=False, vouched=None, strength=None,
            same_network=False, conditional=False,
            allow=lambda identity, facts: None, limit=None, preflight_limit=self.spend, body_limit=100, durable=False,
            cors=SimpleNamespace(origins=("https://a",), methods=("GET",), headers=(), max_age=1,
                                 credentials=False) if preflight else None,
            forward_credentials=False, pool=SimpleNamespace(authority=b"up"),
        )  # fmt: skip
        self.state.live = SimpleNamespace(
            match=lambda head: Matched(self.route, canonicalize(head.target, head.host), {}, preflight)  # type: ignore[arg-type]
        )
        anything: Any = SimpleNamespace(
            line=lambda *_: b"interlock-identity: x\r\n",
            judge=lambda refusal, *_: refusal,
            refused=lambda *_: None,
            ended=lambda *_: None,
            look=lambda *_: (self.sighting, self.news),
        )
        state: Any = self.state
        records: Any = self.records
        self.pipeline = Pipeline(
            state=state, calls=records, assertions=anything, failures=anything, meter=anything, seen=anything,
            wall=lambda: 1, monotonic=lambda: 1,
        )  # fmt: skip

    def authenticate(self, *shown: Any) -> Any:
        self.shown.append(shown)
        return self.identity

    def spend(self, identity: Identity, address: bytes, now: int) -> Any:
        self.preflights += 1
        limited = Refusal(Reason.RATE_LIMITED) if self.preflights > 2 else None
        return SimpleNamespace(refusal=limited, fields=())

    def call(self, *fields: bytes, peer: Peer | None = None, method: bytes = b"GET") -> Call:
        raw = b"%b /a HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, b"".join(field + b"\r\n" for field in fields))
        stream: Any = SimpleNamespace(send_whole=lambda *_: None, end_after=lambda: None, reset=lambda: None)
        return Call(self.pipeline, stream, peer or Peer("192.0.2.1"), parse_request_head(raw), 1)


def test_a_call_that_every_layer_lets_through_has_its_intent_written() -> None:
    house = House()
    house.pipeline.handle(call := house.call())
    assert house.records.intents == [call]
    assert house.records.refusals == []


def test_a_proxy_whose_fields_disagree_is_refused() -> None:
    house = House()
    peer = Peer("10.0.0.1", trusted=True)
    house.pipeline.handle(house.call(b"X-Forwarded-For: 192.0.2.7", b"Forwarded: for=unknown", peer=peer))
    assert house.records.refusals == [Reason.FORWARDED_CONFLICT]
    assert house.records.intents == []


def test_a_proxy_that_is_trusted_no_longer_speaks_for_itself() -> None:
    """A reload took it off the list while its connection stays open."""
    house = House()
    house.state.trusted_proxies = []
    peer = Peer("10.0.0.1", trusted=True)
    house.pipeline.handle(call := house.call(b"X-Forwarded-For: 192.0.2.7", peer=peer))
    assert call.source == "10.0.0.1"
    assert b"192.0.2.7" not in call.wire_bytes


def test_preflights_are_limited() -> None:
    house = House(preflight=True)
    for _ in range(4):
        fields = (b"Origin: https://a", b"Access-Control-Request-Method: GET")
        house.pipeline.handle(house.call(*fields, method=b"OPTIONS"))
    assert len(house.records.intents) == 2
    assert house.records.refusals[0] is Reason.RATE_LIMITED


@pytest.mark.parametrize("preflight", [False, True])
def test_the_reserve_is_not_for_strangers(preflight: bool) -> None:
    house = House(preflight=preflight)
    house.identity = ANONYMOUS
    house.records.tight = True
    house.pipeline.handle(house.call(b"Origin: https://a", method=b"OPTIONS" if preflight else b"GET"))
    assert house.records.intents == []
    house.identity = KNOWN
    if not preflight:
        house.pipeline.handle(house.call())
        assert len(house.records.intents) == 1


def test_what_a_route_asks_of_a_sign_in_comes_before_what_it_allows() -> None:
    house = House()
    house.route.strength = lambda _identity, _now: Refusal(Reason.AUTHENTICATION_INSUFFICIENT)
    house.route.allow = lambda *_: pytest.fail("not reached")
    house.pipeline.handle(house.call())
    assert house.records.refusals == [Reason.AUTHENTICATION_INSUFFICIENT]
    assert house.records.intents == []


def test_a_sign_in_that_grows_too_old_ends_a_call_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    ended = aborts(monkeypatch)
    house.pipeline.handle(call := house.call())
    house.route.strength = lambda _identity, _now: Refusal(Reason.AUTHENTICATION_INSUFFICIENT)
    house.pipeline.recheck(call)
    assert ended == [Reason.AUTHENTICATION_INSUFFICIENT]


TOKEN = msgspec.structs.replace(KNOWN, issuer="https://login", handles=(b"h" * 32,))


@pytest.mark.parametrize(
    ("sighting", "told", "refused"),
    [
        (Sighting(False, False), [], False),
        (Sighting(False, True), ["program"], False),  # a fingerprint alone never refuses
        (Sighting(True, False), ["network"], True),
        (Sighting(True, True), ["network"], True),
        (Sighting(False, False, known=False), [], True),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_token_from_elsewhere(sighting: Sighting, told: list[str], refused: bool, asked: bool) -> None:
    """Always told; refused where the route says so, and for the network alone."""
    house = House()
    house.identity, house.sighting, house.news = TOKEN, sighting, bool(told)
    house.route.same_network = asked
    house.pipeline.handle(house.call())
    assert house.records.moves == told
    assert house.records.refusals == ([Reason.CREDENTIAL_MOVED] if refused and asked else [])


def test_an_address_that_a_proxy_names_has_no_fingerprint() -> None:
    house = House()
    seen: list[Any] = []
    house.pipeline._seen = SimpleNamespace(look=lambda *place: (seen.append(place), (house.sighting, False))[1])  # type: ignore[assignment]
    house.identity = TOKEN
    peer = Peer("10.0.0.1", trusted=True)
    peer.program = b"the proxy's"
    house.pipeline.handle(house.call(b"X-Forwarded-For: 192.0.2.7", peer=peer))
    own = Peer("192.0.2.7")
    own.program = b"program1"
    house.route.same_network = True
    house.pipeline.handle(house.call(peer=own))
    assert [(place[1], place[2]) for place in seen] == [(b"\xc0\0\2\7", b""), (b"\xc0\0\2\7", b"program1")]
    assert [place[5] for place in seen] == [False, True], "whether the route asks is said"


@pytest.mark.parametrize(
    ("trusted", "field", "shown"),
    [
        (False, b"X-Forwarded-For: 192.0.2.7", True),  # a stranger's invention
        (True, b"Accept: */*", True),  # the proxy itself calls
        (True, b"X-Forwarded-For: 192.0.2.7", False),
        (True, b"Via: 1.1 edge", False),
    ],
)
def test_a_proxys_certificate_authenticates_nobody_who_calls_through_it(
    trusted: bool, field: bytes, shown: bool
) -> None:
    house = House()
    certificate = PeerCertificate(b"certificate", b"f" * 32)
    house.pipeline.handle(house.call(field, peer=Peer("10.0.0.1", trusted=trusted, certificate=certificate)))
    assert house.shown[0][2] == (certificate if shown else None)


def aborts(monkeypatch: pytest.MonkeyPatch) -> list[Reason]:
    ended: list[Reason] = []
    monkeypatch.setattr(Call, "abort", lambda self, reason, note: ended.append(reason))
    return ended


def test_a_long_call_goes_on_while_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    ended = aborts(monkeypatch)
    house.pipeline.handle(call := house.call())
    house.pipeline.recheck(call)
    assert ended == []


def test_a_long_call_ends_with_its_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    ended = aborts(monkeypatch)
    house.pipeline.handle(call := house.call())
    house.identity = Refusal(Reason.CREDENTIAL_REVOKED)
    house.pipeline.recheck(call)
    assert ended == [Reason.CREDENTIAL_REVOKED]


def test_a_call_under_way_ends_within_a_second_of_a_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked about once in each epoch, and no more often."""
    house = House()
    ended = aborts(monkeypatch)
    house.pipeline.handle(call := house.call())
    call.sweep(1.0)
    asked = len(house.shown)
    for second in (2.0, 3.0):
        call.sweep(second)
    assert len(house.shown) == asked
    house.identity = Refusal(Reason.CREDENTIAL_REVOKED)
    house.state.directory.epoch += 1
    call.sweep(4.0)
    assert ended == [Reason.CREDENTIAL_REVOKED]


def test_so_many_calls_under_way_that_they_are_asked_about_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.gateway.pipeline.FOLLOWED", 2)
    house = House()
    ended = aborts(monkeypatch)
    calls = [house.call() for _ in range(5)]
    for call in calls:
        house.pipeline.handle(call)
    house.identity = Refusal(Reason.CREDENTIAL_REVOKED)
    for sweep in range(3):
        for call in calls:
            call.sweep(sweep + 1.0)
        assert len(ended) == min(5, 2 * (sweep + 1))
        house.pipeline._floods = SimpleNamespace(sweep=list)  # type: ignore[assignment]
        house.pipeline._failures = SimpleNamespace(sweep=lambda _now: None)  # type: ignore[assignment]
        house.pipeline.sweep()


def test_a_call_that_is_not_let_in_yet_and_a_preflight_are_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = aborts(monkeypatch)
    house = House()
    house.identity = Pending()
    house.pipeline.handle(waiting := house.call())
    house.identity = Refusal(Reason.CREDENTIAL_REVOKED)
    waiting.sweep(1.0)
    other = House(preflight=True)
    other.pipeline.handle(preflight := other.call())
    other.identity = Refusal(Reason.CREDENTIAL_MISSING)
    preflight.sweep(1.0)
    assert ended == []


def test_a_long_call_ends_when_nothing_can_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    ended = aborts(monkeypatch)
    house.pipeline.handle(call := house.call())
    house.state.stale = True
    house.pipeline.recheck(call)
    assert ended == [Reason.SNAPSHOT_STALE]


def test_a_long_call_does_not_live_on_waiting_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    ended = aborts(monkeypatch)
    house.pipeline.handle(call := house.call())
    first = house.identity = Pending()
    house.pipeline.recheck(call)
    assert ended == [], "newer keys may still come"
    house.identity = Pending()
    first.resolve()
    assert ended == [Reason.ISSUER_UNAVAILABLE]


def test_a_layer_that_raises_is_a_refusal_on_the_record() -> None:
    house = House()
    call = house.call()
    try:
        raise RuntimeError("a fault")
    except RuntimeError:
        house.pipeline.failed(call)
    assert house.records.refusals == [Reason.INTERNAL]


def test_who_goes_before_anything_was_decided_is_on_the_record() -> None:
    house = House()
    house.identity = Pending()
    house.pipeline.handle(call := house.call())
    call.caller_gone()
    assert house.records.refusals == [Reason.CLIENT_GONE]


def test_long_targets_are_not_remembered() -> None:
    house = House()
    for length in (10, 1000):
        raw = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * length)
        stream: Any = SimpleNamespace(send_whole=lambda *_: None)
        house.pipeline.handle(Call(house.pipeline, stream, Peer("192.0.2.1"), parse_request_head(raw), 1))
    assert len(house.pipeline._matches) == 1


def test_more_paths_in_turn_than_are_new_to_it_are_mostly_remembered_and_a_flood_in_bounded_room() -> None:
    house = House()
    looked_for: list[bytes] = []
    match = house.state.live.match
    house.state.live.match = lambda head: looked_for.append(head.target) or match(head)
    for turn in range(3):
        looked_for.clear()
        for number in range(10_000):
            head = parse_request_head(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            found = house.pipeline._match(head, Peer("192.0.2.1"))
            assert isinstance(found, Matched)
            assert found.target.path == f"/{number}"
        assert len(looked_for) == 10_000 if turn == 0 else len(looked_for) < 3000
    for number in range(3 * MATCHES):
        head = parse_request_head(b"GET /flood/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        house.pipeline._match(head, Peer("192.0.2.1"))
        assert len(house.pipeline._matches) + len(house.pipeline._matches_before) <= 2 * MATCHES


def test_nothing_that_was_found_in_one_snapshot_is_known_in_the_next() -> None:
    house = House()
    for number in range(MATCHES + 1):
        head = parse_request_head(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        house.pipeline._match(head, Peer("192.0.2.1"))
    refusal = Refusal(Reason.NO_ROUTE)
    house.state.live = SimpleNamespace(match=lambda _head: refusal)
    for target in (b"/0", b"/%d" % MATCHES):
        head = parse_request_head(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        assert house.pipeline._match(head, Peer("192.0.2.1")) is refusal


def test_the_same_lines_from_elsewhere_say_where_they_came_from() -> None:
    house = House()
    peers = [Peer("10.0.0.1"), Peer("192.0.2.9"), Peer("10.0.0.1", scheme="https"), Peer("10.0.0.1", trusted=True)]
    said = []
    for peer in peers * 2:
        house.pipeline.handle(call := house.call(b"X-Forwarded-For: 192.0.2.7", peer=peer))
        said.append([line for line in call.wire_bytes.split(b"\r\n") if line.startswith(b"x-forwarded-")])
    assert said[:4] == said[4:]
    assert [lines[0] for lines in said[:4]] == [
        b"x-forwarded-for: 10.0.0.1",
        b"x-forwarded-for: 192.0.2.9",
        b"x-forwarded-for: 10.0.0.1",
        b"x-forwarded-for: 192.0.2.7, 10.0.0.1",
    ]
    assert b"x-forwarded-proto: https" in said[2]


def test_what_a_stranger_sent_is_not_what_a_trusted_proxy_at_its_address_says() -> None:
    house = House()
    for trusted, chain in ((False, b"10.0.0.1"), (True, b"192.0.2.7, 10.0.0.1")):
        house.pipeline.handle(call := house.call(b"X-Forwarded-For: 192.0.2.7", peer=Peer("10.0.0.1", trusted=trusted)))
        assert b"x-forwarded-for: %b\r\n" % chain in call.wire_bytes


# -- possession of a token's key


PROVEN = (b"Authorization: DPoP token", b"DPoP: a.b.c")


def possession(house: House, *fields: bytes, peer: Peer | None = None) -> Any:
    """What the layer is shown of it."""
    house.pipeline.handle(house.call(*(fields or PROVEN), peer=peer))
    return house.shown[-1][5]


def test_ordinary_calls_bring_nothing_of_it() -> None:
    for fields in ((), (b"Authorization: Bearer x",), (b"X-API-Key: x",)):
        house = House()
        house.pipeline.handle(call := house.call(*fields))
        assert house.shown[-1][5] is None
        assert call.possession is None


def test_a_proof_is_held_against_the_call_that_was_matched() -> None:
    house = House()
    raw = b"POST /%61/b%c3%a4?q=1 HTTP/1.1\r\nHost: API.example:8443\r\nAuthorization: DPoP t\r\nDPoP: p\r\n\r\n"
    stream: Any = SimpleNamespace(send_whole=lambda *_: None)
    peer = Peer("192.0.2.1", scheme="https")
    house.pipeline.handle(Call(house.pipeline, stream, peer, parse_request_head(raw), 1))
    shown = house.shown[-1]
    assert shown[0] is None, "it is no bearer token"
    assert (shown[5].token, shown[5].proof, shown[5].method) == (b"t", b"p", "POST")
    assert shown[5].url == "https://api.example:8443/a/b%C3%A4"


FORWARDED = (
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: evil.example",
    b"X-Forwarded-Port: 1234",
    b"X-Forwarded-Prefix: /evil",
    b"Forwarded: proto=https;host=evil.example",
)


def test_a_stranger_does_not_say_what_url_he_called() -> None:
    assert possession(House(), *PROVEN, *FORWARDED).url == "http://a/a"


def test_a_trusted_proxy_says_by_what_scheme_and_no_more() -> None:
    """It may pass on an X-Forwarded-Host that the caller wrote, to have a proof for another host taken here."""
    proxy = Peer("10.0.0.1", trusted=True)
    assert possession(House(), *PROVEN, *FORWARDED[:-1], peer=proxy).url == "https://a/a"
    assert possession(House(), *PROVEN, peer=proxy).url == "http://a/a"
    for said in (b"X-Forwarded-Proto: wss", b"X-Forwarded-Proto: https, http", b"X-Forwarded-Proto: https://evil"):
        assert possession(House(), *PROVEN, said, peer=proxy).url == "http://a/a"
    twice = (b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: https")
    assert possession(House(), *PROVEN, *twice, peer=proxy).url == "http://a/a"


def test_a_proxy_that_is_trusted_no_longer_says_nothing_of_the_scheme() -> None:
    house = House()
    house.state.trusted_proxies = []
    assert possession(house, *PROVEN, *FORWARDED, peer=Peer("10.0.0.1", trusted=True)).url == "http://a/a"


def test_a_call_that_is_asked_again_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what was accepted is remembered: by the call, and by no other."""
    house = House()
    aborts(monkeypatch)
    waiting = house.identity = Pending()
    house.pipeline.handle(call := house.call(*PROVEN))
    house.identity = KNOWN
    waiting.resolve()
    house.pipeline.recheck(call)
    first, second, third = (shown[5] for shown in house.shown)
    assert first is second is third is call.possession
    assert possession(house) is not first


def test_a_newer_nonce_goes_out_with_the_answer() -> None:
    house = House()
    house.pipeline.handle(call := house.call(*PROVEN))
    assert call.answer_fields == []
    call = house.call(*PROVEN)
    call.possession = SimpleNamespace(nonce="next")  # type: ignore[assignment]
    house.pipeline.handle(call)
    assert call.answer_fields == [b"dpop-nonce: next\r\n"]


def test_two_tokens_are_two_credentials_whatever_their_scheme() -> None:
    for fields in ((*PROVEN, b"Authorization: Bearer x"), (b"Authorization: Bearer x", *PROVEN)):
        house = House()
        house.pipeline.handle(house.call(*fields))
        assert house.records.refusals == [Reason.CREDENTIAL_DUPLICATE]
        assert house.shown == []


def test_a_proof_stays_here() -> None:
    house = House()
    house.pipeline.handle(call := house.call(*PROVEN))
    assert b"a.b.c" not in call.wire_bytes
    assert b"token" not in call.wire_bytes
