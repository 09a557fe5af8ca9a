"""Signed notes and verifier keys: published examples, every malformed one, and no change of a text passes."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import LogError
from interlock.tlog import (
    COSIGNATURE_V1,
    ED25519,
    Ed25519Signer,
    Ed25519Verifier,
    Note,
    Signature,
    VerifierKey,
    format_note,
    open_note,
    parse_note,
    parse_signature,
    parse_vkey,
    sign_note,
    verifier_key,
)

# the test key of Go's golang.org/x/mod/sumdb/note, where the format comes from
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)

# the example of the section on verifier keys
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def verifier(vkey: str) -> Ed25519Verifier:
    return Ed25519Verifier(parse_vkey(vkey))


def signer(name: str, seed: int = 1) -> Ed25519Signer:
    return Ed25519Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def test_the_example_of_the_specification() -> None:
    opened = open_note(EXAMPLE.encode(), [verifier(EXAMPLE_KEY)])
    assert opened.text == "This is an example message.\n"
    assert [one.name for one in opened.verified] == ["example.com/foo"]


def test_signing_gives_the_published_bytes() -> None:
    peter = Ed25519Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(PETER_SEED))
    assert str(peter.key) == PETER
    assert sign_note(TEXT, [peter]).decode() == f"{TEXT}\n{PETER_LINE}"
    assert "PeterNeumann" in repr(peter)


def test_unknown_keys_are_kept_but_say_nothing() -> None:
    data = f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}".encode()
    peter, enoch = parse_note(data).signatures
    one = open_note(data, [verifier(PETER)])
    assert (one.verified, one.unknown) == ((peter,), (enoch,))
    both = open_note(data, [verifier(PETER), verifier(ENOCH)])
    assert (both.verified, both.unknown) == ((peter, enoch), ())
    assert format_note(one.note) == data
    with pytest.raises(LogError):
        open_note(data, [])
    with pytest.raises(LogError):
        open_note(data, [verifier(EXAMPLE_KEY)])


def test_a_key_is_known_by_name_and_id_together() -> None:
    mine, namesake, other = signer("a", 1), signer("a", 2), signer("b", 1)
    data = sign_note(TEXT, [namesake, other])
    with pytest.raises(LogError, match="no known key"):
        open_note(data, [Ed25519Verifier(mine.key)])
    borrowed = Note(TEXT, (Signature("b", mine.key.key_id, bytes(64)),))
    with pytest.raises(LogError, match="no known key"):
        open_note(format_note(borrowed), [Ed25519Verifier(mine.key)])


def test_a_known_key_that_fails_refuses_the_whole_note() -> None:
    mine, other = signer("a", 1), signer("b", 2)
    wrong = Signature("a", mine.key.key_id, bytes(64))
    data = sign_note(TEXT, [other, mine], [wrong])
    with pytest.raises(LogError, match="does not verify"):
        open_note(data, [Ed25519Verifier(mine.key), Ed25519Verifier(other.key)])
    assert open_note(data, [Ed25519Verifier(other.key)]).text == TEXT


def test_two_keys_of_one_name_and_id_are_ambiguous() -> None:
    key = parse_vkey(PETER)
    twin = VerifierKey(key.name, key.key_id, ED25519, parse_vkey(ENOCH).public_key)
    data = f"{TEXT}\n{PETER_LINE}".encode()
    assert open_note(data, [Ed25519Verifier(key), Ed25519Verifier(key)]).text == TEXT
    with pytest.raises(LogError, match="two keys"):
        open_note(data, [Ed25519Verifier(key), Ed25519Verifier(twin)])


@pytest.mark.parametrize(
    "data",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        TEXT + PETER_LINE,
        f"{TEXT}\n{PETER_LINE[:-1]}",
        f"{TEXT}\n{PETER_LINE}\n",
        f"{TEXT}\n{PETER_LINE}x",
        f"{TEXT}\n{PETER_LINE}Unexpected line.\n",
        f"{TEXT}\nUnexpected line.\n{PETER_LINE}",
        f"\x01{TEXT}\n{PETER_LINE}",
        f"{TEXT}\n{PETER_LINE}".replace("\n", "\r\n"),
        f"{TEXT}\t\n\n{PETER_LINE}",
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "Peter Neumann "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "Peter\u00a0Neumann "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "Peter\u2003Neumann "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "Peter\u0085Neumann "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "Peter+Neumann "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", " "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "PeterNeumann  "),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann ", "PeterNeumann"),
        f"{TEXT}\n{PETER_LINE}".replace("— ", "—"),
        f"{TEXT}\n{PETER_LINE}".replace("— ", "- "),
        f"{TEXT}\n{PETER_LINE}".replace("— ", "\u2013 "),
        f"{TEXT}\n{PETER_LINE}".replace("=\n", "\n"),
        f"{TEXT}\n{PETER_LINE}".replace("M=\n", "N=\n"),
        f"{TEXT}\n{PETER_LINE}".replace("=\n", "= \n"),
        f"{TEXT}\n{PETER_LINE}".replace("/", "_"),
        f"{TEXT}\n— a AAAAAA==\n",
        f"{TEXT}\n— a \n",
        f"{TEXT}\n{PETER_LINE * 101}",
        f"{'a' * 1_000_000}\n\n{PETER_LINE}",
    ],
)
def test_malformed_notes(data: str) -> None:
    with pytest.raises(LogError):
        parse_note(data.encode())


@pytest.mark.parametrize("byte", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_note_is_utf8(byte: bytes) -> None:
    with pytest.raises(LogError):
        parse_note(byte + f"{TEXT}\n{PETER_LINE}".encode())


def test_the_text_goes_up_to_the_last_empty_line() -> None:
    for text in ("\n", "a\n\nb\n", "a\n\n", "\n\n\n", f"{TEXT}\n{PETER_LINE}", f"\n{PETER_LINE}\n"):
        mine = signer("a")
        data = sign_note(text, [mine])
        assert open_note(data, [Ed25519Verifier(mine.key)]).text == text


def test_as_many_signatures_as_the_standard_asks_for() -> None:
    signers = [signer(f"key{number}", number) for number in range(1, 17)]
    assert len(open_note(sign_note(TEXT, signers), [Ed25519Verifier(one.key) for one in signers]).verified) == 16
    assert len(parse_note(f"{TEXT}\n{PETER_LINE * 100}".encode()).signatures) == 100


@pytest.mark.parametrize("text", ["", "a", "a\nb", "a\r\n", "a\0\n", "\ud800\n", "a" * 1_000_000 + "\n"])
def test_what_is_no_text_is_not_signed(text: str) -> None:
    with pytest.raises(LogError):
        sign_note(text, [signer("a")])


def test_a_note_needs_a_signature() -> None:
    with pytest.raises(LogError):
        sign_note(TEXT, [])
    with pytest.raises(LogError):
        sign_note(TEXT, [signer("a")], [Signature("b c", bytes(4), bytes(64))])
    with pytest.raises(LogError):
        sign_note(TEXT, [signer("a")], [Signature("b", bytes(3), bytes(1))])


def test_no_changed_byte_passes() -> None:
    data = EXAMPLE.encode()
    known = [verifier(EXAMPLE_KEY)]
    for at in range(len(data)):
        for change in (1, 2, 0x20, 0x80):
            with pytest.raises(LogError):
                open_note(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :], known)
        with pytest.raises(LogError):
            open_note(data[:at] + data[at + 1 :], known)
        with pytest.raises(LogError):
            open_note(data[:at], known)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n")).map(lambda text: text + "\n")
SIGNATURES = st.builds(Signature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@given(st.builds(Note, TEXTS, st.lists(SIGNATURES, min_size=1, max_size=5).map(tuple)))
def test_notes_read_back(note: Note) -> None:
    """What is written is read back as the same, and in one way only."""
    data = format_note(note)
    assert parse_note(data) == note
    assert format_note(parse_note(data)) == data


@given(st.binary(max_size=300) | TEXTS.map(lambda text: f"{text}\n{PETER_LINE}".encode()))
def test_what_is_read_is_written_the_same(data: bytes) -> None:
    """Bytes are refused with LogError, or are the one spelling of what was read."""
    try:
        note = parse_note(data)
    except LogError:
        return
    assert format_note(note) == data


@given(TEXTS)
def test_no_other_text_passes(text: str) -> None:
    """A signature holds for its own text only."""
    mine = signer("a")
    made = parse_note(sign_note(TEXT, [mine])).signatures
    data = format_note(Note(text, made))
    if text == TEXT:
        assert open_note(data, [Ed25519Verifier(mine.key)]).text == TEXT
        return
    with pytest.raises(LogError):
        open_note(data, [Ed25519Verifier(mine.key)])


@pytest.mark.parametrize("vkey", [PETER, ENOCH, EXAMPLE_KEY])
def test_vkeys_read_back(vkey: str) -> None:
    assert str(parse_vkey(vkey)) == vkey


def test_no_part_and_no_change_of_a_vkey_is_one() -> None:
    for start in range(len(PETER)):
        for end in range(start, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(LogError):
                    parse_vkey(PETER[start:end])
    for at in range(len(PETER)):
        with pytest.raises(LogError):
            parse_vkey(PETER[:at] + chr(ord(PETER[at]) + 1) + PETER[at + 1 :])


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # another length, its own ID
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # another type, its own ID
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("c74f20a3", "0c74f20a3"),
        PETER + "\n",
        "a+b+",
        "a+00000000+",
    ],
)
def test_malformed_vkeys(vkey: str) -> None:
    with pytest.raises(LogError):
        parse_vkey(vkey)


def test_a_key_of_one_type_is_not_used_for_another() -> None:
    public = parse_vkey(PETER).public_key
    cosigner = verifier_key("PeterNeumann", COSIGNATURE_V1, public)
    assert cosigner.key_id != parse_vkey(PETER).key_id
    with pytest.raises(LogError):
        Ed25519Verifier(cosigner)


@pytest.mark.parametrize(("name", "kind", "size"), [("", 1, 32), ("a b", 1, 32), ("a", 2, 32), ("a", 1, 31)])
def test_what_is_no_key_is_refused(name: str, kind: int, size: int) -> None:
    with pytest.raises(LogError):
        verifier_key(name, kind, bytes(size))


@pytest.mark.parametrize("name", ["\ud800", "a\n", "a\x7f\x00"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(LogError):
        verifier_key(name, ED25519, bytes(32))


def test_one_signature_line() -> None:
    line = PETER_LINE[:-1]
    assert str(parse_signature(line)) == line
    with pytest.raises(LogError):
        parse_signature(PETER_LINE)
