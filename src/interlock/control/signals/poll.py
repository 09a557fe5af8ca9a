"""Fetches what an issuer has to tell us (RFC 8936): a thread for each that is polled, by long polling, with back-off.

What was acted upon is acknowledged with the next poll, so that what we were killed over comes again. What does not
count is said to be so (`setErrs`), and goes; what only does not count yet (a key that we do not know, a database that
does not answer) is not acknowledged, and comes again.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from interlock.clock import SECOND, Clock
from interlock.config.signals import Received
from interlock.control.publishing.attempts import Attempts
from interlock.control.publishing.status import PartyStatus
from interlock.control.signals.http import Http, Silence
from interlock.control.signals.receiver import Log, Receiver
from interlock.control.signals.sources import Stale
from interlock.errors import InterlockError, NodeError
from interlock.issuer.signals.api import SCOPE
from interlock.issuer.signals.sets import SetRefused
from interlock.jose import Malformed, decode_json_object

MOST: Final = 50  # asked for at a time
TIMEOUT: Final = 65.0  # seconds: others may hold a poll for a minute
LARGEST: Final = 4 * 1024 * 1024
TRIES: Final = 20  # of a token whose key is not known
PUZZLES: Final = 1000  # such tokens that are counted, the newest
EARLY: Final = 10 * SECOND  # before it expires an access token is exchanged


class Poller:
    """Polls one issuer until it is closed."""

    def __init__(
        self,
        issuer: str,
        settings: Received,
        receiver: Receiver,
        clock: Clock,
        log: Log,
        *,
        http: Callable[[], Http] | None = None,
    ) -> None:
        self.issuer = issuer
        self.settings = settings
        self._receiver = receiver
        self._clock = clock
        self._log = log
        self._make = http or (lambda: Http(settings.ca, TIMEOUT, LARGEST))
        self._http: Http | None = None
        self._stop = threading.Event()
        self._acked: list[str] = []
        self._errors: dict[str, dict[str, str]] = {}
        self._puzzled: OrderedDict[bytes, int] = OrderedDict()  # tokens whose keys are not known: how often they came
        self._token = ""
        self._expires = 0  # monotonic
        self._party = PartyStatus(issuer, str(settings.poll))
        self._attempts = Attempts(self._party, clock)
        status = receiver.status_of(issuer)
        status.method = "poll"
        self._thread = threading.Thread(target=self._run, name="signals-poll", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """What was taken and not acknowledged comes again when it begins again, and is known then."""
        self._stop.set()
        http = self._http
        if http is not None:
            http.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            before = self._party.error
            try:
                self.poll()
            except Silence:
                self._drop()  # it had nothing to tell us
            except (InterlockError, OSError, ValueError) as problem:
                self._failed(str(problem), before)
            except Exception as fault:  # a fault of ours in one must not end the others
                self._failed(repr(fault), before)
            else:
                self._attempts.succeeded(0)
                if before:
                    self._log.info("signals can be fetched again", issuer=self.issuer)
            self._tell()
            if self._attempts.waiting:
                self._stop.wait(self._attempts.waiting)

    def poll(self) -> int:
        """Ask once, act upon what comes; gives how many were taken. Raises `InterlockError`."""
        waiting = bool(self._acked or self._errors)
        asked: dict[str, Any] = {"maxEvents": MOST, "returnImmediately": waiting}
        acked, errors = list(self._acked), dict(self._errors)
        if acked:
            asked["ack"] = acked
        if errors:
            asked["setErrs"] = errors
        headers = {"content-type": "application/json", "accept": "application/json"}
        headers["authorization"] = f"Bearer {self._bearer()}"
        status, body = self._client().post(str(self.settings.poll), msgspec.json.encode(asked), headers)
        if status == 401:
            self._token = ""
        if status != 200:
            raise NodeError(f"it answered {status}")
        self._acked = [one for one in self._acked if one not in acked]
        self._errors = {name: said for name, said in self._errors.items() if name not in errors}
        return self._take(_sets(body))

    def _take(self, sets: dict[str, str]) -> int:
        taken = 0
        problem: InterlockError | None = None
        for jti, token in sets.items():
            if self._stop.is_set():
                break
            try:
                found = self._receiver.take(token.encode("ascii", "replace"), by="poll", only=self.issuer)
            except SetRefused as refused:
                tries = self._puzzled.pop(_short(jti), 0) + 1
                if refused.key_unknown and tries < TRIES:
                    self._puzzled[_short(jti)] = tries
                    if len(self._puzzled) > PUZZLES:
                        self._puzzled.popitem(last=False)
                    self._receiver.refresh(self.issuer)
                    problem = problem or refused
                    continue
                self._errors[jti] = {"err": refused.code, "description": refused.description}
                self._log.warning("a signal is refused", issuer=self.issuer, code=refused.code, why=refused.note[:300])
                continue
            except Stale as stale:
                self._receiver.refresh(self.issuer)
                problem = problem or stale
                continue
            except InterlockError as failed:
                problem = problem or failed
                continue
            self._puzzled.pop(_short(jti), None)
            taken += 1
            self._acked.append(jti)
            if found.jti != jti:
                self._log.warning("a signal goes by another name than it has", issuer=self.issuer)
        if problem is not None:
            raise problem
        return taken

    def _bearer(self) -> str:
        client = self.settings.client
        if client is None:
            assert self.settings.token is not None
            return self.settings.token.resolve().decode("latin-1").strip()
        if self._token and self._clock.monotonic() < self._expires:
            return self._token
        secret = client.secret.resolve().decode("utf-8", "replace").strip()
        basic = base64.b64encode(f"{quote(client.id, safe='')}:{quote(secret, safe='')}".encode()).decode("ascii")
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
            "authorization": f"Basic {basic}",
        }
        form = urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode("ascii")
        status, body = self._client().post(client.token_endpoint, form, headers)
        if status != 200:
            raise NodeError(f"its token endpoint answered {status}")
        answer = _object(body)
        token, lives = answer.get("access_token"), answer.get("expires_in", 60)
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise NodeError("its token endpoint gave no access token")
        seconds = lives if isinstance(lives, int) and not isinstance(lives, bool) and 0 < lives < 86_400 else 60
        self._token = token
        self._expires = self._clock.monotonic() + max(SECOND, seconds * SECOND - EARLY)
        return token

    def _client(self) -> Http:
        if self._http is None:
            self._http = self._make()
        return self._http

    def _drop(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def _failed(self, why: str, before: str) -> None:
        if self._stop.is_set():
            return
        self._attempts.failed(why)
        self._drop()
        if why != before:
            self._log.warning("signals cannot be fetched", issuer=self.issuer, problem=why)

    def _tell(self) -> None:
        status = self._receiver.status_of(self.issuer)
        status.failures, status.error = self._party.failures, self._party.error
        status.failing_ns, status.retry_ns = self._party.failing_ns, self._party.retry_ns


def _short(jti: str) -> bytes:
    """A token's name, however long an issuer makes it."""
    return sha256(jti.encode("utf-8", "surrogatepass")).digest()


def _sets(body: bytes) -> dict[str, str]:
    """RFC 8936 section 2.3."""
    sets = _object(body).get("sets", {})
    if not isinstance(sets, dict) or not all(isinstance(token, str) for token in sets.values()):
        raise NodeError("its answer is not one of RFC 8936")
    return sets


def _object(body: bytes) -> dict[str, Any]:
    try:
        return decode_json_object(body)
    except Malformed:
        raise NodeError("its answer is not JSON") from None
