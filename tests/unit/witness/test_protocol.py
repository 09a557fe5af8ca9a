"""Every rule of C2SP tlog-witness, "add-checkpoint", by its status; no file, no socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.tlog import (
    AddCheckpoint,
    CosignatureVerifier,
    Note,
    WitnessPolicy,
    format_add_checkpoint,
    format_note,
    parse_cosignatures,
    parse_note,
    parse_size,
    verify_cosignatures,
)
from interlock.witness import Answer, Known, Response, group_logs, judge, read_submission
from interlock.witness.protocol import Submission
from tests.unit.witness.logs import NOW, Log, cosigner

LOG = Log().grow(20)
OTHER = Log(seed=2).grow(20)  # another key under the same name
FORK = Log().grow(5).grow(20, "fork ")
LOGS = group_logs([LOG.vkey, Log("example.com/second", 3).vkey])


def known(size: int, log: Log = LOG) -> Known:
    answer = ask(log.request(0, size), Known())
    assert answer.known is not None
    return answer.known


def ask(body: bytes, state: Known) -> Answer:
    read = read_submission(body, LOGS)
    return Answer(read) if isinstance(read, Response) else judge(read, state, cosigner(), NOW)


def damaged(body: bytes) -> bytes:
    """The last signature no longer verifies; it is well-formed still."""
    note = parse_note(body.partition(b"\n\n")[2])
    last = note.signatures[-1]
    bad = last._replace(value=bytes([last.value[0] ^ 1]) + last.value[1:])
    return body.partition(b"\n\n")[0] + b"\n\n" + format_note(Note(note.text, (*note.signatures[:-1], bad)))


def request(old: int, proof: tuple[bytes, ...], checkpoint: bytes) -> bytes:
    return format_add_checkpoint(AddCheckpoint(old, proof, checkpoint))


TABLE: list[tuple[str, Callable[[], bytes], int, int]] = [
    ("the first", lambda: LOG.request(0, 8), 0, 200),
    ("the first, of nothing", lambda: LOG.request(0, 0), 0, 200),
    ("the next", lambda: LOG.request(8, 13), 8, 200),
    ("the next after nothing", lambda: LOG.request(0, 13), 0, 200),
    ("the same again", lambda: LOG.request(8, 8), 8, 200),
    ("the same of nothing", lambda: LOG.request(0, 0), 0, 200),
    ("no request", lambda: b"hello", 0, 400),
    ("no checkpoint", lambda: b"old 0\n\nhello", 0, 400),
    ("unsigned", lambda: b"old 0\n\nexample.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", 0, 400),
    ("bytes after it", lambda: LOG.request(0, 8) + b"x", 0, 400),
    ("old larger than new", lambda: request(9, (), LOG.checkpoint(8)), 8, 400),
    ("an unknown log", lambda: Log("example.com/other").grow(3).request(0), 0, 404),
    ("not trusted", lambda: OTHER.request(0, 8), 0, 403),
    ("a signature that fails", lambda: damaged(LOG.request(0, 8)), 0, 403),
    ("the key of another known log", lambda: _renamed(), 0, 403),
    ("too old", lambda: LOG.request(0, 13), 8, 409),
    ("too new", lambda: LOG.request(9, 13), 8, 409),
    ("a smaller tree", lambda: LOG.request(5, 5), 8, 409),
    ("the same size, another root", lambda: request(8, (), FORK.checkpoint(8)), 8, 409),
    ("a proof of another history", lambda: FORK.request(8, 13), 8, 422),
    ("no proof", lambda: request(8, (), LOG.checkpoint(13)), 8, 422),
    ("a proof too long", lambda: request(8, (*LOG.proof(8, 13), bytes(32)), LOG.checkpoint(13)), 8, 422),
    ("a proof too short", lambda: request(8, LOG.proof(8, 13)[:-1], LOG.checkpoint(13)), 8, 422),
    ("a proof from nothing", lambda: request(0, (bytes(32),), LOG.checkpoint(13)), 0, 422),
    ("a proof of the same", lambda: request(8, (bytes(32),), LOG.checkpoint(8)), 8, 422),
]


def _renamed() -> bytes:
    """Signed by a log that is known, in the name of another that is."""
    second = Log("example.com/second", 3)
    text = parse_note(LOG.checkpoint(8)).text
    signature = parse_note(second.checkpoint(0)).signatures[0]
    value = second.signer.sign(text.encode())
    return request(0, (), format_note(Note(text, (signature._replace(value=value),))))


@pytest.mark.parametrize(("what", "body", "at", "status"), TABLE, ids=[row[0] for row in TABLE])
def test_each_rule_has_its_status(what: str, body: Callable[[], bytes], at: int, status: int) -> None:
    answer = ask(body(), known(at) if at else Known())
    assert answer.response.status == status, answer.response.body
    if status == 200:
        assert answer.known is not None
        checkpoint = body().partition(b"\n\n")[2]
        note = parse_note(checkpoint)
        cosigned = Note(note.text, (*note.signatures, *parse_cosignatures(answer.response.body)))
        (found,) = verify_cosignatures(cosigned, WitnessPolicy(1, [cosigner().key]))
        assert (found.witness, found.timestamp) == ("witness.example.com/w1", NOW)
        assert answer.known.note == checkpoint
    else:
        assert answer.known is None, "nothing else changes what is known"
    if status == 409:
        assert answer.response.content_type == "text/x.tlog.size"
        assert parse_size(answer.response.body) == at


def test_two_trees_of_one_size_are_kept_as_a_proof_against_the_log() -> None:
    body = request(8, (), FORK.checkpoint(8))
    answer = ask(body, known(8))
    assert answer.conflict == FORK.checkpoint(8)
    assert ask(LOG.request(0, 13), known(8)).conflict is None
    assert ask(FORK.request(8, 13), known(8)).conflict is None, "anybody can send a bad proof"


def test_signatures_of_strangers_change_nothing() -> None:
    stranger = cosigner(7, "somebody")
    note = parse_note(LOG.checkpoint(8))
    many = format_note(Note(note.text, (*note.signatures, stranger.cosign(note.text, NOW))))
    assert ask(request(0, (), many), Known()).response.status == 200


def test_a_log_may_have_several_keys() -> None:
    logs = group_logs([LOG.vkey, OTHER.vkey, LOG.vkey])
    assert len(logs["example.com/log"]) == 2
    for log in (LOG, OTHER):
        assert isinstance(read_submission(log.request(0, 8), logs), Submission)


def test_its_key_verifies_what_it_says() -> None:
    answer = ask(LOG.request(0, 8), Known())
    (line,) = parse_cosignatures(answer.response.body)
    CosignatureVerifier(cosigner().key).verify(parse_note(LOG.checkpoint(8)).text.encode(), line.value)


@given(
    st.lists(
        st.tuples(st.sampled_from([LOG, FORK]), st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=30
    )
)
def test_whatever_is_asked_in_whatever_order_one_history_is_cosigned(
    asked: list[tuple[Log, int, int, bool]],
) -> None:
    """All trees that were cosigned are of one history."""
    state, cosigned = Known(), []
    for log, old, size, guess in asked:
        old = state.size if guess else old
        proof = log.proof(old, size) if old <= size else ()
        answer = ask(request(old, proof, log.checkpoint(size)), state)
        if answer.known is not None:
            assert answer.known.size >= state.size
            state = answer.known
            cosigned.append((log, size))
    after_fork = {log.signer is LOG.signer for log, size in cosigned if size > 5}
    assert len(after_fork) <= 1


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_have_an_answer(noise: bytes, at: int) -> None:
    body = LOG.request(8, 13)
    for data in (noise, body[:at] + noise + body[at:], body[:at] + body[at + 1 :], body[:at]):
        answer = ask(data, known(8))
        assert answer.response.status in (200, 400, 403, 404, 409, 422)
        if answer.response.status == 200:
            assert data.partition(b"\n\n")[2].startswith(body.partition(b"\n\n")[2][:20])
