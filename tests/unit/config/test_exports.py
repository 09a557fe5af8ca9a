"""The section `exports`: where it may lead, secrets by reference, what does not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import plan
from tests.unit.config.files import SMALL, faults, read

GOOD = "{name: a, format: jsonl, to: 'file:a.jsonl'}"


def with_exports(*entries: str) -> str:
    return SMALL + "exports:\n" + "".join(f"  - {entry}\n" for entry in entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    return tmp_path


def test_what_is_said_is_read(folder: Path) -> None:
    (folder / "token").write_text("s3cret\n")
    text = with_exports(
        GOOD,
        '{name: b, format: ocsf, to: "https://siem.example.com:8443/in",'
        ' headers: {Authorization: "Bearer ${file:token}"},'
        " only: {decision: deny, status: [404, 5xx], source: 10.0.0.0/8}, batch: 10, timeout: 5s, start: now}",
        '{name: c, format: syslog, to: "tls://[::1]:6514", confirm: sent}',
    )
    config = read(text, folder)
    a, b, c = config.exports
    assert (a.to, a.to.scheme, a.to.path) == (f"file:{folder}/a.jsonl", "file", folder / "a.jsonl")
    assert (b.to.scheme, b.to.host, b.to.port) == ("https", "siem.example.com", 8443)
    assert (c.to.scheme, c.to.host, c.to.port) == ("tls", "::1", 6514)
    assert b.only.status == ("404", "5xx")
    assert b.only.source == ("10.0.0.0/8",)
    value = b.headers["Authorization"]
    assert value.resolve() == "Bearer s3cret"
    assert "s3cret" not in f"{value} {value!r} {config!r}"
    assert config.warnings == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: a, format: xml, to: 'file:a'}", "must be ocsf, cef, syslog or jsonl"),
        ("{name: a, format: ocsf, to: 'udp://127.0.0.1:514'}", "UDP"),
        ("{name: a, format: ocsf, to: 'http://siem.example.com/'}", "must be https"),
        ("{name: a, format: ocsf, to: 'tcp://siem.example.com:514'}", "in the clear"),
        ("{name: a, format: ocsf, to: 'tls://siem.example.com'}", "a host and a port"),
        ("{name: a, format: ocsf, to: 'ftp://siem.example.com'}", "no place to export to"),
        ("{name: a, format: ocsf, to: 'file:'}", "does not name a file"),
        ("{name: a, format: ocsf, to: 'https://u:p@siem.example.com/'}", "user name or password"),
        ("{name: a, format: cef, to: 'https://siem.example.com/'}", "does not go over HTTP"),
        ("{name: a, format: ocsf, to: 'file:a', headers: {X-A: b}}", "have no meaning"),
        ("{name: a, format: ocsf, to: 'file:a', confirm: sent}", "has no meaning"),
        ("{name: a, format: ocsf, to: 'file:a', tls: {}}", "has no meaning"),
        ("{name: a, format: ocsf, to: 'https://x.example/', headers: {Authorization: Bearer abc}}", "in the clear"),
        ("{name: a, format: ocsf, to: 'https://x.example/', headers: {X-Api-Key: abc}}", "in the clear"),
        ("{name: a, format: ocsf, to: 'https://x.example/', headers: {X-Y: '${vault:x}'}}", "vault"),
        ("{name: a, format: ocsf, to: 'https://x.example/', headers: {Host: x}}", "set by Interlock"),
        ('{name: a, format: ocsf, to: "https://x.example/", headers: {X-Y: "a\\r\\nb"}}', "not the value of a header"),
        ("{name: a, format: ocsf, to: 'tls://x.example:1', tls: {ca: gone.pem}}", "does not exist"),
        ("{name: a, format: jsonl, to: 'file:a', only: {status: 6xx}}", "not a status"),
        ("{name: a, format: jsonl, to: 'file:a', only: {source: ten}}", "not a network"),
        ("{name: a, format: jsonl, to: 'file:a', only: {service: upp}}", "not a service"),
        ("{name: a, format: jsonl, to: 'file:a', batch: 0}", "greater than or equal to 1"),
        ("{name: a, format: jsonl, to: 'file:a', colour: red}", "is not a key"),
        ("{name: ../a, format: jsonl, to: 'file:a'}", "not a name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(entry: str, said: str, folder: Path) -> None:
    text = with_exports(entry)
    found = faults(text, folder)
    assert len(found) == 1
    assert said in found[0].message
    assert found[0].line == text.count("\n")


def test_two_of_one_name_are_refused(folder: Path) -> None:
    (found,) = faults(with_exports(GOOD, GOOD), folder)
    assert "`a` is also exports[0]" in found.message


def test_what_is_probably_not_meant_is_a_warning(folder: Path) -> None:
    text = with_exports(
        "{name: a, format: jsonl, to: 'file:/no/such/folder/a'}",
        '{name: b, format: jsonl, to: "https://x.example/", headers: {X-Y: "${file:gone}"}}',
    )
    messages = [warning.message for warning in read(text, folder).warnings]
    assert any("/no/such/folder does not exist" in message for message in messages)
    assert any("gone does not exist" in message for message in messages)


def test_a_plan_names_each_export_and_needs_no_restart(folder: Path) -> None:
    before = read(SMALL, folder)
    after = read(with_exports(GOOD), folder)
    (change,) = plan(before, after)
    assert (change.kind, change.where, change.restart) == ("added", "exports.a", False)
    assert "file:" in change.summary
