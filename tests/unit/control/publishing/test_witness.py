"""A log's half of C2SP tlog-witness: what is asked of a witness, and what of its answers is believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.control.publishing.witness import Candidate, Reply, WitnessClient, WitnessError
from interlock.tlog import parse_add_checkpoint, parse_checkpoint, parse_note
from interlock.witness import Known, Response, group_logs, judge, read_submission
from tests.unit.witness.logs import NOW, Log, cosigner

LOG = Log().grow(20)
FORK = Log().grow(5).grow(20, "fork ")
CLOCK = ManualClock(NOW * SECOND)


class Honest:
    """The real protocol behind `post`."""

    def __init__(self, known: Known | None = None, now: int = NOW) -> None:
        self.known = known or Known()
        self.asked: list[int] = []
        self.now = now

    def __call__(self, body: bytes) -> Reply:
        self.asked.append(parse_add_checkpoint(body).old)
        read = read_submission(body, group_logs([LOG.vkey]))
        if isinstance(read, Response):
            return Reply(read.status, read.body)
        answer = judge(read, self.known, cosigner(), self.now)
        self.known = answer.known or self.known
        return Reply(answer.response.status, answer.response.body)


def candidate(size: int, log: Log = LOG) -> Candidate:
    note = log.checkpoint(size)
    text = parse_note(note).text

    def prove(old: int) -> Sequence[bytes]:
        return log.proof(old, size)

    return Candidate(note, text, parse_checkpoint(text), NOW * SECOND, prove)


def known(size: int, log: Log = LOG) -> Known:
    return Known(size, candidate(size, log).checkpoint.root)


def client(post: Callable[[bytes], Reply]) -> WitnessClient:
    return WitnessClient(str(cosigner().key), post, CLOCK)


def test_it_learns_what_the_witness_knows_and_remembers() -> None:
    witness = Honest(known(8))
    one = client(witness)
    one.cosign(candidate(13))
    assert witness.asked == [0, 8]
    one.cosign(candidate(13))
    one.cosign(candidate(20))
    assert witness.asked == [0, 8, 13, 13]


def test_a_record_that_was_set_back_is_told_and_asked_again_later() -> None:
    witness = Honest(known(13))
    one = client(witness)
    with pytest.raises(WitnessError, match="13 records, the record has 8: it was set back"):
        one.cosign(candidate(8))
    with pytest.raises(WitnessError, match="set back"):
        one.cosign(candidate(8))
    one.cosign(candidate(20))
    assert witness.asked == [0, 8, 13]


def test_another_history_is_told() -> None:
    with pytest.raises(WitnessError, match="another history"):
        client(Honest(known(8))).cosign(candidate(13, FORK))
    with pytest.raises(WitnessError, match="another root"):
        client(Honest(known(8))).cosign(candidate(8, FORK))


def test_what_cannot_be_proven_is_not_sent() -> None:
    def broken(old: int) -> Sequence[bytes]:
        raise WitnessError("a tile is damaged")

    witness = Honest()
    with pytest.raises(WitnessError, match="tile"):
        client(witness).cosign(candidate(8)._replace(prove=broken))
    assert witness.asked == []


def line(seed: int = 9, name: str = "witness.example.com/w1", at: int = NOW, size: int = 8) -> bytes:
    return f"{cosigner(seed, name).cosign(candidate(size).text, at)}\n".encode()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(200, b""), "one or more lines"),
        (Reply(200, b"\xff\n"), "UTF-8"),
        (Reply(200, b"hello\n"), "em dash"),
        (Reply(200, line(seed=7)), "without a cosignature by its key"),
        (Reply(200, line(name="other")), "without a cosignature by its key"),
        (Reply(200, line(size=13)), "does not verify"),
        (Reply(200, line(at=NOW - 301)), "-301 s from now"),
        (Reply(200, line(at=NOW + 301)), r"\+301 s from now"),
        (Reply(200, line(at=0)), "from now"),
        (Reply(409, b"eight\n"), "malformed"),
        (Reply(409, b"0\n"), "contradicts itself"),
        (Reply(403, b"no \x1b[31m\n"), r"it answered 403: no \[31m$"),
        (Reply(404, b""), "it answered 404"),
        (Reply(500, b"x" * 1000), "it answered 500: x{200}$"),
        (Reply(301, b""), "301"),
    ],
)
def test_what_is_not_believed(reply: Reply, said: str) -> None:
    with pytest.raises(WitnessError, match=said):
        client(lambda _: reply).cosign(candidate(8))


@pytest.mark.parametrize("at", [NOW - 300, NOW, NOW + 300])
def test_what_is_believed(at: int) -> None:
    made = client(lambda _: Reply(200, line(seed=7, name="stranger") + line(at=at))).cosign(candidate(8))
    assert made.name == "witness.example.com/w1"


def test_one_that_says_another_size_each_time_is_given_up() -> None:
    sizes = iter(range(1, 20))
    with pytest.raises(WitnessError, match="another size each time"):
        client(lambda _: Reply(409, b"%d\n" % next(sizes))).cosign(candidate(20))
