"""`interlock client` without a node: made, listed, rotated, disabled; the secret goes to standard output once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlock.cli import run
from interlock.cli.write_file import render
from interlock.jose.signing import Signer, make_key
from tests.files import contents
from tests.unit.control.test_anchors import Own


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "interlock.yaml"
    path.write_text(render(tmp_path, "http://127.0.0.1:9000", "127.0.0.1:8080", "off", issuer=True))
    return path


def made(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert run(["-c", str(file), "client", *words, "--json"]) == 0
    out = capsys.readouterr().out
    found: dict[str, object] = json.loads(out)
    return found


def test_the_life_of_a_client(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["create", "billing", "--grant", "client_credentials", "--role", "caller", "--scope", "read"]
    client = made(file, capsys, *words, "--resource", "http://127.0.0.1:8080", "--bound", "certificate")
    client_id, secret = str(client["client_id"]), str(client["client_secret"])
    assert client["bound"] == ["certificate"]
    assert run(["-c", str(file), "client", "list"]) == 0
    shown = capsys.readouterr().out
    assert client_id in shown
    assert secret not in shown
    again = made(file, capsys, "rotate", client_id, "--overlap", "1h")
    assert again["client_secret"] != secret
    assert made(file, capsys, "disable", client_id)["state"] == "disabled"
    assert run(["-c", str(file), "client", "rotate", client_id]) == 2
    assert run(["-c", str(file), "client", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["state"] == "disabled"
    kept = b"".join(contents(tmp_path).values())
    for text in (secret, str(again["client_secret"])):
        assert text.encode() not in kept


def test_for_people_the_secret_comes_with_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-c", str(file), "client", "create", "billing"]) == 0
    captured = capsys.readouterr()
    assert "not shown again" in captured.err
    assert "ils_" in captured.out
    assert "ils_" not in captured.err


def test_keys_and_certificates_come_from_files(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [Signer(make_key("ES256"), "ES256").jwk]}))
    client = made(file, capsys, "create", "signer", "--auth", "private_key_jwt", "--jwks", str(keys))
    assert "client_secret" not in client
    certificate, _ = Own("billing").files(tmp_path)
    words = ["create", "own", "--auth", "self_signed_tls_client_auth", "--certificate", str(certificate)]
    assert made(file, capsys, *words)["method"] == "self_signed_tls_client_auth"


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["create", "x", "--role", "nosuch"],
        ["create", "x", "--auth", "password"],
        ["create", "x", "--auth", "private_key_jwt"],
        ["create", "x", "--auth", "private_key_jwt", "--jwks", "/nosuch"],
        ["create", "x", "--auth", "private_key_jwt", "--jwks", __file__],
        ["create", "x", "--auth", "self_signed_tls_client_auth", "--certificate", __file__],
        ["create", "x", "--auth", "tls_client_auth", "--san-uri", "spiffe://a/b"],
        ["create", "x", "--bound", "tls"],
        ["create", "x", "--grant", "password"],
        ["create", "x", "--grant", "authorization_code", "--redirect-uri", "http://evil.example"],
        ["create", "control"],
        ["rotate", "nobody", "--overlap", "soon"],
        ["disable"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_exit_status_2(file: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-c", str(file), "client", *words]) == 2
    assert "Traceback" not in capsys.readouterr().err
    if (file.parent / "interlock-data" / "state.db").exists():
        assert run(["-c", str(file), "client", "list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []


def test_who_is_not_there_is_exit_status_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["rotate", "nobody"], ["disable", "nobody"]):
        assert run(["-c", str(file), "client", *words]) in (1, 2)
        assert "nobody" in capsys.readouterr().err


def test_without_an_issuer_there_is_no_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text(render(tmp_path, "http://127.0.0.1:9000", "127.0.0.1:8080", "off"))
    assert run(["-c", str(file), "client", "create", "billing"]) == 2
    assert "issuer" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["create"], ["list"], ["rotate"], ["disable"]], ids=" ".join)
def test_each_has_help_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["client", *words, "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def test_init_with_an_issuer_writes_a_file_that_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, more in enumerate(
        (
            ["--issuer"],
            ["--issuer", "--tls", "auto"],
            ["--issuer-url", "https://id.example.com"],
            ["--issuer-url", "https://id.example.com/tenant", "--address", "0.0.0.0:8443", "--tls", "auto"],
        )
    ):
        folder = tmp_path / str(number)
        assert run(["init", str(folder), "--upstream", "http://127.0.0.1:9000", *more]) == 0
        said = capsys.readouterr().out
        assert "client create" in said
        assert run(["-c", str(folder / "interlock.yaml"), "check", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["warnings"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--issuer", "--address", "0.0.0.0:8443", "--tls", "auto"], "--issuer-url"),
        (["--issuer-url", "http://id.example.com"], "https"),
        (["--issuer-url", "https://id.example.com/"], "slash"),
        (["--issuer-url", "javascript:alert(1)"], ""),
    ],
)
def test_an_issuer_that_cannot_be_reached_as_it_says_is_not_written(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", str(tmp_path / "x"), "--upstream", "http://127.0.0.1:9000", *words]) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x" / "interlock.yaml").exists()
