"""The table of operations: every name once, records for readers only, revoking beside everything else."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.config import load
from interlock.control import operations
from interlock.control.operations import OPERATIONS, READS, Asker, Lane, Operation, record
from interlock.control.operations.clients import CLIENTS
from interlock.control.operations.keyring import KEYRING
from interlock.control.operations.keys import KEYS
from interlock.control.operations.node import NODE
from interlock.control.operations.operation import Nothing, operation, reading
from interlock.control.operations.record import RECORD
from interlock.control.operations.revoking import REVOKING
from interlock.control.operations.signals import SIGNALS
from interlock.control.operations.users import USERS
from interlock.control.service import Administration
from interlock.control.wire import Peer, os_actor, own_peer
from interlock.errors import InterlockError, NotAllowed, UsageError
from tests.unit.control.conftest import FILE

GROUPS = (CLIENTS, KEYRING, KEYS, NODE, RECORD, REVOKING, SIGNALS, USERS)
ALICE = Peer(4001, 400)
# What of the record is administered without being shown. A new operation of the record belongs here or in `READS`.
ADMINISTERED = {
    "audit.acknowledge",
    "audit.erase",
    "audit.erasure",
    "audit.hold.add",
    "audit.hold.list",
    "audit.hold.release",
    "audit.prune",
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Administration]:
    """Of a node whose record nobody who is here may read."""
    file = tmp_path / "interlock.yaml"
    file.write_text(FILE + "record: {readers: [os:4001], retention: hipaa}\n")
    with Administration.open(file, load(file), writer="cli", running=False) as administration:
        yield administration


def test_no_name_is_in_two_groups() -> None:
    assert len(OPERATIONS) == sum(len(group) for group in GROUPS)


def test_what_shows_records_is_decided_for_each_operation_of_the_record() -> None:
    assert {name for name in OPERATIONS if name.startswith("audit.")} == READS | ADMINISTERED
    assert READS.isdisjoint(ADMINISTERED)
    assert all(name in RECORD for name in READS)


def test_whatever_of_the_record_gives_rows_or_opens_a_record_is_in_the_list_of_those() -> None:
    """By what it is made of: every function that is given `row`, or calls what opens records, is shown to readers."""
    reads = {"ask", "ask_sql", "follow", "export", "open_record"}
    found = set()
    for function in ast.parse(inspect.getsource(record)).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        if names & reads or any("row" in one.arg for one in function.args.args):
            found.add(function.name)
    assert found == {OPERATIONS[name].show.__name__ for name in READS}  # type: ignore[union-attr]
    assert len(found) == len(READS)


def test_only_what_shows_records_is_given_where_rows_go() -> None:
    given: list[tuple[Any, ...]] = []
    plain = operation(Nothing, lambda *all_of_it: given.append(all_of_it) or {})
    shows = reading(Nothing, lambda *all_of_it: given.append(all_of_it) or {})
    asker = Asker(os_actor())
    for one in (plain, shows):
        one.perform(None, {}, asker, print)  # type: ignore[arg-type]
    assert [len(one) for one in given] == [3, 4]
    assert print not in given[0]
    assert (plain.shows_records, shows.shows_records) == (False, True)


@pytest.mark.parametrize("op", sorted(READS))
def test_who_may_not_read_is_refused_before_the_arguments_are_looked_at(op: str, desk: Administration) -> None:
    for arguments in ({}, {"no such": 1}):
        for peer in (None, own_peer()):
            with pytest.raises(NotAllowed):
                desk.perform(op, arguments, os_actor(), _never, peer)


def test_an_operation_that_somebody_adds_to_show_records_is_refused_as_well(
    desk: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Operation] = []
    added = reading(Nothing, lambda *_: shown.append(added) or {})
    monkeypatch.setitem(OPERATIONS, "audit.peek", added)  # type: ignore[arg-type]
    with pytest.raises(NotAllowed):
        desk.perform("audit.peek", {}, os_actor(), _never, own_peer())
    assert shown == []
    desk.perform("audit.peek", {}, ALICE.actor, _never, ALICE)
    assert shown == [added]


def test_nothing_that_is_no_reading_shows_what_is_in_a_record(desk: Administration) -> None:
    """Somebody who administers the node, and may not read, tries all the rest."""
    desk.acts(os_actor()).acknowledge((b"\0" * 16, 0), "CANARY")
    me, own = own_peer(), os_actor()
    held = desk.perform("audit.hold.add", {"subject": "patient:1", "reason": "a case"}, own, _never, me)
    tries = {"audit.hold.add": {"subject": "patient:2", "reason": "x"}, "audit.hold.release": {"id": held["id"]}}
    done = []
    for op in sorted(OPERATIONS.keys() - READS):
        try:
            result = desk.perform(op, tries.get(op, {}), own, _never, me)
        except InterlockError as problem:
            result = {"problem": str(problem)}
        else:
            done.append(op)
        assert "CANARY" not in str(result), op
    assert {"key.list", "audit.hold.list", "audit.prune", "status", "keyring.list"} <= set(done)
    rows: list[dict[str, Any]] = []
    desk.perform("audit.query", {"kind": "acts"}, ALICE.actor, rows.append, ALICE)
    assert "CANARY" in str(rows)  # it was there to be shown


def test_what_may_take_long_keeps_no_change_waiting_and_revoking_waits_for_nothing() -> None:
    lanes = {lane: {name for name, one in OPERATIONS.items() if one.lane is lane} for lane in Lane}
    assert lanes[Lane.FOLLOWING] == {"audit.follow"}
    assert lanes[Lane.QUESTIONS] == (READS - {"audit.follow"}) | {"key.list", "revoke.list", "risk.list"}
    kinds = ("token", "client", "user", "principal", "session", "key", "certificate", "issuer")
    assert lanes[Lane.REVOKING] == {"key.revoke"} | {f"revoke.{kind}" for kind in kinds}


def test_workers_hear_of_clients_after_each_operation_that_is_theirs() -> None:
    assert {name for name, one in OPERATIONS.items() if one.changes_clients} == set(CLIENTS)
    assert all(name.startswith("client.") for name in CLIENTS)


@pytest.mark.parametrize("op", ["", "no.such", "user.nobody", "revoke.family", "signals.nothing", "audit", "audit."])
def test_what_is_not_in_the_table_is_no_operation(op: str, desk: Administration) -> None:
    with pytest.raises(UsageError, match=f"there is no operation '{op}'"):
        desk.perform(op, {}, os_actor(), _never)


def test_arguments_are_those_of_the_operation_and_no_others(desk: Administration) -> None:
    for op, one in OPERATIONS.items():
        if op not in ("reload", "plan"):
            with pytest.raises(UsageError, match="unknown field"):
                one.read({"no such": 1})
    assert operations.OPERATIONS["reload"].read({"anything": 1}) == {"anything": 1}


def _never(_row: dict[str, Any]) -> None:
    raise AssertionError("something was shown")
