"""Checkpoints: the published example, every malformed text, and whose signature counts."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import LogError
from interlock.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    Ed25519Verifier,
    format_checkpoint,
    open_checkpoint,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
    sign_note,
)
from tests.unit.tlog.test_note import signer

# the example of the specification; which public key it is of, is not published
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
ROOT = bytes(range(32))
ROOT_TEXT = base64.b64encode(ROOT).decode()
HEAD = Checkpoint("log.example/1", 5, ROOT)


def test_the_example_of_the_specification() -> None:
    note = parse_note(EXAMPLE.encode())
    head = parse_checkpoint(note.text)
    assert (head.origin, head.size, head.extensions) == ("example.com/behind-the-sofa", 20852163, ())
    assert head.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert format_checkpoint(head) == note.text
    assert note.signatures[0].key_id.hex() == "033de0ae"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        "log\n5\n",
        f"log\n5\n{ROOT_TEXT}",
        f"\n5\n{ROOT_TEXT}\n",
        f"log\n\n{ROOT_TEXT}\n",
        f"log\n05\n{ROOT_TEXT}\n",
        f"log\n+5\n{ROOT_TEXT}\n",
        f"log\n-5\n{ROOT_TEXT}\n",
        f"log\n 5\n{ROOT_TEXT}\n",
        f"log\n5_0\n{ROOT_TEXT}\n",
        f"log\n0x5\n{ROOT_TEXT}\n",
        f"log\n\u0665\n{ROOT_TEXT}\n",
        f"log\n{2**63}\n{ROOT_TEXT}\n",
        f"log\n{10**30}\n{ROOT_TEXT}\n",
        f"log\n5\n{ROOT_TEXT[:-1]}\n",
        f"log\n5\n{ROOT_TEXT} \n",
        f"log\n5\n{ROOT.hex()}\n",
        f"log\n5\n{base64.b64encode(ROOT[:-1]).decode()}\n",
        f"log\n5\n{base64.b64encode(ROOT + b'x').decode()}\n",
        f"log\n5\n{ROOT_TEXT}\n\n",
        f"log\n5\n{ROOT_TEXT}\n\nextension\n",
        f"log\r\n5\n{ROOT_TEXT}\n",
        f"log\n0\n{ROOT_TEXT}\n",
    ],
)
def test_malformed_checkpoints(text: str) -> None:
    with pytest.raises(LogError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "head",
    [
        Checkpoint("", 5, ROOT),
        Checkpoint("a\nb", 5, ROOT),
        Checkpoint("log", -1, ROOT),
        Checkpoint("log", 0, ROOT),
        Checkpoint("log", 2**63, ROOT),
        Checkpoint("log", 5, ROOT[:-1]),
        Checkpoint("log", 5, ROOT, ("",)),
        Checkpoint("log", 5, ROOT, ("a\nb",)),
        Checkpoint("log\t", 5, ROOT),
    ],
)
def test_what_is_no_checkpoint_is_not_written(head: Checkpoint) -> None:
    with pytest.raises(LogError):
        format_checkpoint(head)


LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(LINES, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(LINES, max_size=3).map(tuple))
def test_checkpoints_read_back(origin: str, size: int, root: bytes, extensions: tuple[str, ...]) -> None:
    """What is written is read back as the same."""
    head = Checkpoint(origin, size, root, extensions)
    assert parse_checkpoint(format_checkpoint(head)) == head


def test_an_empty_log_has_a_checkpoint() -> None:
    head = Checkpoint("log", 0, EMPTY_ROOT)
    assert parse_checkpoint(format_checkpoint(head)) == head


def test_the_log_must_have_signed() -> None:
    log, other = signer("log.example/1", 1), signer("other", 2)
    data = sign_checkpoint(HEAD, [log, other])
    signed = open_checkpoint(data, [Ed25519Verifier(log.key)])
    assert signed.checkpoint == HEAD
    assert [one.name for one in signed.opened.unknown] == ["other"]
    with pytest.raises(LogError):
        open_checkpoint(data, [])
    with pytest.raises(LogError):
        open_checkpoint(sign_checkpoint(HEAD, [other]), [Ed25519Verifier(log.key)])


def test_the_log_may_change_its_key() -> None:
    old, new = signer("log.example/1", 1), signer("log.example/1", 2)
    data = sign_checkpoint(HEAD, [old, new])
    for key in (old.key, new.key):
        assert open_checkpoint(data, [Ed25519Verifier(key)]).checkpoint == HEAD


def test_a_key_of_another_log_does_not_do() -> None:
    other = signer("log.example/2", 2)
    data = sign_checkpoint(HEAD, [other])
    known = [Ed25519Verifier(other.key)]
    with pytest.raises(LogError, match="another log"):
        open_checkpoint(data, known)
    with pytest.raises(LogError, match="another log"):
        open_checkpoint(data, known, origin="log.example/2")
    assert open_checkpoint(data, known, origin="log.example/1").checkpoint == HEAD


def test_a_signed_note_need_not_be_a_checkpoint() -> None:
    log = signer("log.example/1")
    with pytest.raises(LogError):
        open_checkpoint(sign_note("hello\n", [log]), [Ed25519Verifier(log.key)])
