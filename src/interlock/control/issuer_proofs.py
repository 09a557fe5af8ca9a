"""What is good once at the authorization server: proofs of possession, and assertions that clients sign.

Both are kept in the table that workers keep theirs in (`interlock.snapshot.replay`), which outlives this process and
is lost when the node starts anew. It knows what it may have forgotten: that is not taken, and a moment later, when
it was certainly made since, it is.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from interlock.clock import SECOND
from interlock.identity.dpop import NONCES, REPLAYS, ProofGuard, Shown
from interlock.issuer.errors import OAuthError
from interlock.jose import PROOF_ALGORITHMS
from interlock.jose.dpop import AHEAD, WINDOW
from interlock.jose.dpop_nonce import Nonces
from interlock.keys import Handover
from interlock.model import Reason, Refusal
from interlock.snapshot.replay import CALLS, Claim, ReplayTable
from interlock.store.clients import Client

KEPT: Final = (WINDOW + AHEAD) * SECOND  # for how long a proof takes a place
CLIENTS: Final = 4096  # whose shares are counted before those who take nothing are forgotten
_SHARE: Final = 4  # of a region, a client's part at once
LATER = OAuthError(
    "temporarily_unavailable",
    "whether this was used before cannot be told now: make a new one in a moment",
    status=503,
    fields=(("retry-after", "10"),),
)


class Shares:
    """How much of the room for proofs each client takes, by however many keys: a third is always left to others.

    A quarter at once, and another one in the time that a proof without a nonce is kept for (GCRA); one with a nonce
    is kept for less than twice as long. For many threads.
    """

    def __init__(self, places: int) -> None:
        self._each = KEPT * _SHARE // places  # ns until a client has taken one place less
        self._taken: dict[str, int] = {}  # until when (monotonic ns) each has taken more than none
        self._lock = threading.Lock()

    def take(self, client: str, now: int) -> bool:
        """Whether there is room for one more of the client's; `now` in monotonic ns."""
        with self._lock:
            if len(self._taken) >= CLIENTS:
                self._taken = {name: until for name, until in self._taken.items() if until > now}
            until = max(now, self._taken.get(client, 0)) + self._each
            if until - now > KEPT:
                return False
            self._taken[client] = until
            return True


class GuardedProofs:
    """Proofs as the token endpoint takes them."""

    algorithms: tuple[str, ...] = PROOF_ALGORITHMS

    def __init__(self, guard: ProofGuard, shares: Shares, monotonic: Callable[[], int]) -> None:
        self._guard = guard
        self._shares = shares
        self._monotonic = monotonic

    def verify(self, proof: str, method: str, url: str, now: int, *, nonce_required: bool) -> Shown:
        shown = self._guard.verify(
            proof.encode("utf-8"), method=method, url=url, now=now, nonce_required=nonce_required
        )
        refusal = shown if isinstance(shown, Refusal) else self._guard.tellable(shown, now)
        if refusal is not None:
            raise _refused(refusal)
        assert isinstance(shown, Shown)
        return shown

    def use(self, shown: Shown, now: int, *, of: str) -> None:
        if not self._shares.take(of, self._monotonic()):
            raise LATER
        refusal = self._guard.use(shown, now, token_endpoint=True)
        if refusal is not None:
            raise _refused(refusal)


class SharedReplays:
    """What is named once, by 32 bytes.

    Only what a client has signed comes here. So it is kept beside the proofs of calls, in whose region nobody brings
    a key of their own, and not where strangers' proofs could leave no room for it.
    """

    def __init__(self, table: ReplayTable, monotonic: Callable[[], int]) -> None:
        self._table = table
        self._monotonic = monotonic

    def claim(self, name: bytes, issued: int, expires: int, now: int, *, ahead: int, of: Client) -> bool:
        """Whether it was not used before. Raises `OAuthError` where that cannot be told."""
        claim = self._table.claim(
            hashlib.sha256(b"client\0" + of.client_id.encode("utf-8", "surrogatepass")).digest(),
            name,
            iat=issued,
            wall=now,
            monotonic=self._monotonic(),
            window=max(SECOND, expires - issued),
            ahead=ahead,
            since=of.created,
            region=CALLS,
        )
        if claim is Claim.NEW:
            return True
        if claim is Claim.SEEN:
            return False
        raise LATER


def open_shared(run: Path, handover: Handover, monotonic: Callable[[], int]) -> tuple[GuardedProofs, SharedReplays]:
    """Those of a running node; once in each process, for the table's locks are the process's."""
    table = ReplayTable.open(run / REPLAYS)
    guard = ProofGuard(table, Nonces(handover.derive(NONCES)), monotonic)
    return GuardedProofs(guard, Shares(table.tokens), monotonic), SharedReplays(table, monotonic)


def _refused(refusal: Refusal) -> OAuthError:
    """RFC 9449 sections 5 and 8."""
    note = f"{refusal.reason}: {refusal.note}"
    fields = tuple((name.decode("ascii"), value.decode("ascii")) for name, value in refusal.headers)
    if refusal.reason is Reason.DPOP_NONCE_NEEDED:
        return OAuthError("use_dpop_nonce", "the proof needs the nonce of this answer", fields=fields, note=note)
    if refusal.reason is Reason.DPOP_UNAVAILABLE:
        return OAuthError("temporarily_unavailable", "try again in a moment", status=503, note=note)
    return OAuthError("invalid_dpop_proof", "the proof is not good", fields=fields, note=note)
