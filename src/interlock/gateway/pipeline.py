"""The life of a call, in one function: `Pipeline.handle`.

Its steps are values and plain function calls: nothing is awaited unless a call must wait, and then it
waits by a callback. A refusal is a value with a reason; the caller sees little of it, the record all.
It knows no protocol: what it says to the caller it says to a `Stream`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from interlock.addresses import unmapped
from interlock.gateway.call import Call, Stream
from interlock.gateway.cors import preflight_headers, response_headers
from interlock.gateway.fields import called_url, came_through, client_address, forwarded_head, trace_parent
from interlock.gateway.floods import Floods
from interlock.gateway.http1 import RequestHead
from interlock.gateway.peer import Peer, network_of
from interlock.gateway.problems import problem
from interlock.gateway.route import Matched
from interlock.identity import Possession, another_sign_in
from interlock.model import ANONYMOUS, Identity, Pending, Reason, Refusal
from interlock.policy import CallFacts

if TYPE_CHECKING:
    from interlock.gateway.assertion import Assertions
    from interlock.gateway.calls import CallRecorder
    from interlock.gateway.failures import Failures
    from interlock.gateway.meter import Meter
    from interlock.gateway.state import WorkerState
    from interlock.gateway.whereabouts import Whereabouts

log: Final = logging.getLogger("interlock.gateway")

MATCHES: Final = 8192  # (method, host, target) remembered, and as many again of those that came before them
MATCHED: Final = 256  # bytes of the longest target that is remembered: anybody can send one


FOLLOWED: Final = 2000  # calls under way that are asked about in one sweep, so that it does not hold up others


NO_HEAD: Final = RequestHead("", b"", False, [])


class Pipeline:
    """One worker's enforcement point."""

    def __init__(
        self,
        *,
        state: WorkerState,
        calls: CallRecorder,
        assertions: Assertions,
        failures: Failures,
        meter: Meter,
        seen: Whereabouts,
        wall: Callable[[], int],
        monotonic: Callable[[], int],
    ) -> None:
        self._state = state
        self._calls = calls
        self._assertions = assertions
        self._failures = failures
        self._meter = meter
        self._seen = seen
        self._floods = Floods()
        self._wall = wall
        self.monotonic = monotonic
        self._matches: dict[tuple[str, bytes, bytes], Matched] = {}
        self._matches_before: dict[tuple[str, bytes, bytes], Matched] = {}
        self._matched_by: object = None  # the snapshot `_matches` was made from
        self._random = random.Random()  # noqa: S311 - makes trace ids, which are no secret
        self._followed = 0  # calls under way that were asked about since the last sweep
        self.draining = False

    def handle(self, call: Call) -> None:
        """Admit, authenticate, authorize, limit, record; `Call.forward` follows once it is recorded."""
        head = call.head
        peer = call.peer
        state = self._state
        now = self._wall()

        # 0. Nothing is decided on older state than the node has: what was revoked is known first.
        if state.directory.behind:
            state.catch_up()

        # 1. Admit.
        if state.stale:
            return self.refuse(call, Refusal(Reason.SNAPSHOT_STALE))
        if peer.trusted:
            source = self._client_address(head, peer)
            if source is None:
                return self.refuse(call, Refusal(Reason.FORWARDED_CONFLICT))
            call.source = source
        call.trace = trace_parent(head) or f"{self._random.getrandbits(128):032x}"
        matched = self._match(head, peer)
        if isinstance(matched, Refusal):
            return self.refuse(call, matched)
        route = call.route = matched.route
        call.target = matched.target
        call.params = matched.params
        if matched.preflight:
            return self._preflight(call)
        if head.content_length > route.body_limit:
            return self.refuse(call, Refusal(Reason.BODY_TOO_LARGE))

        # 2. Authenticate.
        identity = self._authenticate(call, now)
        if isinstance(identity, Refusal):
            return self.refuse(call, self._failures.judge(identity, self._network(call), call.started))
        if isinstance(identity, Pending):
            return identity.wait(lambda: self._again(call))
        call.identity = identity
        if identity.issuer:
            refusal = self._whereabouts(call, identity, now)
            if refusal is not None:
                return self.refuse(call, refusal)
        if call.possession is not None and call.possession.nonce:
            call.answer_fields.append(b"dpop-nonce: %b\r\n" % call.possession.nonce.encode("ascii"))

        # 3. Authorize.
        refusal = self._authorize(call, identity, now)
        if refusal is not None:
            return self.refuse(call, refusal)

        # 4. Limit.
        if route.limit is not None:
            verdict = route.limit(identity, self._network(call), call.started)
            if verdict.refusal is not None:
                return self.refuse(call, verdict.refusal)
            call.answer_fields += verdict.fields
        if route.cors is not None and head.origin is not None:
            call.answer_fields += response_headers(route.cors, head.origin)

        # 5. Say it in our own words: what goes on is written anew, with who calls.
        call.wire_bytes = forwarded_head(call, self._assertions.line(identity, route.service, now))

        if identity is ANONYMOUS and self._calls.tight:  # the reserve is for callers who are known
            return self.refuse(call, Refusal(Reason.RECORD_UNAVAILABLE))

        # 6. Record the intent. What follows, forwarding to outcome, is in `Call`.
        self._calls.intent(call)
        return None

    # -- refusing and ending

    def refuse(self, call: Call, refusal: Refusal) -> None:
        """Put the refusal on the record, then answer it."""
        anonymous = call.identity is ANONYMOUS
        own = self._own_record(call.source if anonymous else call.identity.text, refusal.reason, anonymous)
        if own:
            duration = self.monotonic() - call.started
            self._calls.refused(call, refusal, lambda recorded: self._refused(call, refusal, recorded), duration)
        else:
            self.answer_refusal(call, refusal)

    def _refused(self, call: Call, refusal: Refusal, recorded: bool) -> None:
        if not recorded:  # then there is nothing to refer to, and no answer but this
            call.reference = ""
            refusal = Refusal(Reason.RECORD_UNAVAILABLE)
        self.answer_refusal(call, refusal)

    def malformed(self, stream: Stream, peer: Peer, refusal: Refusal) -> None:
        """What arrived was no request: there is no call, but there is a record and an answer."""
        self.refuse(Call(self, stream, peer, NO_HEAD, self.monotonic()), refusal)

    def refuse_connection(self, address: str, reason: Reason, note: str, server_name: str = "") -> None:
        """A connection that never carried a call: recorded, counted in a flood, not answered."""
        own = self._floods.own_record(address, reason, self._wall(), anonymous=True, tight=self._calls.tight)
        self._meter.connection_refused(reason, not own)
        if own:
            self._calls.refused_connection(address, Refusal(reason, (), note), server_name)

    def unrecorded(self, call: Call) -> None:
        """The intent could not be written: nothing passes, and what tells of it is the count."""
        refusal = Refusal(Reason.RECORD_UNAVAILABLE)
        self._meter.refused(refusal.reason, False)
        self.answer_refusal(call, refusal)

    def _own_record(self, source: str, reason: Reason, anonymous: bool) -> bool:
        own = self._floods.own_record(source, reason, self._wall(), anonymous=anonymous, tight=self._calls.tight)
        self._meter.refused(reason, not own)
        return own

    def answer_refusal(self, call: Call, refusal: Refusal) -> None:
        """The problem document: a title and a reference, no inner detail (RFC 9457)."""
        fields, body = problem(refusal, call.reference)
        route = call.route
        if route is not None and route.cors is not None and call.head.origin is not None:
            fields = [*fields, *response_headers(route.cors, call.head.origin)]
        call.bytes_out = len(body)
        call.stream.send_whole(refusal.reason.status, fields, body)

    def outcome(self, call: Call, status: int, reason: Reason | None, note: str) -> None:
        """A call has ended; one that ended before its intent was on the record is refused there."""
        if call.intent is None:
            if not call.reference and reason is not None:
                self.refuse(call, Refusal(reason, (), note or "before it was decided"))
            return
        duration = self.monotonic() - call.started
        self._meter.ended(status, reason, duration, call.bytes_in, call.bytes_out)
        self._calls.outcome(call, status, reason, note, duration)

    def recheck(self, call: Call) -> None:
        """A long call, each minute: say that it goes on, and ask again whether it may."""
        self._calls.progress(call, self.monotonic() - call.started)
        self._judge(call, waited=False)

    def follow(self, call: Call) -> None:
        """A call that goes on, each second: ask again whether it may, once something was revoked or changed."""
        epoch = self._state.directory.epoch
        if call.judged != epoch and self._followed < FOLLOWED:
            self._followed += 1
            call.judged = epoch
            self._judge(call, waited=False)

    def _judge(self, call: Call, *, waited: bool) -> None:
        """End a call that would not be let in now. What cannot be known, having `waited` for it, does not hold."""
        if call.ended:
            return None
        now = self._wall()
        state = self._state
        if state.directory.behind:
            state.catch_up()
        route = call.route
        assert route is not None
        identity = Refusal(Reason.SNAPSHOT_STALE) if state.stale else self._authenticate(call, now)
        if isinstance(identity, Pending):
            if not waited:
                return identity.wait(lambda: self._judge(call, waited=True))
            identity = Refusal(Reason.ISSUER_UNAVAILABLE)
        refusal = self._authorize(call, identity, now) if isinstance(identity, Identity) else identity
        if refusal is not None:
            call.abort(refusal.reason, "no longer holds")
        return None

    def failed(self, call: Call) -> None:
        """A layer raised: a fault of ours, which refuses the call. Call from an `except` block."""
        log.exception("a call failed inside")
        if not call.ended:
            self.refuse(call, Refusal(Reason.INTERNAL))

    def complain(self, call: Call, problem: Exception) -> None:
        """Say in the log what the record has no place for."""
        log.error("a call failed inside: %s", call.reference or call.trace, exc_info=problem)

    def sweep(self) -> None:
        """Once a second: write what floods were counted."""
        now = self._wall()
        for source, flood in self._floods.sweep():
            self._calls.refusals(source, flood, now, partial(self._floods.take_back, source, flood))
        self._failures.sweep(self.monotonic())
        self._followed = 0

    # -- parts of the steps

    def _again(self, call: Call) -> None:
        """A layer that had to wait may now know; the steps are taken from the start, on present state."""
        if not call.ended:
            try:
                self.handle(call)
            except Exception:
                self.failed(call)

    def _authenticate(self, call: Call, now: int) -> Identity | Refusal | Pending:
        """What the route makes of what was presented; a kind presented twice is refused."""
        route = call.route
        head = call.head
        assert route is not None
        if route.authenticate is None:
            return ANONYMOUS
        if head.authorization_count > 1 or head.api_key_count > 1:
            return Refusal(Reason.CREDENTIAL_DUPLICATE)
        peer = call.peer
        if peer.resumed and route.vouched is not None and not route.vouched(peer.fingerprint):
            call.stream.end_after()
            return Refusal(Reason.CERTIFICATE_UNVERIFIED, (), "a resumed session whose certificate was not verified")
        dpop = head.dpop
        if dpop is not None and call.possession is None:
            call.possession = Possession(dpop.token, dpop.proof, call.method, called_url(call))
        certificate = peer.certificate
        if peer.trusted and certificate is not None and came_through(call):
            certificate = None  # a proxy's, and nobody's who calls through it
        return route.authenticate(head.bearer, head.api_key, certificate, call.source, now, call.possession)

    def _whereabouts(self, call: Call, identity: Identity, now: int) -> Refusal | None:
        """A token that comes from elsewhere than at first is put on the record; refused, where the route says so."""
        route = call.route
        assert route is not None
        peer = call.peer
        direct = call.source == peer.address  # else what is known of the connection is the proxy's
        network = peer.network if direct else network_of(unmapped(call.source))
        program = peer.program if direct else b""
        sighting, news = self._seen.look(identity, network, program, now, call.started, route.same_network)
        if news:
            self._calls.moved(call, identity, "network" if sighting.moved else "program")
        if route.same_network and (sighting.moved or not sighting.known):
            return another_sign_in(identity, "another network than at first" if sighting.known else "no room")
        return None

    def _authorize(self, call: Call, identity: Identity, now: int) -> Refusal | None:
        """Whether they were authenticated as the route asks, and may do this: judged at every call."""
        route = call.route
        assert route is not None
        if route.strength is not None:
            refusal = route.strength(identity, now)
            if refusal is not None:
                return refusal
        return route.allow(identity, self._facts(call, now) if route.conditional else None)

    def _preflight(self, call: Call) -> None:
        """A browser asks before it calls (Fetch standard, CORS preflight): on the record like any other call."""
        assert call.route is not None
        assert call.route.cors is not None
        if call.route.preflight_limit is not None:
            verdict = call.route.preflight_limit(ANONYMOUS, self._network(call), call.started)
            if verdict.refusal is not None:
                return self.refuse(call, verdict.refusal)
        if self._calls.tight:
            return self.refuse(call, Refusal(Reason.RECORD_UNAVAILABLE))
        call.own_answer = (204, preflight_headers(call.route.cors, call.head))
        return self._calls.intent(call)

    def _match(self, head: RequestHead, peer: Peer) -> Matched | Refusal:
        live = self._state.live
        if self._matched_by is not live:
            self._matches, self._matches_before = {}, {}
            self._matched_by = live
        if head.method == "OPTIONS":  # depends on more than the key
            found = live.match(head)
        else:
            key = (head.method, head.host, head.target)
            cached = self._matches.get(key)
            if cached is not None:
                found = cached
            else:
                found = self._matches_before.pop(key, None) or live.match(head)
                if not isinstance(found, Refusal) and len(head.target) <= MATCHED:
                    if len(self._matches) >= MATCHES:
                        self._matches_before, self._matches = self._matches, {}
                    self._matches[key] = found
        if peer.entry >= 0 and peer.misdirected(head.hostname):
            return Refusal(Reason.MISDIRECTED)
        return found

    def _facts(self, call: Call, now: int) -> CallFacts:
        assert call.target is not None
        return CallFacts(
            method=call.method,
            path=call.target.path,
            host=call.head.hostname,
            source=call.source,
            params=dict(call.params),
            now_ns=now,
        )

    def _client_address(self, head: RequestHead, peer: Peer) -> str | None:
        """What a trusted proxy says; a proxy that is trusted no longer is an ordinary caller from now on."""
        networks = self._state.trusted_proxies
        if not any(peer.ip in network for network in networks):
            peer.trusted = False
            return peer.address
        return client_address(head, peer.ip, networks)

    def _network(self, call: Call) -> bytes:
        return call.peer.network if call.source == call.peer.address else network_of(unmapped(call.source))
