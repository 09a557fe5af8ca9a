"""One row of every kind there is, and some that are hard to write down."""

from __future__ import annotations

from interlock.audit import format_id
from interlock.audit.entries import Act, HandshakeRefused, Intent, Outcome, Refusals, Refused
from interlock.audit.joined import Joined
from interlock.audit.query import _acts, _call, _handshake, _refusals, _refused
from interlock.audit.reader import Frame
from interlock.model import Event
from interlock.model.reason import Reason

SEGMENT = bytes(range(16))
NOW = 1_700_000_000_123_456_789
HARD = 'a|b\\c=d"e]f\ng\rh i\u00fc\u2028'


def call(outcome: Outcome | None, *, principal: str = "user:iss/alice", method: str = "GET", **more: str) -> Joined:
    values = {"route": "GET /a/{id}", "resource": "/a/1", "source": "192.0.2.1", "host": "api.example.com", **more}
    intent = Intent(principal, ("jwt",), method, service="up", trace="t1", credential="k1", **values)  # type: ignore[arg-type]
    row = _call((SEGMENT, 7), NOW, intent, outcome)
    return Joined(row, "calls", NOW, NOW + 5_000_000, ((SEGMENT, 7), (SEGMENT, 9)))


def refused(reason: str, status: int, **more: str) -> Joined:
    values = {
        "principal": "anonymous:interlock/anonymous",
        "route": "GET /a",
        "resource": "/a",
        "source": "2001:db8::1",
    }
    values |= {"host": "api.example.com", "action": "GET", **more}
    row = _refused((SEGMENT, 8), NOW, Refused(methods=(), reason=reason, status=status, **values))
    return Joined(row, "calls", NOW, NOW, ((SEGMENT, 8),))


def act(event: Event, **details: object) -> Joined:
    frame = Frame(0, event.code, 3, NOW, (SEGMENT, 1), b"")
    ((row, _),) = _acts(iter([(SEGMENT, frame, Act("os:host/root", dict(details)))]))
    return Joined(row, "acts", NOW, NOW, ((SEGMENT, 3),))


def flood() -> Joined:
    row = _refusals((SEGMENT, 4), NOW, Refusals("192.0.2.9", 500, {"no-route": 499, "token-expired": 1}, NOW - 10**9))
    return Joined(row, "calls", NOW, NOW, ((SEGMENT, 4),))


def handshake() -> Joined:
    row = _handshake((SEGMENT, 5), NOW, HandshakeRefused("192.0.2.8", "tls-handshake", server_name="a.example"))
    return Joined(row, "calls", NOW, NOW, ((SEGMENT, 5),))


def everything() -> list[Joined]:
    made = [call(Outcome(200, "", 1_500_000, 1, 2, "http://up")), call(None), call(Outcome(0, "unknown"))]
    made += [
        call(Outcome(201), method=method) for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "LOCK")
    ]
    made += [call(Outcome(200), principal=f"{kind}:iss/x") for kind in ("service", "device", "os", "anonymous")]
    made += [call(Outcome(502, "upstream-unreachable")), call(Outcome(200), source="", host="", resource="")]
    made += [call(Outcome(200, note=HARD), principal=f"user:iss/{HARD}", resource=f"/{HARD}", host=HARD)]
    made += [refused(str(reason), reason.status) for reason in Reason]
    made += [refused(str(reason), reason.status, route="", action="") for reason in Reason]
    made += [refused("a-later-reason", 400, action="GET", route="")]
    made += [act(event, id="k1", name=HARD, process="worker-0", record=format_id((SEGMENT, 1))) for event in ACTS]
    made += [act(Event.CONFIG_LOAD, file="/etc/i.yaml", digest="abc", changes=["a", "b"])]
    made += [act(Event.KEY_CREATE)]
    return [*made, flood(), handshake()]


CALLS = (Event.CALL_INTENT, Event.CALL_OUTCOME, Event.CALL_REFUSED, Event.CALL_REFUSALS, Event.CALL_PROGRESS)
ACTS = [event for event in Event if event not in (*CALLS, Event.TLS_REFUSED, Event.SEGMENT_END)]
