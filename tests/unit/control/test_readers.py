"""Who may read the record, when a refusal becomes a record, and that what reads goes through that everywhere."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from interlock.cli import desk as cli_desk
from interlock.config import load
from interlock.control.operations import READS
from interlock.control.readers import MOST, PERIOD, Counted, Readers, Refusals
from interlock.control.service import Administration
from interlock.control.socket import ReaderSocket
from interlock.control.wire import Peer, os_actor, own_peer
from interlock.errors import NodeError, NotAllowed
from tests.unit.control.conftest import FILE

ALICE = Peer(4001, 400, (402, 403))


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    def user(name: str) -> pwd.struct_passwd:
        if name not in ("alice", "bob"):
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", {"alice": 4001, "bob": 4002}[name], 400, "", "/", "/bin/sh"))

    def group(name: str) -> grp.struct_group:
        if name != "auditors":
            raise KeyError(name)
        return grp.struct_group((name, "x", 403, []))

    monkeypatch.setattr(pwd, "getpwnam", user)
    monkeypatch.setattr(grp, "getgrnam", group)


@pytest.mark.parametrize(
    ("named", "allowed"),
    [
        (["os:alice"], True),
        (["os:4001"], True),
        (["os:@auditors"], True),
        (["os:@403"], True),
        (["os:@400"], True),  # their first group
        (["os:bob", "os:alice"], True),
        (["os:bob"], False),
        (["os:@4001"], False),  # a user's number is no group's
        (["os:403"], False),
        (["os:@alice"], False),
        (["os:nobody-any-more", "os:@nobody-any-more"], False),
        ([], False),
    ],
)
def test_who_is_named_may_read(named: list[str], allowed: bool) -> None:
    assert Readers(named).allow(ALICE) is allowed


def test_without_a_list_it_is_who_may_administer_and_with_one_never_nobody_in_particular() -> None:
    assert Readers(None).allow(None)
    assert not Readers(["os:alice"]).allow(None)
    assert not Readers(["os:alice"]).allow(Peer(0, 0, (0,)))


def test_what_reads_is_one_list_everywhere() -> None:
    """Commands have a list of their own: the table takes long to load."""
    assert cli_desk.READS == READS
    assert cli_desk.BESIDE_THE_NODE | {"audit.open"} >= READS


def test_the_first_refusal_is_recorded_at_once_and_the_others_counted() -> None:
    refusals = Refusals()
    assert refusals.note(ALICE, "audit.query", 0) == Counted(ALICE, "audit.query", 1)
    for number in range(1000):
        assert refusals.note(ALICE, "audit.sql", number) is None
    assert refusals.due(PERIOD - 1) == []
    assert refusals.due(PERIOD) == [Counted(ALICE, "audit.sql", 1000)]
    assert refusals.due(2 * PERIOD) == []  # who was quiet is forgotten
    assert refusals.note(ALICE, "audit.query", 2 * PERIOD) == Counted(ALICE, "audit.query", 1)


def test_one_who_has_many_users_fills_no_record() -> None:
    """With a user namespace somebody is 65,536 of them."""
    refusals = Refusals()
    told = [refusals.note(Peer(uid, 1), "audit.query", 5) for uid in range(65_536)]
    assert len([one for one in told if one]) == MOST
    due = refusals.due(PERIOD + 5)
    assert due == [Counted(None, "audit.query", 65_536 - MOST)]


def administration(tmp_path: Path, readers: str) -> Administration:
    file = tmp_path / "interlock.yaml"
    file.write_text(FILE + f"record: {{readers: {readers}}}\n")
    return Administration.open(file, load(file), writer="cli", running=False)


def acts(desk: Administration, peer: Peer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    desk.perform("audit.query", {"kind": "acts"}, peer.actor, rows.append, peer)
    return rows


@pytest.mark.parametrize("op", sorted(READS))
def test_whatever_reads_is_refused_and_recorded_and_administration_goes_on(op: str, tmp_path: Path) -> None:
    me = own_peer()
    with administration(tmp_path, "[os:4001]") as desk:
        for peer in (me, None):
            with pytest.raises(NotAllowed, match="may not read the record"):
                desk.perform(op, {}, os_actor(), lambda _: None, peer)
        made = desk.perform("key.create", {"name": "n", "roles": ["caller"]}, os_actor(), lambda _: None, me)
        listed = desk.perform("key.list", {}, os_actor(), lambda _: None, me)
        assert (listed["last_used_complete"], listed["keys"][0]["id"]) == (False, made["id"])
        desk.perform("audit.hold.add", {"subject": "patient:1", "reason": "x"}, os_actor(), lambda _: None, me)
        rows = acts(desk, ALICE)
    refused = [row["details"] for row in rows if row["event"] == "record:read-refused"]
    assert refused == [{"op": op}] * 2
    assert [row["actor"] for row in rows if row["event"] == "record:read"] == [str(ALICE.actor)]


def test_who_is_named_reads_offline(tmp_path: Path) -> None:
    with administration(tmp_path, f"[os:{os.getuid()}]") as desk:
        acts(desk, own_peer())
        assert acts(desk, own_peer())[0]["event"] == "record:read"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_folder_that_others_can_write_gets_no_socket(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "sockets"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(NodeError, match="can be written by others"):
        asyncio.run(ReaderSocket(folder / "s", print, None, lambda _: True).start())  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []


def test_connections_of_strangers_are_counted_apart() -> None:
    socket = ReaderSocket(Path("s"), print, None, lambda peer: peer.uid == 4001)  # type: ignore[arg-type]
    strangers = [socket.enter(Peer(uid, 1)) for uid in range(5000, 5100)]
    taken = [place for place in strangers if place is not None]
    assert len(taken) == 8
    places = [socket.enter(ALICE) for _ in range(20)]
    assert places[:16] == [4001] * 16
    assert places[16:] == [None] * 4
    for place in taken:
        socket.leave(place)
    assert socket.enter(Peer(5000, 1)) is not None
