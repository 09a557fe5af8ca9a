"""Those whom a publisher talks to, each in a thread of its own: witnesses are asked, places are brought checkpoints."""

from __future__ import annotations

from interlock.clock import SECOND, Clock
from interlock.config import Publish, Record, WitnessAt
from interlock.control.publishing.attempts import Attempts
from interlock.control.publishing.http import Http
from interlock.control.publishing.places import Place, Published
from interlock.control.publishing.round import Log, Round
from interlock.control.publishing.status import PartyStatus
from interlock.control.publishing.witness import Candidate, Reply, WitnessClient
from interlock.errors import InterlockError
from interlock.tlog import ADD_CHECKPOINT, Signature

SAME = 3600 * SECOND  # a checkpoint that covers nothing new goes to a place this often


class WitnessThread:
    """Asks one witness, in its own thread."""

    def __init__(self, at: WitnessAt, wanted: Record, shared: Round, log: Log, clock: Clock) -> None:
        assert wanted.witnesses is not None
        self.name = at.name
        self.status = PartyStatus(at.name, at.url)
        self.attempts = Attempts(self.status, clock)
        self._at = at
        self._timeout = wanted.witnesses.timeout / SECOND
        self._shared = shared
        self._log = log
        self._client = WitnessClient(at.key, self._post, clock)
        self._http: Http | None = None
        self.done = 0  # the newest round that it was asked in and is through with
        self._busy = False

    def is_asked(self, number: int) -> bool:
        """Whether there is still to come what it says in that round. Under `changed`."""
        return self._busy or (self.done < number and not self.attempts.waiting)

    def run(self) -> None:
        shared, changed = self._shared, self._shared.changed
        while True:
            with changed:
                while not shared.stopping and (self.done >= shared.number or self.attempts.waiting):
                    changed.wait(self.attempts.waiting or None)
                if shared.stopping:
                    break
                number, candidate = shared.number, shared.candidate
                self._busy = True
            assert candidate is not None
            signature = self._ask(candidate)
            with changed:
                self._busy = False
                self.done = max(number, self.done)
                now = shared.candidate
                if signature is not None and now is not None and now.text == candidate.text:
                    shared.cosignatures[self.name] = signature
                changed.notify_all()
        if self._http is not None:
            self._http.close()

    def _ask(self, candidate: Candidate) -> Signature | None:
        before = self.status.error
        try:
            signature = self._client.cosign(candidate)
        except (InterlockError, OSError, ValueError) as problem:
            self._failed(str(problem))
        except Exception as fault:  # a fault of ours in one must not end the others
            self._failed(repr(fault))
        else:
            self.attempts.succeeded(candidate.checkpoint.size)
            if before:
                self._log.info("a witness cosigns again", witness=self.name)
            return signature
        if self.status.error != before:
            self._log.warning("a witness does not cosign", witness=self.name, problem=self.status.error)
        return None

    def _failed(self, why: str) -> None:
        self.attempts.failed(why)
        if self._http is not None:
            self._http.close()
            self._http = None

    def _post(self, body: bytes) -> Reply:
        if self._http is None:
            self._http = Http(f"{self._at.url.rstrip('/')}/{ADD_CHECKPOINT}", self._at.ca, self._timeout)
        return Reply(*self._http.send("POST", body))


class PlaceThread:
    """Brings the newest published checkpoint to one place, again and again until it is there."""

    def __init__(self, publish: Publish, place: Place, shared: Round, log: Log, clock: Clock) -> None:
        self.status = PartyStatus(str(publish.to), str(publish.to))
        self.attempts = Attempts(self.status, clock)
        self._every = publish.every
        self._place = place
        self._shared = shared
        self._log = log
        self._clock = clock
        self._there: Published | None = None
        self._at = 0  # monotonic, when that got there

    def run(self) -> None:
        shared, changed = self._shared, self._shared.changed
        while True:
            with changed:
                while not shared.stopping and not self._is_due(shared.published):
                    changed.wait(1.0)
                if shared.stopping:
                    return
                published = shared.published
            assert published is not None
            self._bring(published)

    def _is_due(self, published: Published | None) -> bool:
        if published is None or self.attempts.waiting or published == self._there:
            return False
        if self._there is None:
            return True
        wait = self._every if published.size != self._there.size else max(SAME, self._every)
        return self._clock.monotonic() - self._at >= wait

    def _bring(self, published: Published) -> None:
        before = self.status.error
        try:
            self._place.keep(published)
        except (InterlockError, OSError, ValueError) as problem:
            self.attempts.failed(str(problem))
        except Exception as fault:  # a fault of ours in one must not end the others
            self.attempts.failed(repr(fault))
        else:
            self._there, self._at = published, self._clock.monotonic()
            self.attempts.succeeded(published.size)
            if before:
                self._log.info("checkpoints get there again", place=self.status.name)
            return
        if self.status.error != before:
            self._log.warning("checkpoints do not get there", place=self.status.name, problem=self.status.error)
