"""Revoking: one act that ends a credential and whatever hangs on it, everywhere on the node.

In this order:

 1. It is put on the record; what cannot be recorded is not done.
 2. What hangs on it ends in the state: refresh families, sign-ins, client secrets.
 3. Only then the mark is dated, so that nothing that came out of those meanwhile is issued after it.
 4. Revocation, mark and API keys are kept in the state, together; then what others are to be told of it.
 5. The workers are told, and the act returns when each of them refuses.
 6. Once more what hangs on it ends in the state: a code that was being redeemed meanwhile has become a grant, whose
    access tokens are dated before the mark, and those of its refresh token would not be.

If the state fails in 2 or 4, the workers are told all the same, and the error says what is missing: what is in the
change log outlives every snapshot but not the node. Nothing here opens a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from interlock.clock import SECOND, Clock
from interlock.control.credentials import (
    OWN_LIFE,
    Dead,
    Doomed,
    Named,
    OfCertificate,
    OfIssuer,
    OfToken,
    Plain,
    dead_handle,
)
from interlock.control.dependants import Dependant, shown
from interlock.control.publish import Publisher
from interlock.control.status import rfc3339
from interlock.errors import StateError
from interlock.identity import (
    key_handle,
)
from interlock.identity.marks import mark
from interlock.model import Event, Recorder
from interlock.snapshot import Change, NotBefore, Revoked
from interlock.store import ApiKeyRow, Mark, Revocation, Revocations, State
from interlock.store.accounts import Accounts
from interlock.store.clients import Clients

UNFINISHED = (
    "the running node refuses it, but the database does not know all of it, and the node would take it again once it "
    "is stopped and started: repeat the command"
)


@dataclass
class _Killing:
    """How far one act has come."""

    now: int
    principal: str = ""  # whose keys die
    keys: dict[str, ApiKeyRow] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)
    problem: StateError | None = None

    def attempt(self, step: Callable[[], None]) -> None:
        """Take a step in the state; what fails is told at the end."""
        try:
            step()
        except StateError as problem:
            self.problem = self.problem or problem


class RevocationDesk:
    """What one node refuses from now on. For the control process and for commands beside or without it."""

    def __init__(
        self,
        state: State,
        publisher: Publisher,
        clock: Clock,
        dependants: Sequence[Dependant],
        told: Callable[[Doomed, Sequence[Dead], int], None] = lambda _doomed, _dead, _now: None,
    ) -> None:
        """`told` puts what was revoked, with what hung on it and when, where others will hear of it."""
        self._state = state
        self._told = told
        self._kept = Revocations(state)
        self._publisher = publisher
        self._clock = clock
        self._dependants = dependants

    def token(self, wanted: OfToken, named: Named, acts: Recorder) -> dict[str, Any]:
        doomed, verified = named.token(wanted, self._clock.wall())
        done = self._kill(doomed, acts)
        if not verified:
            done["notes"].append("no key of its issuer is here to check the token: only the token itself is refused")
        return done

    def client(self, wanted: OfIssuer, named: Named, acts: Recorder) -> dict[str, Any]:
        """Whatever an issuer gave to a client; one of our own loses its secrets and its principal's API keys, and
        one that registered itself its registration access token."""
        doomed = named.client(wanted, self._clock.wall())
        if not doomed.own:
            return self._kill(doomed, acts)
        takes: list[str] = []

        def principal() -> str:
            client = Clients(self._state).get(doomed.id)
            takes.extend([] if client.disabled else shown(client, self._clock.wall()))
            return client.principal

        return self._kill(doomed, acts, principal, takes)

    def session(self, wanted: OfIssuer, named: Named, acts: Recorder) -> dict[str, Any]:
        return self._kill(named.session(wanted, self._clock.wall()), acts)

    def principal(self, wanted: Plain, named: Named, acts: Recorder) -> dict[str, Any]:
        doomed = named.principal(wanted, self._clock.wall())
        return self._kill(doomed, acts, lambda: doomed.id)

    def user(self, wanted: Plain, named: Named, acts: Recorder) -> dict[str, Any]:
        doomed = named.user(wanted, self._clock.wall())
        return self._kill(doomed, acts, lambda: doomed.id)

    def issuer(self, wanted: Plain, named: Named, acts: Recorder) -> dict[str, Any]:
        return self._kill(named.issuer(wanted, self._clock.wall()), acts)

    def certificate(self, wanted: OfCertificate, named: Named, acts: Recorder) -> dict[str, Any]:
        return self._kill(named.certificate(wanted, self._clock.wall()), acts)

    def signalled(self, doomed: Doomed, acts: Recorder) -> dict[str, Any]:
        """What an outside issuer has told of its own; see `control.signals.receiver`."""
        return self._kill(doomed, acts)

    def live(self) -> dict[str, Any]:
        """What is refused now, and would not be otherwise; API keys are in `key list`."""
        now = self._clock.wall()
        revoked = [{**_told(one), "issued_before": None} for one in self._kept.revocations(now)]
        marked = [{**_told(one), "issued_before": rfc3339(one.since * SECOND)} for one in self._kept.marks(now)]
        return {"revocations": sorted(revoked + marked, key=lambda one: str(one["revoked"]))}

    def drop(self, acts: Recorder) -> int:
        """Forget what nothing alive could match any more; gives how many."""
        dropped = self._kept.drop(self._clock.wall())
        if dropped:
            acts.act(Event.REVOCATION_EXPIRE, {"count": dropped})
        return dropped

    # -- one act

    def _kill(
        self,
        doomed: Doomed,
        acts: Recorder,
        keys_of: Callable[[], str] | None = None,
        takes: Sequence[str] = (),
    ) -> dict[str, Any]:
        """`keys_of` gives the principal whose API keys die with it; raises `NotFound` for what is not there.

        `takes`: the kinds of what else it loses, for the record; looked at when `keys_of` was asked.
        """
        killing = _Killing(self._clock.wall())
        if keys_of is not None:
            killing.attempt(lambda: self._find_keys(killing, keys_of()))
        # 1.
        act = acts.act(Event.CREDENTIAL_REVOKE, _details(doomed, list(killing.keys), takes))
        # 2.
        for dependant in self._dependants:
            killing.attempt(partial(self._end, dependant, killing, doomed, act))
        # 3.
        killing.now = self._clock.wall()
        since = (doomed.since or mark(killing.now, doomed.ahead)) if doomed.marked else 0
        # 4.
        killing.attempt(lambda: self._keep(killing, doomed, since, act))
        killing.attempt(lambda: self._told(doomed, killing.dead, killing.now))
        # 5.
        workers_killed = self._publisher.publish(_changes(killing, doomed, since))
        # 6.
        for dependant in self._dependants:
            killing.attempt(partial(self._end, dependant, killing, doomed, act))
        if killing.problem is not None:
            raise StateError(f"{killing.problem}; {UNFINISHED}") from killing.problem
        return {
            "revoked": [
                {"kind": doomed.kind, "id": doomed.id, "issuer": doomed.issuer or None},
                *({"kind": "key", "id": key, "issuer": None} for key in killing.keys),
                *({"kind": dead.kind, "id": dead.id, "issuer": None} for dead in killing.dead),
            ],
            "issued_before": rfc3339(since * SECOND) if since else None,
            "expires": rfc3339(doomed.expires) if doomed.expires else None,
            "act": act,
            "workers_killed": workers_killed,
            "notes": self._notes(doomed, killing),
        }

    def _find_keys(self, killing: _Killing, principal: str) -> None:
        killing.principal = principal
        rows = self._state.keys(principal=principal)
        killing.keys.update((row.id, row) for row in rows if row.usable(killing.now))

    def _end(self, dependant: Dependant, killing: _Killing, doomed: Doomed, act: str) -> None:
        killing.dead += dependant.kill(doomed, killing.now, f"revoked: {act}")

    def _keep(self, killing: _Killing, doomed: Doomed, since: int, act: str) -> None:
        now = killing.now
        revocations = [Revocation(handle, what, now, until, act) for handle, what, until in _handles(killing, doomed)]
        marks = [Mark(doomed.handle, doomed.what, since, now, doomed.expires, act)] if since else []
        rows = self._kept.keep(now=now, act=act, revocations=revocations, marks=marks, keys_of=killing.principal)
        killing.keys.update((row.id, row) for row in rows)

    def _notes(self, doomed: Doomed, killing: _Killing) -> list[str]:
        """What the operator should know, who may have mistaken the name."""
        if doomed.kind != "principal" or not doomed.own or killing.keys or killing.dead:
            return []
        kind, _, name = doomed.id.partition(":interlock/")
        try:
            if kind == "user":
                known = Accounts(self._state).find(name) is not None
            else:
                known = any(client.principal == doomed.id for client in Clients(self._state).all())
            known = known or bool(self._state.keys(principal=doomed.id))
        except StateError:
            return []
        return [] if known else [f"nobody is called {doomed.id} here: look at the spelling"]


def _handles(killing: _Killing, doomed: Doomed) -> list[tuple[bytes, str, int]]:
    """Handle, what it is, and until when, of what is refused for good."""
    found = [] if doomed.marked else [(doomed.handle, doomed.what, doomed.expires)]
    for dead in dict.fromkeys([*(Dead(*one) for one in doomed.hangs_on), *killing.dead]):
        handle = dead_handle(dead, doomed.home) if doomed.home else None
        if handle is not None and handle != doomed.handle:
            found.append((handle, f"{dead.kind} {dead.id}", killing.now + OWN_LIFE))
    return found


def _changes(killing: _Killing, doomed: Doomed, since: int) -> list[Change]:
    """For the workers. What the state does not know stays in the change log for as long as there is one."""
    kept = killing.problem is None
    changes: list[Change] = [Revoked(handle, until if kept else 0) for handle, _, until in _handles(killing, doomed)]
    if since:
        changes.append(NotBefore(doomed.handle, since, doomed.expires if kept else 0))
    changes += [Revoked(key_handle(key)) for key in killing.keys]
    return changes


def _details(doomed: Doomed, keys: list[str], takes: Sequence[str]) -> dict[str, Any]:
    """Names of persons under the names by which the record seals them."""
    details: dict[str, Any] = {"kind": doomed.kind, doomed.kind: doomed.id}
    if doomed.issuer:
        details["issuer"] = doomed.issuer
    if doomed.expires:
        details["expires"] = rfc3339(doomed.expires)
    if doomed.ahead:
        details["ahead"] = doomed.ahead
    if doomed.since:
        details["issued_before"] = rfc3339(doomed.since * SECOND)
    if doomed.signal:
        details["signal"] = doomed.signal
    details |= dict(doomed.hangs_on)
    if keys:
        details["keys"] = keys
    if takes:
        details["takes"] = list(takes)
    return details


def _told(one: Revocation | Mark) -> dict[str, Any]:
    return {
        "what": one.what,
        "revoked": rfc3339(one.revoked),
        "expires": rfc3339(one.expires) if one.expires else None,
        "act": one.act or None,
    }
