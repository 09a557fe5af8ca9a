"""Every event holds what OCSF 1.8.0 requires of its class, within its enumerations.

The tables restate the published schema, version 1.8.0 (github.com/ocsf/ocsf-schema, tag 1.8.0, as compiled
from there). `osint` and `cloud` are required in the profiles of those names only, which we do not claim.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from interlock.audit.entries import Outcome
from interlock.audit.export import form, ocsf
from interlock.audit.joined import Joined
from interlock.model import Event
from tests.unit.audit.export.rows import act, call, everything, flood, handshake, refused

BASE_REQUIRED = {"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata"}
BASE = BASE_REQUIRED | {
    *("activity_name", "category_name", "class_name", "type_name", "severity", "status_id", "status", "status_code"),
    *("status_detail", "message", "unmapped", "count", "start_time", "end_time", "duration", "is_alert"),
}
SECURITY_CONTROL = {"action_id", "action", "disposition_id", "disposition"}
# class: category, activities, required besides, allowed besides (of what we use), any one of, profiles
CLASSES: dict[int, dict[str, Any]] = {
    6003: {
        "category": 6,
        "activities": {0, 1, 2, 3, 4, 99},
        "required": {"actor", "api", "src_endpoint"},
        "allowed": {"dst_endpoint", "http_request", "http_response", "resources", "trace"},
        "profiles": {"security_control", "trace"},
    },
    3002: {
        "category": 3,
        "activities": {0, 1, 2, 3, 4, 5, 6, 7, 99},
        "required": {"user"},
        "allowed": {"service", "dst_endpoint", "src_endpoint", "http_request", "http_response", "is_remote"},
        "any": {"service", "dst_endpoint"},
        "profiles": {"security_control"},
    },
    4002: {
        "category": 4,
        "activities": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99},
        "required": set(),
        "allowed": {"http_request", "http_response", "src_endpoint", "dst_endpoint", "trace"},
        "any": {"http_request", "http_response"},
        "profiles": {"security_control", "trace"},
    },
    4001: {
        "category": 4,
        "activities": {0, 1, 2, 3, 4, 5, 6, 7, 99},
        "required": set(),
        "allowed": {"src_endpoint", "dst_endpoint"},
        "any": {"src_endpoint", "dst_endpoint"},
        "profiles": {"security_control"},
    },
    3004: {
        "category": 3,
        "activities": {*range(14), 99},
        "required": {"entity"},
        "allowed": {"actor"},
        "profiles": {"security_control"},
    },
    6002: {
        "category": 6,
        "activities": {*range(9), 99},
        "required": {"app"},
        "allowed": {"actor"},
        "profiles": {"security_control"},
    },
    2004: {
        "category": 2,
        "activities": {0, 1, 2, 3, 99},
        "required": {"finding_info"},
        "allowed": set(),
        "profiles": {"security_control"},
    },
}
# object: required, any one of, allowed (of what we use)
OBJECTS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "metadata": ({"product", "version"}, set(), {"uid", "event_code", "log_name", "profiles"}),
    "product": (set(), {"name", "uid"}, {"name", "vendor_name", "version", "feature"}),
    "app": (set(), {"name", "uid"}, {"name", "vendor_name", "version", "feature"}),
    "actor": (set(), {"user", "process", "session", "app_name"}, {"user"}),
    "user": (set(), {"name", "uid", "account"}, {"name", "uid", "domain", "type_id", "type", "credential_uid"}),
    "api": ({"operation"}, set(), {"service", "request"}),
    "request": ({"uid"}, set(), set()),
    "service": (set(), {"name", "uid"}, {"name"}),
    "src_endpoint": (set(), {"ip", "name", "hostname"}, {"ip", "name"}),
    "dst_endpoint": (set(), {"ip", "name", "hostname"}, {"hostname"}),
    "http_request": (set(), set(), {"uid", "url", "http_method"}),
    "url": (set(), {"path", "url_string"}, {"path", "hostname"}),
    "http_response": ({"code"}, set(), set()),
    "resources": (set(), {"name", "uid"}, {"name", "type"}),
    "entity": (set(), {"name", "uid"}, {"name", "uid", "type"}),
    "finding_info": ({"uid"}, set(), {"title"}),
    "trace": ({"uid"}, set(), set()),
    "feature": (set(), set(), {"name"}),
}
SEVERITIES = {0, 1, 2, 3, 4, 5, 6, 99}
STATUSES = {0, 1, 2, 99}
ACTIONS = {0, 1, 2, 3, 4, 99}
DISPOSITIONS = {*range(28), 99}
METHODS = {"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"}
USER_TYPES = {0, 1, 2, 3, 4, 99}
STATUS_CODE = ("status_code", "status_detail", "message", "activity_name", "class_name", "type_name")


def check(event: dict[str, Any]) -> None:
    """Raise `AssertionError` for what the schema does not allow."""
    spec = CLASSES[event["class_uid"]]
    assert BASE_REQUIRED | spec["required"] <= set(event)
    allowed = BASE | spec["required"] | spec["allowed"]
    profiles = set(event["metadata"].get("profiles", ()))
    assert profiles <= spec["profiles"]
    if "security_control" in profiles:
        allowed |= SECURITY_CONTROL
    assert set(event) <= allowed, set(event) - allowed
    assert ("trace" in event) == ("trace" in profiles)
    assert not spec.get("any") or spec["any"] & set(event)
    assert event["category_uid"] == spec["category"]
    assert event["activity_id"] in spec["activities"]
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["severity_id"] in SEVERITIES
    assert event.get("status_id", 0) in STATUSES
    assert event.get("action_id", 0) in ACTIONS
    assert event.get("disposition_id", 0) in DISPOSITIONS
    assert event["metadata"]["version"] == "1.8.0"
    for name in ("time", "start_time", "end_time", "duration", "count"):
        assert isinstance(event.get(name, 0), int), name
    for name in STATUS_CODE:
        assert isinstance(event.get(name, ""), str), name
    objects({key: value for key, value in event.items() if key != "unmapped"})


def objects(value: dict[str, Any]) -> None:
    for key, part in value.items():
        for one in part if isinstance(part, list) else [part]:
            if isinstance(one, dict):
                required, any_of, allowed = OBJECTS[key]
                assert required <= set(one), key
                assert not any_of or any_of & set(one), key
                assert set(one) <= required | allowed, (key, one)
                assert one.get("type_id", 0) in USER_TYPES
                assert isinstance(one.get("code", 0), int)
                assert one.get("http_method", "GET") in METHODS
                objects(one)


@pytest.mark.parametrize("joined", everything(), ids=lambda joined: f"{joined.row['event']}-{joined.row.get('reason')}")
def test_every_event_is_one_of_its_class(joined: Joined) -> None:
    event = json.loads(form("ocsf", "host")(joined))
    check(event)
    assert event["metadata"]["uid"] == joined.row["id"]
    assert event["time"] == 1_700_000_000_123
    if event["activity_id"] == 99:
        assert event["activity_name"]


@pytest.mark.parametrize(
    ("joined", "class_uid", "activity", "status"),
    [
        (call(Outcome(200)), 6003, 2, 1),
        (call(Outcome(201), method="POST"), 6003, 1, 1),
        (call(Outcome(404)), 6003, 2, 2),
        (call(Outcome(0, "unknown")), 6003, 2, 0),
        (call(Outcome(200), method="LOCK"), 6003, 99, 1),
        (refused("token-expired", 401), 3002, 1, 2),
        (refused("permission-missing", 403), 6003, 2, 2),
        (refused("malformed-head", 400, route="", action=""), 4002, 0, 2),
        (refused("no-route", 404, route=""), 4002, 3, 2),
        (flood(), 4001, 5, 2),
        (handshake(), 4001, 5, 2),
        (act(Event.KEY_REVOKE, id="k"), 3004, 9, 1),
        (act(Event.CREDENTIAL_REVOKE, kind="token", token="t1"), 3004, 9, 1),
        (act(Event.CONFIG_REFUSED), 3004, 3, 2),
        (act(Event.SESSION_BEGIN, principal="user:interlock/alice"), 3002, 1, 1),
        (act(Event.SESSION_END, session="s"), 3002, 2, 1),
        (act(Event.SIGNIN_FAILED, known=False), 3002, 1, 2),
        (act(Event.SIGNIN_LOCKED, what=["account"]), 3004, 12, 1),
        (act(Event.FACTOR_ADD, kind="totp"), 3004, 6, 1),
        (act(Event.NODE_START), 6002, 3, 1),
        (act(Event.RECORD_ALTERED), 2004, 1, None),
    ],
)
def test_what_becomes_what(joined: Joined, class_uid: int, activity: int, status: int | None) -> None:
    event = ocsf.event(joined)
    assert (event["class_uid"], event["activity_id"], event.get("status_id")) == (class_uid, activity, status)


def test_who_called_what_with_what_result() -> None:
    event = ocsf.event(call(Outcome(200, "", 1_500_000, 1, 2, "http://up")))
    assert event["actor"]["user"] == {
        "name": "alice",
        "uid": "user:iss/alice",
        "domain": "iss",
        "type_id": 1,
        "type": "User",
        "credential_uid": "k1",
    }
    assert event["api"] == {
        "operation": "GET /a/{id}",
        "service": {"name": "up"},
        "request": {"uid": event["metadata"]["uid"]},
    }
    assert event["src_endpoint"] == {"ip": "192.0.2.1"}
    assert event["http_response"] == {"code": 200}
    assert (event["action"], event["disposition"], event["status"]) == ("Allowed", "Allowed", "Success")
    assert event["unmapped"]["outcome_id"].endswith("-9")


def test_who_signed_in_from_where() -> None:
    event = ocsf.event(act(Event.SIGNIN_FAILED, principal="user:interlock/alice", subject="source:192.0.2.7"))
    assert event["user"]["uid"] == "user:interlock/alice"
    assert event["src_endpoint"] == {"ip": "192.0.2.7"}
    assert event["severity"] == "Low"


def test_the_table_finds_what_is_wrong() -> None:
    good = ocsf.event(call(Outcome(200)))
    check(good)
    for wrong in (
        {**good, "colour": 1},
        {key: value for key, value in good.items() if key != "actor"},
        {**good, "severity_id": 7},
        {**good, "type_uid": 1},
        {**good, "api": {}},
        {**good, "src_endpoint": {}},
        {**good, "metadata": {"version": "1.8.0"}},
    ):
        with pytest.raises(AssertionError):
            check(wrong)
