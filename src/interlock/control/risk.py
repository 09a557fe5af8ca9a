"""How risky a principal, session, client or token is, as somebody or something has found out.

On the record first, then in the state, then at the workers, as everything that must hold at once. What it means is
for routes to say (`strength: {risk: 60}`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.clock import Clock
from interlock.control.credentials import Doomed, Named, OfIssuer, OfToken, Plain
from interlock.control.publish import Publisher
from interlock.control.status import rfc3339
from interlock.errors import StateError, UsageError
from interlock.model import Event, Recorder
from interlock.snapshot import Risk
from interlock.store import State
from interlock.store.model import RiskRow
from interlock.store.risks import Risks


class Found(msgspec.Struct, forbid_unknown_fields=True):
    """What was found out. `value`: from 1 to 100, or 0 to take it back."""

    kind: str  # principal, session, client or token
    id: str
    value: int
    why: str
    issuer: str = ""
    until_ns: int = 0  # wall; 0: until it is taken back


class RiskDesk:
    """The risks of one node."""

    def __init__(self, state: State, publisher: Publisher, clock: Clock) -> None:
        self._risks = Risks(state)
        self._publisher = publisher
        self._clock = clock

    def set(self, found: Found, named: Named, acts: Recorder) -> dict[str, Any]:
        """When this returns, every worker knows."""
        if not 0 <= found.value <= 100:
            raise UsageError("a risk is a number from 0 to 100")
        now = self._clock.wall()
        about = _about(found, named, now)
        details: dict[str, Any] = {"kind": about.kind, about.kind: about.id, "risk": found.value, "why": found.why}
        if about.issuer:
            details["issuer"] = about.issuer
        if found.until_ns:
            details["until"] = rfc3339(found.until_ns)
        act = acts.act(Event.CREDENTIAL_RISK, details)
        problem: StateError | None = None
        try:
            self._risks.put(RiskRow(about.handle, about.what, found.value, now, found.until_ns, act))
        except StateError as failed:
            problem = failed
        killed = self._publisher.publish([Risk(about.handle, found.value, found.until_ns)])
        if problem is not None:
            raise StateError(f"{problem}; it counts until the node is stopped and started: repeat it") from problem
        return {"kind": about.kind, "id": about.id, "risk": found.value, "act": act, "workers_killed": killed}

    def live(self) -> dict[str, Any]:
        """What has a risk now, the highest first."""
        rows = sorted(self._risks.live(self._clock.wall()), key=lambda row: (-row.value, row.what))
        return {
            "risks": [
                {
                    "what": row.what,
                    "risk": row.value,
                    "raised": rfc3339(row.raised),
                    "until": rfc3339(row.expires) if row.expires else None,
                    "act": row.act or None,
                }
                for row in rows
            ]
        }


def _about(found: Found, named: Named, now: int) -> Doomed:
    match found.kind:
        case "principal":
            return named.principal(Plain(found.id, found.until_ns), now)
        case "session":
            return named.session(OfIssuer(found.id, found.issuer, found.until_ns), now)
        case "client":
            return named.client(OfIssuer(found.id, found.issuer, found.until_ns), now)
        case "token":
            return named.token(OfToken(found.id, found.issuer, until_ns=found.until_ns), now)[0]
        case _:
            raise UsageError("a risk is of a principal, session, client or token")
