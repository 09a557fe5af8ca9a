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
from typing import Any

import msgspec

from interlock import errors
from interlock.model import Principal

LINE = 1024 * 1024  # bytes of a request at most
SOCKET = "control.sock"
INBOX = "control-inbox.sock"  # datagrams from workers: `refresh ISSUER`


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


def peer_actor(sock: socket.socket) -> Principal:
    """Who is at the other end. Raises `PermissionError` unless it is our own user or root."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid not in (0, os.geteuid()):
        raise PermissionError(f"user {uid} may not administer this node")
    return os_actor(uid)


def os_actor(uid: int | None = None) -> Principal:
    """The user of the operating system as a principal: `os:HOST/NAME`."""
    number = os.getuid() if uid is None else uid
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    host = socket.gethostname().replace("/", "-") or "interlock"
    return Principal("os", host, name)
