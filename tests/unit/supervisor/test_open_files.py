"""A node takes all open files that it is allowed, for its children too, and says when they are too few."""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.control.log import Log
from interlock.supervisor.open_files import OWN, allow_open_files
from interlock.supervisor.process import describe_exit, fork
from tests.unit.config.files import SMALL, read

subject = importlib.import_module("interlock.supervisor.run")  # whose name in the package is the function's
POOL = 128  # of the one service


def in_child(limits: tuple[int, int], body: Callable[[], bool]) -> None:
    """Run it where that many files may be open, and expect that it is so."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        sys.exit(0 if body() else 9)

    assert describe_exit(os.waitpid(fork("limited", limited), 0)[1]) == "exit 0"


def told(limits: tuple[int, int], per_worker: int, folder: Path) -> list[dict[str, Any]]:
    """What the operator of a node with those limits is told."""
    config = read(SMALL.replace("version: 1", f"version: 1\nconnections: {{per_worker: {per_worker}}}"), folder)
    file = folder / "log"
    with file.open("wb") as out:

        def body() -> bool:
            allow_open_files(config, Log("node", out.fileno(), as_json=True))
            return resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])

        in_child(limits, body)
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_connections_that_fit_into_what_is_allowed_are_not_kept_to_less(tmp_path: Path) -> None:
    assert told((256, 1000 + POOL + OWN), 1000, tmp_path) == []


def test_more_connections_than_there_can_be_are_told_at_the_start(tmp_path: Path) -> None:
    (line,) = told((256, 1000 + POOL + OWN), 1001, tmp_path)
    assert line["level"] == "warning"
    assert "LimitNOFILE" in line["event"]
    assert "connections.per_worker" in line["event"]
    assert (line["per_worker"], line["limit"]) == (1001, 1000 + POOL + OWN)
    assert line["needed"] == line["limit"] + 1


def test_a_limit_that_cannot_be_raised_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with (tmp_path / "log").open("wb") as out:
        allow_open_files(read(SMALL, tmp_path), Log("node", out.fileno(), as_json=True))
    assert json.loads((tmp_path / "log").read_bytes())["limit"] == 256


def test_a_node_has_them_before_its_first_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "interlock.yaml"
    file.write_text(SMALL)
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    found: list[tuple[int, int]] = []

    def started(*_: Any) -> int:
        found.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        return 0

    monkeypatch.setattr(subject, "withdraw_secrets", lambda _: None)  # which may begin the process anew
    monkeypatch.setattr(subject, "_run", started)
    in_child((256, 512), lambda: subject.run(file) == 0 and found == [(512, 512)])
