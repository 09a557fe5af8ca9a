"""The witness as its server sees it: a body in, a response out, and the state on disk in between."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from interlock.clock import SECOND, Clock, SystemClock
from interlock.errors import LogError
from interlock.tlog import Cosigner, Ed25519Verifier, parse_vkey
from interlock.witness.protocol import Logs, Response, judge, read_submission
from interlock.witness.store import Store


def group_logs(vkeys: Iterable[str]) -> Logs:
    """The logs by origin, which is the name of their keys; several keys of one log stand together. `LogError`."""
    logs: dict[str, list[Ed25519Verifier]] = {}
    for text in vkeys:
        key = Ed25519Verifier(parse_vkey(text.strip()))
        if key.key not in [one.key for one in logs.setdefault(key.key.name, [])]:
            logs[key.key.name].append(key)
    if not logs:
        raise LogError("a witness needs the key of at least one log")
    return logs


class Witness:
    """Answers one request after another, from any thread."""

    def __init__(self, logs: Logs, cosigner: Cosigner, store: Store, clock: Clock | None = None) -> None:
        self.key = cosigner.key
        self._logs = logs
        self._cosigner = cosigner
        self._store = store
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()

    def add_checkpoint(self, body: bytes) -> Response:
        """Answer a request. Raises `OSError` and `StateError`; then nothing was cosigned that anybody has seen."""
        read = read_submission(body, self._logs)
        if isinstance(read, Response):
            return read
        origin = read.checkpoint.origin
        with self._lock:  # what is known MUST NOT change between the judgement and the disk
            answer = judge(read, self._store.known(origin), self._cosigner, self._clock.wall() // SECOND)
            if answer.conflict is not None:
                self._store.keep_conflict(origin, answer.conflict)
            if answer.known is not None:
                self._store.keep(origin, answer.known)
        return answer.response
