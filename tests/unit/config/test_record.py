"""The section `record`: witnesses and places, what does not go together, and where the fault is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.clock import SECOND
from interlock.config import plan
from interlock.control.check import check_file
from interlock.tlog import COSIGNATURE_V1, ED25519, verifier_key
from tests.unit.config.files import SMALL, faults, read


def vkey(name: str, seed: int = 1, kind: int = COSIGNATURE_V1) -> str:
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return str(verifier_key(name, kind, private.public_key().public_bytes_raw()))


A, B = vkey("a.example.com/w"), vkey("b.example.com/w", 2)
AT_A = f'{{key: "{A}", url: "http://127.0.0.1:7380"}}'
AT_B = f'{{key: "{B}", url: "https://b.example.com/prefix/"}}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    return tmp_path


def with_record(text: str) -> str:
    return f"{SMALL}record:\n  {text}\n"


def test_without_the_section_nothing_is_asked(folder: Path) -> None:
    record = read(SMALL, folder).record
    assert not record.asked
    assert (record.every, record.max_age) == (5 * SECOND, 300 * SECOND)


def test_what_is_said_is_read(folder: Path) -> None:
    (folder / "token").write_text("s3cret\n")
    text = with_record(
        f"witnesses: {{require: 2, of: [{AT_A}, {AT_B}], timeout: 3s}}\n"
        '  publish: ["file:kept/", {to: "https://keep.example.com/n", token: "${file:token}", method: POST, every: 5m},'
        ' "git:clone", "http://127.0.0.1:1/x"]\n'
        "  every: 10s\n  max_age: 1h"
    )
    record = read(text, folder).record
    assert record.asked
    assert record.witnesses is not None
    assert [one.name for one in record.witnesses.of] == ["a.example.com/w", "b.example.com/w"]
    assert record.witnesses.require == 2
    kept, web, git, local = record.publish
    assert (kept.to.scheme, kept.folder) == ("file", folder / "kept")
    assert (git.to.scheme, git.folder) == ("git", folder / "clone")
    assert (web.method, web.every, local.method) == ("POST", 300 * SECOND, "PUT")
    assert web.token is not None
    assert web.token.resolve() == b"s3cret\n"
    assert "s3cret" not in repr(record)
    assert plan(read(SMALL, folder), read(text, folder))[0].where == "record"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (f"witnesses: {{require: 3, of: [{AT_A}, {AT_B}]}}", "3 of 2 witnesses"),
        (f"witnesses: {{require: 0, of: [{AT_A}]}}", "1"),
        ("witnesses: {of: []}", "is empty"),
        (f"witnesses: {{of: [{AT_A}, {AT_A}]}}", "one key cannot be two"),
        (f'witnesses: {{of: [{AT_A}, {{key: "{vkey("a.example.com/w", 3)}", url: "https://x"}}]}}', "alike"),
        ('witnesses: {of: [{key: "nonsense", url: "https://x"}]}', "not the key of a witness"),
        (f'witnesses: {{of: [{{key: "{vkey("l", 1, ED25519)}", url: "https://x"}}]}}', "not one for cosignatures"),
        (f'witnesses: {{of: [{{key: "{A}", url: "http://b.example.com"}}]}}', "must be https"),
        (f'witnesses: {{of: [{{key: "{A}"}}]}}', "url"),
        ('publish: ["ftp://x"]', "no place"),
        ('publish: ["file:"]', "does not name a folder"),
        ('publish: ["http://keep.example.com/"]', "must be https"),
        ('publish: ["file:a", "file:./a/"]', "one place twice"),
        ('publish: [{to: "file:a", token: "${env:X}"}]', "`token` has no meaning for file:"),
        ('publish: [{to: "https://x/", token: "s3cret"}]', "reference"),
        ('publish: [{to: "https://x/", method: DELETE}]', "PUT"),
        ("max_age: 1m", "from 2m"),
        ("every: 0s", "from 1s"),
        ("colour: red", "colour"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(folder: Path, entry: str, said: str) -> None:
    found = faults(with_record(entry), folder)
    text = " ".join(str(one) for one in found)
    assert said in text
    assert "s3cret" not in text
    assert all(one.line is not None and one.line >= SMALL.count("\n") + 1 for one in found)


def test_check_holds_the_key_against_its_id_and_looks_for_folders(folder: Path) -> None:
    name, _, material = A.split("+", 2)
    file = folder / "interlock.yaml"
    file.write_text(with_record(f'witnesses: {{of: [{{key: "{name}+00000000+{material}", url: "https://x"}}]}}'))
    problems, _ = check_file(file)
    assert any("key ID" in str(one) and one.line for one in problems)
    file.write_text(with_record('publish: ["file:nowhere", {to: "https://x/", token: "${file:none}"}]'))
    problems, warnings = check_file(file)
    assert not problems
    assert sum("does not exist" in str(one) for one in warnings) >= 2
    file.write_text(with_record(f'witnesses: {{of: [{{key: "{A}", url: "https://x", ca: none.pem}}]}}'))
    problems, _ = check_file(file)
    assert any("holds no certificates" in str(one) for one in problems)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("{readers: alice}", "not a user or a group"),
        ("{readers: 'os:'}", "not a user or a group"),
        ("{readers: 'os:@'}", "not a user or a group"),
        ("{readers: 'user:login.example.com/alice'}", "not a user or a group"),
        ("{readers: 'os:a b'}", "not a user or a group"),
        ("{readers: [os:1, 7]}", "not a user or a group"),
        ("{reader_socket: /run/interlock/reader.sock}", "no `readers` who could use it"),
        ("{readers: os:a, reader_socket: interlock-data/run/reader.sock}", "lies in the data directory"),
    ],
)
def test_readers_that_cannot_be(said: str, wrong: str, folder: Path) -> None:
    (found,) = faults(SMALL + f"record: {said}\n", folder)
    assert wrong in found.message


def test_readers_are_users_and_groups_or_nobody(folder: Path) -> None:
    text = SMALL + 'record: {readers: [os:alice, "os:@auditors", os:1001], reader_socket: /run/interlock/reader.sock}\n'
    config = read(text, folder)
    assert config.record.readers == ("os:alice", "os:@auditors", "os:1001")
    assert not config.record.asked
    assert config.warnings == []
    nobody = read(SMALL + "record: {readers: []}\n", folder)
    assert (nobody.record.readers, nobody.warnings) == ((), [])
    (warning,) = read(SMALL + "record: {readers: os:alice}\n", folder).warnings
    assert "there is no `reader_socket`" in warning.message
