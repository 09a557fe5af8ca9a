"""Possession of a key, shown once (RFC 9449): the proof is good, its nonce is ours, and it was not used before.

For whoever takes proofs: the enforcement point beside a token, the token endpoint before it issues one. A proof that
cannot be told from one that was used before is refused, with a nonce (section 8) that makes the next one tellable:

    the table of used proofs is younger than it           dpop-nonce-needed
    it was used                                           dpop-replayed
    the table has no room for it, or does not answer      dpop-unavailable
"""

from __future__ import annotations

import hmac
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
REPLAYS = "replays"  # the table, in the run directory
NONCES = "dpop nonce"  # the purpose of their key
NONCE_FIELD = b"dpop-nonce"
REPLAYS = "replays"  # the table's file in `run/`

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


class Possession:
    """What one call shows of a token's key. Kept with the call: once accepted, its proof is not asked for again."""

    __slots__ = ("method", "nonce", "proof", "proven", "token", "url")

    def __init__(self, token: bytes | None, proof: bytes | None, method: str, url: str) -> None:
        self.token = token  # of `Authorization: DPoP TOKEN`; None: the proof came beside something else
        self.proof = proof  # the `DPoP` field; None: there was none
        self.method = method
        self.url = url  # as the caller wrote it, without the query
        self.proven = b""  # thumbprint of the key, once the proof was accepted
        self.nonce = ""  # a newer one for the caller

    def __repr__(self) -> str:
        return "Possession()"


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
        fapi2: bool = False,
    ) -> Shown | Refusal:
        """Check a proof without using it up; `use` MUST follow before anything is done on its strength.

        `fapi2`: only what FAPI 2.0 lets proofs be signed with.
        """
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
                fapi2=fapi2,
            )
        except ProofRefused as refused:
            return self._refusal(refused.reason, refused.note)
        if not good.nonce:
            return Shown(good)
        return Shown(good, self._nonces.renewed(self._nonces.ends(good.nonce, monotonic), monotonic))

    def tellable(self, shown: Shown, now: int) -> Refusal | None:
        """None if `use` could tell whether a proof was used before; takes no room, so strangers may ask for it."""
        proof = shown.proof
        if proof.nonce or not self._table.unsure(
            iat=proof.iat_ns,
            wall=now,
            monotonic=self._monotonic(),
            window=WINDOW * SECOND,
            ahead=AHEAD * SECOND,
        ):
            return None
        return self._refusal(_REFUSED[Claim.UNSURE], _NOTES[Claim.UNSURE])

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

    def prove(
        self,
        possession: Possession,
        now: int,
        *,
        access_token: bytes,
        key: bytes,
        nonce_required: bool,
        fapi2: bool = False,
    ) -> Refusal | None:
        """Check the proof of a call and use it up; None if it holds, or was accepted from this very call before.

        `key`: what the token is bound to; empty: the proof came beside a credential that is bound to none.
        """
        if possession.proven:
            if key and not hmac.compare_digest(key, possession.proven):
                return Refusal(Reason.TOKEN_BINDING, (), "the token is bound to another key by now")
            return None
        shown = self.look_at(
            possession, now, access_token=access_token, key=key, nonce_required=nonce_required, fapi2=fapi2
        )
        return shown if isinstance(shown, Refusal) else self.accept(possession, shown, now)

    def look_at(
        self,
        possession: Possession,
        now: int,
        *,
        access_token: bytes = b"",
        key: bytes = b"",
        nonce_required: bool = False,
        fapi2: bool = False,
    ) -> Shown | Refusal:
        """Check the proof of a call without using it up: it takes no room, so anybody may have that done."""
        return self.verify(
            possession.proof or b"",
            method=possession.method,
            url=possession.url,
            now=now,
            access_token=access_token,
            key=key,
            nonce_required=nonce_required,
            fapi2=fapi2,
        )

    def accept(self, possession: Possession, shown: Shown, now: int) -> Refusal | None:
        """Use up the proof of a call that was looked at."""
        refusal = self.use(shown, now)
        if refusal is None:
            possession.proven, possession.nonce = shown.proof.key, shown.nonce
        return refusal

    def _refusal(self, reason: Reason, note: str) -> Refusal:
        """With the nonce that the next proof needs, where it needs one."""
        if reason is not Reason.DPOP_NONCE_NEEDED:
            return Refusal(reason, (), note)
        return Refusal(reason, ((NONCE_FIELD, self.nonce().encode("ascii")),), note)


def open_guard(run: Path, handover: Handover, monotonic: Callable[[], int]) -> ProofGuard:
    """The guard of one process of a running node; once in each, for the table's locks are the process's."""
    return ProofGuard(ReplayTable.open(run / REPLAYS), Nonces(handover.derive("dpop nonce")), monotonic)
