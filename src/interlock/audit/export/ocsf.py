"""Rows as events of the Open Cybersecurity Schema Framework 1.8.0.

    what                                             class
    a call that passed, or was refused on a route    6003 API Activity
    a credential that was missing or not accepted    3002 Authentication (Logon, Failure)
    somebody signed in or out, or failed to          3002 Authentication (Logon, Logoff)
    a call refused before there was a route          4002 HTTP Activity
    refusals counted, a TLS handshake refused        4001 Network Activity (Refuse)
    keys, certificates, the file, the record read    3004 Entity Management
    the node and its processes start and end         6002 Application Lifecycle
    a gap, an altered or damaged record              2004 Detection Finding

3003 Authorize Session is about privileges given to a session, which nothing here is: a permission that is
missing is a denied API activity. Profiles: `security_control` (action, disposition) on calls, `trace` where
there is one. What the schema has no place for is under `unmapped`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interlock import __version__
from interlock.audit.export.words import Gravity, gravity, summary
from interlock.audit.joined import Joined
from interlock.audit.segment import format_id
from interlock.model.reason import Reason

VERSION = "1.8.0"
Event = dict[str, Any]

OTHER = 99
_CATEGORIES = {
    2: "Findings",
    3: "Identity & Access Management",
    4: "Network Activity",
    6: "Application Activity",
}
_CLASSES = {
    2004: "Detection Finding",
    3002: "Authentication",
    3004: "Entity Management",
    4001: "Network Activity",
    4002: "HTTP Activity",
    6002: "Application Lifecycle",
    6003: "API Activity",
}
_SEVERITIES = {  # by gravity: id and caption
    Gravity.ROUTINE: (1, "Informational"),
    Gravity.REFUSED: (2, "Low"),
    Gravity.SUSPICIOUS: (3, "Medium"),
    Gravity.SERIOUS: (4, "High"),
    Gravity.ALARM: (5, "Critical"),
}
_STATUSES = {0: "Unknown", 1: "Success", 2: "Failure"}
_API = {"GET": 2, "HEAD": 2, "OPTIONS": 2, "POST": 1, "PUT": 3, "PATCH": 3, "DELETE": 4}
_API_NAMES = {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}
_HTTP = {
    "CONNECT": 1,
    "DELETE": 2,
    "GET": 3,
    "HEAD": 4,
    "OPTIONS": 5,
    "POST": 6,
    "PUT": 7,
    "TRACE": 8,
    "PATCH": 9,
}
_USERS = {"user": (1, "User"), "service": (4, "Service"), "os": (2, "Admin")}
_ENTITY = {  # of 3004: activity, its caption, what was managed
    "key:create": (1, "Create", "API key"),
    "key:rotate": (3, "Update", "API key"),
    "key:revoke": (9, "Disable", "API key"),
    "credential:revoke": (9, "Disable", "credential"),
    "certificate:issue": (1, "Create", "certificate"),
    "config:load": (3, "Update", "configuration"),
    "config:refused": (3, "Update", "configuration"),
    "record:read": (2, "Read", "record"),
    "record:gap-acknowledged": (3, "Update", "record"),
    "user:create": (1, "Create", "user"),
    "user:change": (3, "Update", "user"),
    "user:password": (3, "Update", "user"),
    "user:enable": (8, "Enable", "user"),
    "user:disable": (9, "Disable", "user"),
    "user:remove": (4, "Delete", "user"),
    "signin:locked": (12, "Suspend", "user"),
    "user:unlock": (13, "Resume", "user"),
    "factor:add": (6, "Enroll", "second factor"),
    "factor:remove": (7, "Unenroll", "second factor"),
}
_SIGN_INS = {  # of 3002: activity, its caption, status
    "session:begin": (1, "Logon", 1),
    "session:end": (2, "Logoff", 1),
    "signin:failed": (1, "Logon", 2),
}
_LIFECYCLE = {"node:start": (3, "Start"), "node:stop": (4, "Stop"), "process:exit": (4, "Stop")}
_FINDINGS = {
    "record:gap-possible": "A gap in the record is possible",
    "record:altered": "The record was altered",
    "record:damaged": "The record was damaged",
}
_REASONS = {reason.value: reason for reason in Reason}


def event(joined: Joined) -> Event:
    """The event of one row, in plain JSON values."""
    row = joined.row
    if joined.kind == "acts":
        name = row["event"]
        made = _act(name)(joined)
    elif row["event"] in ("call:refusals", "tls:refused"):
        made = _refused_connection(joined)
    elif row["decision"] == "deny" and _status_of(row["reason"]) == 401:
        made = _authentication(joined)
    elif row["route"]:
        made = _api(joined)
    else:
        made = _http(joined)
    return made


def _base(joined: Joined, class_uid: int, activity: int, activity_name: str, status: int, profiles: list[str]) -> Event:
    row = joined.row
    severity, caption = _SEVERITIES[gravity(joined)]
    metadata: Event = {
        "version": VERSION,
        "product": {"name": "Interlock", "vendor_name": "Interlock", "version": __version__},
        "uid": row["id"],
        "event_code": row["event"],
        "log_name": "record",
    }
    if profiles:
        metadata["profiles"] = profiles
    made: Event = {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": class_uid // 1000,
        "category_name": _CATEGORIES[class_uid // 1000],
        "class_uid": class_uid,
        "class_name": _CLASSES[class_uid],
        "type_uid": class_uid * 100 + activity,
        "type_name": f"{_CLASSES[class_uid]}: {activity_name if activity != OTHER else 'Other'}",
        "time": joined.time_ns // 1_000_000,
        "severity_id": severity,
        "severity": caption,
        "status_id": status,
        "status": _STATUSES[status],
        "message": summary(joined),
        "metadata": metadata,
    }
    if row.get("reason"):
        made["status_detail"] = row["reason"]
    return made


# -- calls


def _api(joined: Joined) -> Event:
    row = joined.row
    activity = _API.get(row["action"], OTHER)
    made = _call(joined, 6003, activity, _API_NAMES.get(activity, row["action"] or "Other"))
    made["actor"] = {"user": _user(row["principal"], row["credential"])}
    made["api"] = {"operation": row["route"], "request": {"uid": row["id"]}}
    if row["service"]:
        made["api"]["service"] = {"name": row["service"]}
    made["resources"] = [{"name": row["resource"] or "/", "type": "path"}]
    return made


def _http(joined: Joined) -> Event:
    row = joined.row
    activity = _HTTP.get(row["action"], OTHER if row["action"] else 0)
    names = {0: "Unknown", OTHER: row["action"]}
    made = _call(joined, 4002, activity, names.get(activity, row["action"].capitalize()))
    made["unmapped"]["principal"] = row["principal"]
    return made


def _authentication(joined: Joined) -> Event:
    row = joined.row
    made = _call(joined, 3002, 1, "Logon")
    made["user"] = _user(row["principal"], row["credential"])
    made["service"] = {"name": row["service"] or row["host"] or "interlock"}
    made["is_remote"] = True
    return made


def _call(joined: Joined, class_uid: int, activity: int, activity_name: str) -> Event:
    row = joined.row
    status, denied = row["status"], row["decision"] == "deny"
    result = 2 if denied or (status or 0) >= 400 else 1 if status else 0
    profiles = ["security_control"]
    if row["trace_id"] and class_uid in (4002, 6003):
        profiles.append("trace")
    made = _base(joined, class_uid, activity, activity_name, result, profiles)
    made |= {
        "action_id": 2 if denied else 1,
        "action": "Denied" if denied else "Allowed",
        "disposition_id": 2 if denied else 1,
        "disposition": "Blocked" if denied else "Allowed",
        "src_endpoint": {"ip": row["source"]} if row["source"] else {"name": "unknown"},
        "http_request": _request(row),
    }
    if row["host"]:
        made["dst_endpoint"] = {"hostname": row["host"]}
    if status is not None:
        made["http_response"] = {"code": status}
        made["status_code"] = str(status)
    if "trace" in profiles:
        made["trace"] = {"uid": row["trace_id"]}
    if row["duration_ms"] is not None:
        made["start_time"] = joined.time_ns // 1_000_000
        made["end_time"] = joined.ended_ns // 1_000_000
        made["duration"] = round(row["duration_ms"])
    kept = ("methods", "mode", "outcome", "upstream", "bytes_in", "bytes_out", "note", "trace_id")
    made["unmapped"] = {key: row[key] for key in kept if row.get(key) not in (None, "", [])}
    if row["action"] not in _HTTP and row["action"]:
        made["unmapped"]["http_method"] = row["action"]
    if len(joined.records) > 1:
        made["unmapped"]["outcome_id"] = format_id(joined.records[1])
    return made


def _request(row: Event) -> Event:
    request: Event = {"uid": row["id"], "url": {"path": row["resource"] or "/"}}
    if row["action"] in _HTTP:  # the schema knows no other
        request["http_method"] = row["action"]
    if row["host"]:
        request["url"]["hostname"] = row["host"]
    return request


def _refused_connection(joined: Joined) -> Event:
    row = joined.row
    made = _base(joined, 4001, 5, "Refuse", 2, ["security_control"])
    made |= {
        "action_id": 2,
        "action": "Denied",
        "disposition_id": 2,
        "disposition": "Blocked",
        "src_endpoint": {"ip": row["source"]} if row["source"] else {"name": "unknown"},
        "unmapped": {key: row[key] for key in ("reasons", "note", "since") if row.get(key)},
    }
    if "count" in row:
        made["count"] = row["count"]
    if row["host"]:
        made["dst_endpoint"] = {"hostname": row["host"]}
    return made


# -- acts


def _act(name: str) -> Callable[[Joined], Event]:
    if name in _FINDINGS:
        return _finding
    if name in _LIFECYCLE:
        return _lifecycle
    return _sign_in if name in _SIGN_INS else _entity


def _sign_in(joined: Joined) -> Event:
    row = joined.row
    details = row["details"]
    made = _base(joined, 3002, *_SIGN_INS[row["event"]], [])
    made["user"] = _user(str(details.get("principal") or ""), "")
    made["service"] = {"name": "interlock issuer"}
    made["is_remote"] = True
    kind, _, address = str(details.get("subject") or "").partition(":")
    if kind == "source" and address:
        made["src_endpoint"] = {"ip": address}
    made["unmapped"] = {"details": details, "actor": row["actor"]}
    return made


def _entity(joined: Joined) -> Event:
    row = joined.row
    name = row["event"]
    activity, caption, what = _ENTITY.get(name, (OTHER, name, name.partition(":")[0]))
    details = row["details"]
    made = _base(joined, 3004, activity, caption, 2 if name == "config:refused" else 1, [])
    uid = details.get("id") or details.get("record") or details.get("digest")
    made["entity"] = {"name": str(details.get("name") or details.get("file") or what), "type": what}
    if uid:
        made["entity"]["uid"] = str(uid)
    return _by(made, row)


def _lifecycle(joined: Joined) -> Event:
    row = joined.row
    activity, caption = _LIFECYCLE[row["event"]]
    made = _base(joined, 6002, activity, caption, 2 if row["event"] == "process:exit" else 1, [])
    app = {"name": "Interlock", "vendor_name": "Interlock", "version": __version__}
    if process := row["details"].get("process"):
        app["feature"] = {"name": str(process)}  # type: ignore[assignment]  # an object within one
    made["app"] = app
    made["unmapped"] = {"details": row["details"], "actor": row["actor"]}
    return made


def _finding(joined: Joined) -> Event:
    row = joined.row
    made = _base(joined, 2004, 1, "Create", 0, [])
    del made["status_id"], made["status"]
    made["finding_info"] = {"uid": row["id"], "title": _FINDINGS[row["event"]]}
    made["is_alert"] = True
    made["unmapped"] = {"details": row["details"], "actor": row["actor"]}
    return made


def _by(made: Event, row: Event) -> Event:
    made["actor"] = {"user": _user(row["actor"], "")}
    made["unmapped"] = {"details": row["details"]}
    if "refers" in row:
        made["unmapped"]["refers"] = row["refers"]
    return made


def _user(principal: str, credential: str) -> Event:
    kind, _, rest = principal.partition(":")
    authority, slash, name = rest.partition("/")
    if not principal:
        return {"name": "unknown", "uid": "unknown", "type_id": 0, "type": "Unknown"}
    type_id, caption = _USERS.get(kind, (OTHER, kind or "Other"))
    made: Event = {"name": name if slash else principal, "uid": principal, "type_id": type_id, "type": caption}
    if slash:
        made["domain"] = authority
    if credential:
        made["credential_uid"] = credential
    return made


def _status_of(reason: str) -> int:
    found = _REASONS.get(reason)
    return found.status if found is not None else 0
