"""What opens keys leaves the environment before the first fork; the real thing is in the integration tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from interlock.config import Config, parse, withdrawn
from interlock.control.log import to_stderr
from interlock.control.paths import Paths
from interlock.errors import NodeError
from interlock.supervisor import bodies as subject
from interlock.supervisor.bodies import Bodies
from interlock.supervisor.environment import environment_of, withdraw_secrets
from tests.unit.config.files import SMALL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="anonymous files are Linux's")
KEYS = 'keys: {kek: {transit: {url: "https://v", key: k, token: "${env:TEST_TOKEN}"}}, former_kek: "${env:TEST_KEK}"}\n'


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse(SMALL.replace("version: 1\n", f"version: 1\n{KEYS}").encode(), tmp_path / "interlock.yaml")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], dict[str, str]]]:
    begun: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    monkeypatch.setattr(os, "execve", lambda *words: begun.append(words))
    return begun


def test_every_variable_that_keys_refers_to(config: Config) -> None:
    assert environment_of(config) == ["TEST_TOKEN", "TEST_KEK"]


def test_every_variable_that_exports_and_the_issuer_refer_to(tmp_path: Path) -> None:
    more = """
exports:
  - name: siem
    format: jsonl
    to: http://127.0.0.1:9/in
    headers: {Authorization: "Bearer ${env:TEST_SIEM}", X-Other: "${env:TEST_TOKEN}"}
issuer:
  url: http://127.0.0.1:8080
  outside:
    corp: {issuer: https://login.example.com, client_id: us, client_secret: "${env:TEST_CORP}", title: Corp}
"""
    config = parse((SMALL.replace("version: 1\n", f"version: 1\n{KEYS}") + more).encode(), tmp_path / "interlock.yaml")
    assert set(environment_of(config)) == {"TEST_TOKEN", "TEST_KEK", "TEST_SIEM", "TEST_CORP"}


def test_it_begins_anew_without_them(
    config: Config, begun: list[tuple[str, list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", "s.3cr3t")
    withdraw_secrets(config)
    ((program, words, environment),) = begun
    assert (program, words) == (sys.executable, [sys.executable, *sys.orig_argv[1:]])
    assert "s.3cr3t" not in str(environment)
    monkeypatch.setenv(withdrawn.VARIABLE, environment[withdrawn.VARIABLE])
    assert withdrawn.look_up("TEST_TOKEN") == b"s.3cr3t"
    withdrawn.forget()


def test_once(config: Config, begun: list[tuple[str, list[str], dict[str, str]]]) -> None:
    withdraw_secrets(config)
    assert begun == []


def test_what_cannot_begin_anew_says_so_and_does_not_go_on(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("TEST_KEK", "s.3cr3t")
    monkeypatch.setattr(os, "execve", refused)
    with pytest.raises(NodeError, match="TEST_KEK cannot be taken out") as caught:
        withdraw_secrets(config)
    assert "s.3cr3t" not in str(caught.value)


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_hashes_that_could_be_foreseen_are_not_gone_on_with(
    seed: str, config: Config, begun: list[tuple[str, list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    withdraw_secrets(config)
    ((_, words, environment),) = begun
    assert words == [sys.executable, *sys.orig_argv[1:]]
    assert "PYTHONHASHSEED" not in environment
    assert withdrawn.VARIABLE not in environment


@pytest.mark.parametrize("seed", ["random", ""])
def test_hashes_that_cannot_be_foreseen_are(
    seed: str, config: Config, begun: list[tuple[str, list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    withdraw_secrets(config)
    assert begun == []


def test_a_child_does_not_walk_through_the_file(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it looks at it has a copy of, be it ten thousand routes."""
    nothing: Any = None
    bodies = Bodies(tmp_path / "interlock.yaml", config, Paths(tmp_path), nothing, nothing, to_stderr("node"))
    monkeypatch.setenv("TEST_TOKEN", "s.3cr3t")
    monkeypatch.setattr(subject, "environment_of", lambda _config: pytest.fail("walked through"))
    monkeypatch.setattr(subject, "bridge_logging", lambda _log: None)
    bodies._settle("worker-0")
    assert "TEST_TOKEN" not in os.environ
