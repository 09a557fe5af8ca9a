"""What passes over `run/control.sock`: one JSON object per line, both ways.

    > {"op": "key.revoke", "arguments": {"id": "k3"}}
    < {"row": {...}}                                    any number of them, for what is read piece by piece
    < {"result": {...}}                                 or {"error": "NotFound", "message": "..."}

One request per connection. Who asks is what the kernel says of the peer, never what the request says.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from interlock import errors
from interlock.model import Principal

LINE = 1024 * 1024  # bytes of a request at most
SOCKET = "control.sock"
SO_PEERGROUPS = 59  # Linux; not in the module `socket`
GROUPS = 256  # that are asked for; `getsockopt` of Python gives 1,024 bytes at most
INBOX = "control-inbox.sock"  # datagrams from workers: `refresh ISSUER`
Row = Callable[[dict[str, Any]], None]  # is given what comes piece by piece


class Request(msgspec.Struct, forbid_unknown_fields=True):
    op: str
    arguments: dict[str, Any] = {}


class Reply(msgspec.Struct, omit_defaults=True):
    row: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: str = ""
    message: str = ""
    problems: list[dict[str, Any]] = []


encode = msgspec.json.Encoder(enc_hook=str).encode
decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode


def error_reply(problem: errors.InterlockError) -> Reply:
    """The error as it travels; a faulty file keeps each fault with its place."""
    found = problem.problems if isinstance(problem, errors.ConfigError) else []
    return Reply(error=type(problem).__name__, message=str(problem), problems=[problem_entry(one) for one in found])


def problem_entry(problem: errors.ConfigProblem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "where": problem.where,
        "message": problem.message,
        "hint": problem.hint,
    }


def raise_error(reply: Reply) -> None:
    """Raise here what was raised there."""
    if reply.error == "ConfigError":
        raise errors.ConfigError([errors.ConfigProblem(**entry) for entry in reply.problems])
    kind = getattr(errors, reply.error, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.InterlockError)):
        kind = errors.NodeError
    raise kind(reply.message)


class Peer(NamedTuple):
    """A user of the operating system, as the kernel knows them."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # further ones

    @property
    def actor(self) -> Principal:
        return os_actor(self.uid)

    @property
    def administers(self) -> bool:
        """Whether it is our own user or root."""
        return self.uid in (0, os.geteuid())


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end, as of when they connected."""
    _, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS * 4)
    except OSError:  # more than there is room for: what is written of them then
        return Peer(uid, gid, _groups(uid, gid))
    return Peer(uid, gid, struct.unpack(f"{len(data) // 4}I", data))


def _groups(uid: int, gid: int) -> tuple[int, ...]:
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except (KeyError, OSError):
        return ()


def own_peer() -> Peer:
    """Who runs this process."""
    return Peer(os.getuid(), os.getgid(), tuple(os.getgroups()))


def os_actor(uid: int | None = None) -> Principal:
    """The user of the operating system as a principal: `os:HOST/NAME`."""
    number = os.getuid() if uid is None else uid
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    host = socket.gethostname().replace("/", "-") or "interlock"
    return Principal("os", host, name)
