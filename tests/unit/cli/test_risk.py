"""`interlock risk` without a node: whose risk it is, how high, for how long, and that the record says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interlock.cli import run
from tests.unit.control.conftest import FILE

ALICE = "user:interlock/alice"
URL = "https://id.example.com"


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    path = tmp_path / "interlock.yaml"
    path.write_text(FILE + f"issuer: {{url: {URL}}}\n")
    return ["-c", str(path)]


def listed(config: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run([*config, "risk", "list", "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_risk_is_set_listed_and_taken_back(config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*config, "risk", "set", ALICE, "80", "--reason", "two continents at once"]) == 0
    assert capsys.readouterr().out == f"principal {ALICE} has a risk of 80\n"
    assert run([*config, "risk", "set", "--session", "sid-1", "90", "--for", "1h"]) == 0
    assert run([*config, "risk", "set", "--client", "shop-1", "10", "--json"]) == 0
    assert run([*config, "risk", "set", "--token", "jti-1", "5"]) == 0
    found = listed(config, capsys)
    assert [(one["what"].split(" of ")[0], one["risk"]) for one in found] == [
        ("session sid-1", 90),
        (f"principal {ALICE}", 80),
        ("client shop-1", 10),
        ("token jti-1", 5),
    ]
    assert [one["until"] is not None for one in found] == [True, False, False, False]
    assert all(one["act"] for one in found)
    assert run([*config, "risk", "set", ALICE, "0"]) == 0
    assert ALICE not in str(listed(config, capsys))
    assert run([*config, "risk", "list"]) == 0
    assert "sid-1" in capsys.readouterr().out


def test_why_is_on_the_record(config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*config, "risk", "set", ALICE, "80", "--reason", "two continents at once"]) == 0
    capsys.readouterr()
    assert run([*config, "audit", "query", "--acts", "--json"]) == 0
    assert "two continents at once" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["80"],
        [ALICE],
        [ALICE, "101"],
        [ALICE, "-1"],
        [ALICE, "high"],
        [ALICE, "8.5"],
        [ALICE, "bob", "80"],
        [ALICE, "80", "--session", "s"],
        ["80", "--session", "s", "--client", "c"],
        [ALICE, "80", "--for", "soon"],
        [ALICE, "80", "--reason", " "],
        [ALICE, "80", "--reason", f"{ALICE} was in two places"],
        ["alice", "80"],
        ["80", "--session", "s", "--issuer", "https://nobody.example.com"],
    ],
)
def test_what_is_said_wrongly_is_not_done(
    config: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*config, "risk", "set", *words]) == 2
    assert listed(config, capsys) == []
