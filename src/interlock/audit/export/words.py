"""What the forms have in common: how grave a row is, and what it says in one line."""

from __future__ import annotations

from enum import IntEnum

from interlock.audit.joined import Joined


class Gravity(IntEnum):
    """From a call that passed to a record that was altered."""

    ROUTINE = 0
    REFUSED = 1
    SUSPICIOUS = 2
    SERIOUS = 3
    ALARM = 4


_ACTS = {
    "record:altered": Gravity.ALARM,
    "record:damaged": Gravity.SERIOUS,
    "record:gap-possible": Gravity.SERIOUS,
    "process:exit": Gravity.SUSPICIOUS,
    "config:refused": Gravity.REFUSED,
    "signin:failed": Gravity.REFUSED,
    "signin:locked": Gravity.SUSPICIOUS,
    "factor:suspect": Gravity.SUSPICIOUS,
}


def gravity(joined: Joined) -> Gravity:
    row = joined.row
    if joined.kind == "acts":
        return _ACTS.get(row["event"], Gravity.ROUTINE)
    if row["event"] == "call:refusals":
        return Gravity.SUSPICIOUS
    return Gravity.REFUSED if row["decision"] == "deny" else Gravity.ROUTINE


def summary(joined: Joined) -> str:
    """One line for people."""
    row = joined.row
    if joined.kind == "acts":
        return f"{row['actor']} {row['event']}"
    if "count" in row:
        return f"{row['count']} refusals of {row['source']}, mostly {row['reason']}"
    if row["event"] == "tls:refused":
        return f"TLS handshake of {row['source']} refused ({row['reason']})"
    reason = f" ({row['reason']})" if row["reason"] else ""
    return f"{row['principal']} {row['action']} {row['resource']}: {row['decision']} {row['status'] or '-'}{reason}"
