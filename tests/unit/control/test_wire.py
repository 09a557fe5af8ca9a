"""Errors and people, as they travel over the control socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from interlock import errors
from interlock.control import wire
from interlock.snapshot.address import LONGEST, socket_name


@pytest.mark.parametrize("kind", [errors.NotFound, errors.UsageError, errors.StateError, errors.RecordUnavailable])
def test_an_error_arrives_as_what_it_was(kind: type[errors.InterlockError]) -> None:
    reply = wire.decode_reply(wire.encode(wire.error_reply(kind("there is no key 'x'"))))
    with pytest.raises(kind, match="there is no key 'x'"):
        wire.raise_error(reply)


def test_faults_of_a_file_keep_their_places() -> None:
    problem = errors.ConfigProblem("a.yaml", 7, "routes[0]", "wrong", "do it so")
    reply = wire.decode_reply(wire.encode(wire.error_reply(errors.ConfigError([problem]))))
    with pytest.raises(errors.ConfigError) as caught:
        wire.raise_error(reply)
    assert str(caught.value) == "a.yaml:7: routes[0]: wrong (do it so)"


@pytest.mark.parametrize("name", ["SystemExit", "ConfigProblem", "__builtins__", "annotations", "KeyboardInterrupt"])
def test_an_answer_cannot_make_us_raise_anything_else(name: str) -> None:
    with pytest.raises(errors.NodeError):
        wire.raise_error(wire.Reply(error=name, message="x"))


@pytest.mark.parametrize("line", [b"", b"{}", b'{"op": 1}', b'{"op": "x", "actor": "root"}', b"[]", b"\xff"])
def test_a_request_that_is_none(line: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        wire.decode_request(line)


def test_who_is_at_the_other_end_is_the_kernels_word() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = wire.peer_of(ours)
    assert (peer.uid, peer.gid) == (os.getuid(), os.getgid())
    assert set(peer.groups) == set(os.getgroups())
    assert peer.actor == wire.os_actor(os.getuid())
    assert str(peer.actor).startswith("os:")


def test_more_groups_than_there_is_room_for_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may lose, or win, what their groups give them by being in many."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(wire, "GROUPS", 1_000_000)
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 7, 8])
    with ours, theirs:
        assert wire.peer_of(ours).groups == (os.getgid(), 7, 8)


def test_another_user_administers_nothing_and_root_always() -> None:
    assert wire.Peer(os.geteuid(), 0).administers
    assert wire.Peer(0, 1).administers
    assert not wire.Peer(os.geteuid() + 1, 0, (0,)).administers


def test_a_socket_deep_down_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name"] * 8)
    deep.mkdir(parents=True)
    path = deep / "control.sock"
    assert len(str(path)) > LONGEST
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with socket_name(path) as name:
            server.bind(name)
        server.listen()
        with socket_name(path) as name:
            client.connect(name)
    assert path.exists()
