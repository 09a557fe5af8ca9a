"""What happened to somebody here, put in the queue of each stream whose receiver is to be told.

`Outbox.announce` is for whoever ends sessions or changes credentials. It tells of our own subjects only, by the names
that our tokens have for them: `sub` for persons and clients, `sid` for sign-ins, `jti` for tokens. It returns when
all of it is on disk; what is delivered, and when, is `delivery`'s and `poll`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from interlock.clock import SECOND, Clock
from interlock.config import OwnIssuer
from interlock.control.credentials import Dead, Doomed
from interlock.errors import NotFound, UsageError
from interlock.issuer.ids import new_id
from interlock.issuer.signals import events
from interlock.issuer.signals.events import complex_subject, iss_sub, jwt_id, opaque
from interlock.issuer.signals.sets import claims_of
from interlock.issuer.signals.stream import delivered
from interlock.model.principal import OWN_AUTHORITY
from interlock.store import State
from interlock.store.accounts import Accounts
from interlock.store.clients import Clients
from interlock.store.signals import DISABLED, PAUSED, Entry, Signals, Stream
from interlock.store.signins import SignIns

MOST = 10_000  # that wait for one stream; what comes after is lost to it, and said to be
CAUSES = 14 * 86_400 * SECOND  # for so long it is known what others were told of
_USER, _SERVICE = f"user:{OWN_AUTHORITY}/", f"service:{OWN_AUTHORITY}/"
_EVENTS = {
    "session-revoked": events.SESSION_REVOKED,
    "credential-change": events.CREDENTIAL_CHANGE,
    "device-compliance-change": events.DEVICE_COMPLIANCE_CHANGE,
}


class Outbox:
    """Of one node. For any number of threads."""

    def __init__(self, state: State, clock: Clock, issuer: Callable[[], OwnIssuer | None]) -> None:
        self._kept = Signals(state)
        self._accounts = Accounts(state)
        self._clients = Clients(state)
        self._signins = SignIns(state)
        self._clock = clock
        self._issuer = issuer
        self.filled: Callable[[], None] = lambda: None  # something is in a queue
        self.lost: Callable[[str], None] = lambda _stream: None  # a queue was full

    def announce(
        self,
        kind: str,
        principal: str,
        sid: str = "",
        *,
        by: str = "admin",
        reason: str = "",
        device: str = "",
        claims: Mapping[str, Any] | None = None,
    ) -> int:
        """Tell of something that has happened just now; gives for how many streams it waits. Raises `StateError`.

        `kind`: `session-revoked`, `credential-change` (with `credential_type` and `change_type` in `claims`) or
        `device-compliance-change` (with `previous_status` and `current_status`). `principal`: as the record has it;
        empty where only the session is known. `sid`: of the sign-in, if it is about one. `by`: who began it, `admin`,
        `user`, `policy` or `system`. `reason`: for whoever administers the other side.
        """
        issuer = self._issuer()
        if issuer is None or issuer.signals is None:
            return 0
        if sid and not principal:
            principal = self._principal_of(sid)
        return self._put(issuer, kind, self._subjects(issuer.url, principal, sid, device), by, reason, claims or {})

    def ended(self, sid: str, why: str) -> None:
        """For the issuer's sessions: one has ended. That it was over by itself is nothing to tell of."""
        if why in ("expired", "idle"):
            return
        by = "user" if why in ("signed out", "replaced") else "admin"
        self.announce("session-revoked", "", sid, by=by)

    def disabled(self, client_id: str) -> None:
        """For the desk of clients: one is refused for good, with all that it was given."""
        issuer = self._issuer()
        if issuer is not None and issuer.signals is not None:
            subject = complex_subject(application=iss_sub(issuer.url, client_id))
            self._put(issuer, "session-revoked", [subject], "admin", "", {})

    def revoked(self, doomed: Doomed, dead: Iterable[Dead], now: int) -> None:
        """For the revocation desk: something of our own was refused, with what hung on it."""
        issuer = self._issuer()
        if issuer is None or issuer.signals is None or not doomed.own:
            return
        match doomed.kind:
            case "principal":
                subjects = self._subjects(issuer.url, doomed.id, "", "")
            case "session":
                subjects = self._subjects(issuer.url, self._principal_of(doomed.id), doomed.id, "")
            case "client":
                subjects = [complex_subject(application=iss_sub(issuer.url, doomed.id))]
            case "token":
                subjects = [jwt_id(issuer.url, doomed.id)]
            case "issuer":
                subjects = [complex_subject(tenant={"format": "uri", "uri": issuer.url})]
            case _:
                subjects = []
        # Two who tell each other would else never come to an end.
        cause = f"{doomed.cause}\0{doomed.kind}\0{doomed.id}" if doomed.cause else ""
        if not subjects or (cause and self._kept.seen("", cause)):
            return
        by = "system" if doomed.signal else "admin"
        self._put(issuer, "session-revoked", subjects, by, "", {}, now, doomed.cause)
        if cause:
            self._kept.remember("", cause, now + CAUSES)

    # --

    def _put(
        self,
        issuer: OwnIssuer,
        kind: str,
        subjects: list[dict[str, Any]],
        by: str,
        reason: str,
        claims: Mapping[str, Any],
        now: int = 0,
        txn: str = "",
    ) -> int:
        event = _EVENTS.get(kind)
        if event is None or by not in events.INITIATORS:
            raise UsageError(f"there is no signal {kind!r} by {by!r}")
        streams = [one for one in self._kept.streams() if one.status != DISABLED and event in delivered(one.requested)]
        if not streams or not subjects:
            return 0
        now = now or self._clock.wall()
        payload: dict[str, Any] = {**claims, "event_timestamp": now // SECOND, "initiating_entity": by}
        if reason:
            payload["reason_admin"] = {"en": reason[:500]}
        txn = txn or new_id()
        entries = []
        for stream in streams:
            added, removed = (self._kept.subjects(stream.id, added=which) for which in (True, False))
            for subject in subjects:
                if events.wanted(subject, added, removed, everybody=self.everybody(issuer)):
                    entries.append(entry(issuer.url, stream, subject, event, payload, now, txn))
        self.put(entries, now)
        return len({one.stream for one in entries})

    def put(self, entries: list[Entry], now: int) -> None:
        """Have these wait, and whoever delivers them look."""
        if not entries:
            return
        for stream_id in self._kept.enqueue(entries, now, most=MOST):
            try:
                stream = self._kept.stream(stream_id)
                self._kept.change_stream(
                    stream_id,
                    lost=stream.lost + 1,
                    status=PAUSED,
                    reason="too much waits for it",
                    paused_by=stream.paused_by or "node",
                )
            except NotFound:
                continue
            self.lost(stream_id)
        self.filled()

    @staticmethod
    def everybody(issuer: OwnIssuer) -> bool:
        return issuer.signals is not None and issuer.signals.subjects == "all"

    def _subjects(self, issuer: str, principal: str, sid: str, device: str) -> list[dict[str, Any]]:
        """By what our tokens call them; none for whom no token can name."""
        names = self._names(principal)
        if not sid and not device:
            return [iss_sub(issuer, name) for name in names]
        session = opaque(sid) if sid else None
        at = iss_sub(issuer, device) if device else None
        if not names:
            return [opaque(sid) if at is None else complex_subject(session=session, device=at)]
        return [complex_subject(user=iss_sub(issuer, name), session=session, device=at) for name in names]

    def _names(self, principal: str) -> list[str]:
        """`sub` of its tokens; a principal may be that of several clients."""
        if principal.startswith(_USER):
            account = self._accounts.find(principal.removeprefix(_USER))
            return [] if account is None else [account.id]
        if principal.startswith(_SERVICE):
            return [client.client_id for client in self._clients.all() if client.principal == principal]
        return []

    def _principal_of(self, sid: str) -> str:
        row = self._signins.session_of(sid)
        try:
            return "" if row is None else self._accounts.get(row.account).principal
        except NotFound:
            return ""


def entry(
    issuer: str,
    stream: Stream,
    subject: Mapping[str, Any],
    event: str,
    payload: Mapping[str, Any],
    now: int,
    txn: str = "",
) -> Entry:
    """One event for one stream, as it waits."""
    claims = claims_of(issuer, stream.audience, subject, event, payload, now, txn=txn)
    return Entry(stream.id, claims["jti"], event, claims)
