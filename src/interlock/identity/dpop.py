"""Possession of a key, shown once (RFC 9449): the proof is good, its nonce is ours, and it was not used before.

For whoever takes proofs: the enforcement point beside a token, the token endpoint before it issues one. A proof that
cannot be told from one that was used before is refused, with a nonce (section 8) that makes the next one tellable:

    the table of used proofs is younger than it           dpop-nonce-needed
    it was used                                           dpop-replayed
    the table has no room for it, or does not answer      dpop-unavailable
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from interlock.clock import SECOND
from interlock.jose import PROOF_ALGORITHMS, Proof, ProofRefused, verify_proof
from interlock.jose.dpop import AHEAD, WINDOW
from interlock.jose.dpop_nonce import Nonces
from interlock.keys import Handover
from interlock.model import Reason, Refusal
from interlock.snapshot.replay import CALLS, TOKENS, Claim, ReplayTable

ALGS = " ".join(PROOF_ALGORITHMS)
NONCE_FIELD = b"dpop-nonce"

_REFUSED = {
    Claim.SEEN: Reason.DPOP_REPLAYED,
    Claim.UNSURE: Reason.DPOP_NONCE_NEEDED,
    Claim.FULL: Reason.DPOP_UNAVAILABLE,
    Claim.BUSY: Reason.DPOP_UNAVAILABLE,
}
_NOTES = {
    Claim.SEEN: "the proof was used",
    Claim.UNSURE: "the proof may have been used before the node started, or the clock was set back",
    Claim.FULL: "no room for more proofs",
    Claim.BUSY: "the table of used proofs does not answer",
}


class Shown(msgspec.Struct, frozen=True):
    """What was shown, and the nonce for next time; empty: the one that was used, or none, will do."""

    proof: Proof
    nonce: str = ""


class ProofGuard:
    """The proofs of one process of the node; all of them share what was used and what is a nonce."""

    def __init__(self, table: ReplayTable, nonces: Nonces, monotonic: Callable[[], int]) -> None:
        self._table = table
        self._nonces = nonces
        self._monotonic = monotonic

    def nonce(self) -> str:
        """One for the next proof, for a `DPoP-Nonce` field; an answer with it MUST NOT be cached."""
        return self._nonces.issue(self._monotonic())

    def verify(
        self,
        proof: bytes,
        *,
        method: str,
        url: str,
        now: int,
        access_token: bytes = b"",
        key: bytes = b"",
        nonce_required: bool = False,
    ) -> Shown | Refusal:
        """Check a proof without using it up; `use` MUST follow before anything is done on its strength."""
        monotonic = self._monotonic()
        try:
            good = verify_proof(
                proof,
                method=method,
                url=url,
                now=now,
                access_token=access_token,
                key=key,
                nonce_holds=lambda nonce: bool(self._nonces.ends(nonce, monotonic)),
                nonce_required=nonce_required,
            )
        except ProofRefused as refused:
            return self._refusal(refused.reason, refused.note)
        if not good.nonce:
            return Shown(good)
        return Shown(good, self._nonces.renewed(self._nonces.ends(good.nonce, monotonic), monotonic))

    def use(self, shown: Shown, now: int, *, token_endpoint: bool = False) -> Refusal | None:
        """Use up a proof that was verified; None if it is the first time. `now` in wall ns."""
        proof = shown.proof
        monotonic = self._monotonic()
        ends = self._nonces.ends(proof.nonce, monotonic) if proof.nonce else 0
        if proof.nonce and not ends:  # it ended since it was verified
            return self._refusal(Reason.DPOP_NONCE_NEEDED, "the nonce is old, or not ours")
        claim = self._table.claim(
            proof.key,
            proof.jti.encode("utf-8"),
            iat=proof.iat_ns,
            wall=now,
            monotonic=monotonic,
            window=WINDOW * SECOND,
            ahead=AHEAD * SECOND,
            nonce_ends=ends,
            region=TOKENS if token_endpoint else CALLS,
        )
        return None if claim is Claim.NEW else self._refusal(_REFUSED[claim], _NOTES[claim])

    def _refusal(self, reason: Reason, note: str) -> Refusal:
        """With the nonce that the next proof needs, where it needs one."""
        if reason is not Reason.DPOP_NONCE_NEEDED:
            return Refusal(reason, (), note)
        return Refusal(reason, ((NONCE_FIELD, self.nonce().encode("ascii")),), note)


def open_guard(run: Path, handover: Handover, monotonic: Callable[[], int]) -> ProofGuard:
    """The guard of one process of a running node; once in each, for the table's locks are the process's."""
    return ProofGuard(ReplayTable.open(run / "replays"), Nonces(handover.derive("dpop nonce")), monotonic)
