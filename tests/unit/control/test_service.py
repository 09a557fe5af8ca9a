"""Administration without a node: the same acts, recorded and sealed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import verify
from interlock.config import load
from interlock.control.service import Administration
from interlock.control.wire import os_actor
from interlock.errors import NodeError, UsageError


@pytest.fixture
def desk(file: Path) -> Iterator[Administration]:
    with Administration.open(file, load(file), writer="cli", running=False) as administration:
        yield administration


def perform(desk: Administration, op: str, **arguments: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    return desk.perform(op, arguments, os_actor(), rows.append), rows


def test_acts_are_on_the_record_and_sealed(file: Path) -> None:
    config = load(file)
    with Administration.open(file, config, writer="cli", running=False) as desk:
        made, _ = perform(desk, "key.create", name="n", roles=["caller"])
        perform(desk, "key.revoke", id=made["id"])
    with Administration.open(file, config, writer="cli", running=False) as desk:
        done, rows = perform(desk, "audit.query", kind="acts")
        assert done["problems"] == []
        assert perform(desk, "key.list")[0]["keys"][0]["state"] == "revoked"
    assert [row["event"] for row in rows][:2] == ["key:create", "key:revoke"]
    assert rows[0]["actor"] == str(os_actor())
    report = verify(desk.paths.record)
    assert report.ok, report.problems
    assert report.sealed >= 3


def test_reading_is_itself_recorded(desk: Administration) -> None:
    perform(desk, "audit.query", kind="acts", principal="os:*")
    _, rows = perform(desk, "audit.query", kind="acts")
    assert rows[0]["event"] == "record:read"
    assert rows[0]["details"] == {"kind": "acts", "principal": "os:*"}


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("no.such", {}),
        ("key.create", {}),
        ("key.create", {"name": "n", "roles": "caller"}),
        ("key.create", {"name": "n", "roles": ["caller"], "principal": "user:interlock/root"}),
        ("key.revoke", {"id": 7}),
        ("key.list", {"everything": True}),
        ("audit.query", {"decision": "maybe"}),
        ("audit.acknowledge", {"record": "../../etc/passwd", "note": ""}),
    ],
)
def test_what_is_asked_wrongly(desk: Administration, op: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        perform(desk, op, **arguments)


@pytest.mark.parametrize("op", ["reload", "plan"])
def test_what_needs_a_node(desk: Administration, op: str) -> None:
    with pytest.raises(NodeError, match="does not run"):
        perform(desk, op)
