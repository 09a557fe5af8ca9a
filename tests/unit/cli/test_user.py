"""`interlock user` without a node: what is printed, and that a password comes by standard input only."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from interlock.cli import run
from interlock.cli.user import _password
from interlock.errors import UsageError
from tests.unit.control.conftest import FILE

PASSWORD = "wet paper lanterns at noon"


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    path = tmp_path / "interlock.yaml"
    path.write_text(FILE + "issuer: {url: https://id.example.com}\n")
    return ["-c", str(path)]


def test_a_persons_life(config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*config, "user", "create", "alice", "--role", "caller", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["link"].startswith("https://id.example.com/oauth/signin/begin?code=")
    assert run([*config, "user", "list"]) == 0
    assert capsys.readouterr().out.startswith("alice\tcaller\tinvited\t")
    for words, said in [
        (["role", "alice"], "alice has other roles"),
        (["disable", "alice"], "alice is disabled"),
        (["enable", "alice"], "alice can sign in"),
        (["unlock", "alice"], "alice can try again"),
    ]:
        assert run([*config, "user", *words]) == 0
        assert capsys.readouterr().out == f"{said}\n"
    assert run([*config, "user", "reset-password", "alice", "--expires", "2h"]) == 0
    shown = capsys.readouterr()
    assert "code=" in shown.out
    assert "not shown again" in shown.err
    assert made["link"] not in shown.out
    assert run([*config, "user", "remove-factor", "alice"]) == 1
    assert "no factor" in capsys.readouterr().err
    assert run([*config, "user", "disable", "bob"]) == 1
    assert run([*config, "user", "remove", "alice"]) == 0
    assert capsys.readouterr().out == "alice is removed\n"
    assert run([*config, "user", "list"]) == 0
    assert capsys.readouterr().out == ""
    assert run([*config, "user", "remove", "alice"]) == 1


def test_a_password_is_read_from_standard_input(
    config: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\nmore\n"))
    assert run([*config, "user", "create", "alice", "--password-stdin", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["must_change"] is True
    assert PASSWORD not in shown.out + shown.err
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert run([*config, "user", "create", "bob", "--password-stdin"]) == 2
    assert "short" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run([*config, "user", "create", "bob", "--password-stdin"]) == 2


@pytest.mark.parametrize(("typed", "read"), [("a b \n", "a b "), ("a\r\n", "a"), ("a", "a")])
def test_one_line_is_the_password(typed: str, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert _password() == read


def test_nothing_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(UsageError):
        _password()


def test_no_option_takes_a_password(config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*config, "user", "create", "alice", "--password", PASSWORD]) == 2
    assert run([*config, "user", "create", "alice", PASSWORD]) == 2
    assert "alice" not in capsys.readouterr().out
