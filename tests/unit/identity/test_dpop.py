"""The guard of proofs: each is good for one call, and what cannot be known is asked for again with a nonce."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.identity.dpop import ALGS, ProofGuard, Shown, open_guard
from interlock.jose import thumbprint
from interlock.jose.dpop_nonce import LIFE, Nonces
from interlock.keys import Handover
from interlock.model import Reason, Refusal
from interlock.snapshot.replay import Claim, ReplayTable
from tests.unit.jose.material import b64, ec, sign

URL = "https://api.example.com/accounts/1"
TOKEN = b"an.access.token"
JWK = {name: value for name, value in ec().as_dict(private=False).items() if name != "kid"}
KEY = thumbprint(JWK)


class Node:
    """One node's shared memory, and a guard for each of its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(monotonic=77 * SECOND)
        self.start()
        self.clock.advance(3600)

    def start(self) -> None:
        """Anew: an empty table, and a nonce key of its own."""
        wall, monotonic = self.clock.wall(), self.clock.monotonic()
        ReplayTable.create(self.folder / "replays", wall=wall, monotonic=monotonic, slots=4096).close()
        self.handover = Handover(self.folder / "handover", hashlib.sha256(b"%d" % wall).digest())

    def process(self) -> ProofGuard:
        return open_guard(self.folder, self.handover, self.clock.monotonic)

    def proof(self, **members: Any) -> bytes:
        claims = {
            "jti": "one",
            "htm": "GET",
            "htu": URL,
            "iat": self.clock.wall() // SECOND,
            "ath": b64(hashlib.sha256(TOKEN).digest()),
            **members,
        }
        return sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": JWK}, json.dumps(claims).encode(), ec())

    def show(self, guard: ProofGuard, proof: bytes, **how: Any) -> Shown | Refusal:
        """As the gateway does it."""
        now = self.clock.wall()
        asked = {"method": "GET", "url": URL, "now": now, "access_token": TOKEN, "key": KEY, **how}
        shown = guard.verify(proof, **asked)
        return shown if isinstance(shown, Refusal) else guard.use(shown, now) or shown


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def good(answer: Shown | Refusal) -> Shown:
    assert isinstance(answer, Shown), answer
    return answer


def refused(answer: Shown | Refusal) -> Reason:
    assert isinstance(answer, Refusal), answer
    return answer.reason


def nonce_of(answer: Shown | Refusal) -> str:
    """The nonce that came with a refusal."""
    assert isinstance(answer, Refusal)
    return dict(answer.headers)[b"dpop-nonce"].decode()


def test_a_proof_is_good_for_one_call(node: Node) -> None:
    guard, proof = node.process(), node.proof()
    shown = good(node.show(guard, proof))
    assert (shown.proof.key, shown.proof.jti, shown.nonce) == (KEY, "one", "")
    assert refused(node.show(guard, proof)) is Reason.DPOP_REPLAYED
    assert refused(node.show(guard, node.proof())) is Reason.DPOP_REPLAYED, "signed again, it is the same jti"
    assert good(node.show(guard, node.proof(jti="two")))


def test_at_whichever_process(node: Node) -> None:
    one, two = node.process(), node.process()
    proof = node.proof()
    assert good(node.show(one, proof))
    assert refused(node.show(two, proof)) is Reason.DPOP_REPLAYED


def test_a_proof_that_is_no_good_is_not_used_up(node: Node) -> None:
    guard, proof = node.process(), node.proof()
    assert refused(node.show(guard, proof, method="POST")) is Reason.DPOP_INVALID
    assert refused(node.show(guard, proof, key=b"k" * 32)) is Reason.TOKEN_BINDING
    assert good(node.show(guard, proof))


def test_after_a_new_start_old_proofs_are_not_taken_and_new_ones_bring_a_nonce(node: Node) -> None:
    before = node.process()
    used, unused = node.proof(), node.proof(jti="unused")
    assert good(node.show(before, used))
    nonce = before.nonce()
    node.clock.advance(1)
    node.start()
    node.clock.advance(1)
    after = node.process()
    answers = [node.show(after, proof) for proof in (used, unused, node.proof(jti="young"))]
    assert [refused(answer) for answer in answers] == [Reason.DPOP_NONCE_NEEDED] * 3
    assert refused(node.show(after, node.proof(jti="x", nonce=nonce))) is Reason.DPOP_NONCE_NEEDED, "of another start"
    fresh = node.proof(jti="y", nonce=nonce_of(answers[0]))
    assert good(node.show(after, fresh))
    assert refused(node.show(after, fresh)) is Reason.DPOP_REPLAYED
    node.clock.advance(10)
    assert good(node.show(after, node.proof(jti="z"))), "soon nobody has to bring one"


def test_a_nonce_where_one_is_required(node: Node) -> None:
    guard = node.process()
    answer = node.show(guard, node.proof(), nonce_required=True)
    assert refused(answer) is Reason.DPOP_NONCE_NEEDED
    assert good(node.show(guard, node.proof(nonce=nonce_of(answer)), nonce_required=True)).nonce == ""


def test_a_nonce_that_ends_soon_is_renewed(node: Node) -> None:
    guard = node.process()
    nonce = guard.nonce()
    node.clock.advance(LIFE / SECOND * 0.6)
    renewed = good(node.show(guard, node.proof(nonce=nonce))).nonce
    assert renewed
    assert renewed != nonce
    node.clock.advance(LIFE / SECOND * 0.5)
    answer = node.show(guard, node.proof(jti="two", nonce=nonce))
    assert refused(answer) is Reason.DPOP_NONCE_NEEDED
    assert good(node.show(guard, node.proof(jti="two", nonce=renewed)))


def test_a_nonce_that_ends_between_looking_and_using(node: Node) -> None:
    guard = node.process()
    made = node.proof(nonce=guard.nonce())
    shown = guard.verify(made, method="GET", url=URL, now=node.clock.wall(), access_token=TOKEN)
    node.clock.advance(LIFE / SECOND)
    answer = guard.use(good(shown), node.clock.wall())
    assert answer is not None
    assert answer.reason is Reason.DPOP_NONCE_NEEDED


@pytest.mark.parametrize("claim", [Claim.FULL, Claim.BUSY])
def test_where_nothing_can_be_remembered_nothing_is_accepted(
    node: Node, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = node.process()
    monkeypatch.setattr(ReplayTable, "claim", lambda *_, **__: claim)
    answer = node.show(guard, node.proof())
    assert refused(answer) is Reason.DPOP_UNAVAILABLE
    assert Reason.DPOP_UNAVAILABLE.status == 503


def test_a_token_endpoint_has_no_token_to_hash_and_a_region_of_its_own(node: Node) -> None:
    guard = node.process()
    url, now = "https://id.example.com/token", node.clock.wall()
    proof = node.proof(htm="POST", htu=url)
    shown = good(guard.verify(proof, method="POST", url=url, now=now))
    assert guard.use(shown, now, token_endpoint=True) is None
    answer = guard.use(shown, now, token_endpoint=True)
    assert answer is not None
    assert answer.reason is Reason.DPOP_REPLAYED


def test_what_is_offered_and_what_is_shown_of_the_key(node: Node) -> None:
    assert "ES256" in ALGS.split()
    assert not {"none", "HS256"} & set(ALGS.split())
    key = node.handover.derive("dpop nonce")
    assert len(key) == 32
    assert key != node.handover.derive("something else")
    assert key.hex() not in repr(Nonces(key)) + repr(node.handover)
