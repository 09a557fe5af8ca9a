"""The commands that need no node: help, init, check, schema, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.cli import commands, run
from interlock.cli.desk import data_dir_of
from interlock.cli.output import printable
from interlock.cli.times import duration, moment
from interlock.cli.write_file import render
from interlock.clock import SECOND
from interlock.errors import UsageError

COMMANDS = [
    ["init"],
    ["up"],
    ["status"],
    ["reload"],
    ["check"],
    ["plan"],
    ["schema"],
    ["tour"],
    ["key", "create"],
    ["key", "list"],
    ["key", "rotate"],
    ["key", "revoke"],
    *(["revoke", kind] for kind in ("token", "client", "user", "principal", "session", "key", "certificate", "issuer")),
    ["revoke", "list"],
    ["risk", "set"],
    ["risk", "list"],
    ["user", "create"],
    ["user", "list"],
    ["user", "disable"],
    ["user", "remove"],
    ["user", "enable"],
    ["user", "unlock"],
    ["user", "reset-password"],
    ["user", "remove-factor"],
    ["user", "role"],
    ["role", "list"],
    ["role", "advise"],
    ["audit", "verify"],
    ["audit", "query"],
    ["audit", "acknowledge"],
    ["audit", "checkpoint"],
    ["audit", "prove"],
    ["audit", "verify-proof"],
    ["witness"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {words[0]} " in shown for words in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["key", "nosuch"],
        ["up", "--nosuch"],
        ["key", "create"],
        ["init", "x"],
        ["audit", "query", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_exit_status_2(words: list[str]) -> None:
    assert run(words) == 2


def test_init_writes_a_file_that_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", str(tmp_path / "shop"), "--upstream", "http://127.0.0.1:9000"]
    assert run(words) == 0
    file = tmp_path / "shop" / "interlock.yaml"
    assert run(["-c", str(file), "check", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["warnings"] == []
    assert file.read_text().count("#") > 5
    assert [path.name for path in file.parent.iterdir()] == ["interlock.yaml"]
    assert run(words) == 2
    assert "--force" in capsys.readouterr().err
    assert run([*words, "--force", "--address", "127.0.0.1:7000", "--tls", "auto"]) == 0
    assert run(["-c", str(file), "check"]) == 0


@pytest.mark.parametrize(
    ("upstream", "address", "tls", "said"),
    [
        ("http://127.0.0.1:9000", "0.0.0.0:8080", "off", "--tls auto"),
        ("http://127.0.0.1:9000", "10.0.0.5:8080", "off", "--tls auto"),
        ("http://127.0.0.1:9000", "8080", "off", "HOST:PORT"),
        ("http://127.0.0.1:9000", "127.0.0.1:0", "off", "HOST:PORT"),
        ("http://127.0.0.1:9000", "127.0.0.1:8080", "on", "auto or off"),
        ("ftp://127.0.0.1", "127.0.0.1:8080", "off", "http"),
        ("127.0.0.1:9000", "127.0.0.1:8080", "off", "http"),
        ("http://", "127.0.0.1:8080", "off", "http"),
        ("http://user:secret@host", "127.0.0.1:8080", "off", "only a scheme"),
        ("http://host/path", "127.0.0.1:8080", "off", "only a scheme"),
        ("http://host:99999", "127.0.0.1:8080", "off", "Port"),
    ],
)
def test_what_init_does_not_write(upstream: str, address: str, tls: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        render(Path("x"), upstream, address, tls)


@pytest.mark.parametrize("address", ["0.0.0.0:8443", "[::]:8443", "[::1]:8443", "localhost:8443"])
def test_with_tls_any_address_will_do(address: str) -> None:
    assert "tls: auto" in render(Path("x"), "http://127.0.0.1:9000", address, "auto")


def test_check_tells_file_line_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text(render(tmp_path, "http://127.0.0.1:9000", "127.0.0.1:8080", "off").replace("allow:", "alow:"))
    assert run(["-c", str(file), "check"]) == 1
    out = capsys.readouterr().out
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "alow:" in text)
    assert f"{file}:{line}:" in out
    assert "did you mean `allow`" in out
    assert run(["-c", str(file), "check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["file"] == str(file)
    assert run(["-c", str(tmp_path / "none.yaml"), "check"]) == 1


def test_commands_without_a_node_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text(render(tmp_path, "http://127.0.0.1:9000", "127.0.0.1:8080", "off"))
    assert run(["-c", str(file), "status"]) == 1
    assert run(["-c", str(file), "status", "--json"]) == 1
    assert run(["-c", str(file), "reload"]) == 1
    assert run(["-c", str(file), "plan"]) == 1
    assert run(["-c", str(tmp_path / "none.yaml"), "key", "list"]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "interlock.yaml"


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("version: 1\n", "interlock-data"),
        ("version: 1\ndata_dir: ./d\n", "d"),
        ("version: 1\ndata_dir: d   # here\n", "d"),
        ("version: 1\ndata_dir: 'd e'\n", "d e"),
        ('version: 1\ndata_dir: "d"\n', "d"),
        ("version: 1\nx:\n  data_dir: other\n", "interlock-data"),
        ("version: 1\nroutes: [broken\n", "interlock-data"),
    ],
)
def test_the_data_directory_is_found_without_a_faultless_file(tmp_path: Path, text: str, folder: str) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text(text)
    assert data_dir_of(file) == tmp_path / folder


@pytest.mark.parametrize(
    "text",
    ["{version: 1, data_dir: d}\n", "version: 1\ndata_dir: a\ndata_dir: b\n", "version: 1\ndata_dir: &x d\n", "x\n"],
)
def test_where_it_cannot_be_told_the_whole_file_is_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text(text)
    assert data_dir_of(file) is None


def test_times_and_durations() -> None:
    now = 1_800_000_000 * SECOND
    assert moment("1h", now, "--since") == now - 3600 * SECOND
    assert moment("2026-01-31", now, "--since") == 1_769_817_600 * SECOND
    assert moment("2026-01-31T12:00:00Z", now, "--since") == 1_769_860_800 * SECOND
    assert moment("2026-01-31T12:00:00.5+00:00", now, "--since") == 1_769_860_800 * SECOND + SECOND // 2
    assert duration("90d", "--expires") == 90 * 86_400 * SECOND
    for text in ("yesterday", "", "-1h", "90"):
        with pytest.raises(UsageError):
            duration(text, "--expires")
    with pytest.raises(UsageError):
        moment("yesterday", now, "--since")


def test_what_comes_from_outside_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc\x00") == "a\\x1b[2Jb\\rc\\x00"
    assert printable("two\nlines") == "two\nlines"


HEAVY = {
    *("cel", "cryptography", "fastapi", "httpx", "joserfc", "pydantic", "rich", "ruamel", "sqlalchemy", "uvicorn"),
    *("interlock.audit", "interlock.config", "interlock.store"),
}


@pytest.mark.parametrize(
    "words", [["--help"], ["key", "create", "--help"], ["audit", "--help"], ["status"]], ids=" ".join
)
def test_what_is_asked_for_often_loads_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text("version: 1\n")
    code = (
        f"import sys; from interlock.cli import run; run(['-c', {str(file)!r}, *{words!r}]); "
        f"sys.exit(', '.join({HEAVY!r} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_each_command_is_where_it_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ")] == list(commands.COMMANDS)
    for name in commands.COMMANDS:
        assert run([name, "--help"]) == 0
        assert f"Usage: interlock {name} " in capsys.readouterr().out


def test_a_misspelt_command_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["statu"]) == 2
    assert "Did you mean 'status'?" in capsys.readouterr().err
