"""Asks the control process of a running node. Used by the command line."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interlock.control.wire import SOCKET, Request, decode_reply, encode, raise_error
from interlock.errors import NodeError
from interlock.snapshot.address import socket_name

TIMEOUT = 120.0
CROWDED = 20.0  # seconds until a place in the queue of a socket is found


class Unreachable(NodeError):
    """Nobody answers at `run/control.sock`: no node runs, or its control process is down."""


class Unanswered(NodeError):
    """The control process took the request and gave no answer: whether it was done is not known."""


class Client:
    """One node's control process."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / SOCKET

    @classmethod
    def at(cls, path: Path) -> Client:
        """By another of its sockets."""
        client = cls(path.parent)
        client._path = path
        return client

    def call(
        self,
        op: str,
        arguments: dict[str, Any],
        on_row: Callable[[dict[str, Any]], None] | None = None,
        timeout: float = TIMEOUT,
    ) -> dict[str, Any]:
        """Ask, and give the result; rows go to `on_row` as they come.

        Raises `Unreachable` if nobody took the request, `Unanswered` if the answer did not come, and
        whatever the node raised.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            try:
                with socket_name(self._path) as name:
                    _connect(sock, name)
            except OSError as problem:
                raise Unreachable(f"the control process does not answer ({problem.strerror or problem})") from None
            try:
                sock.sendall(encode(Request(op, arguments)) + b"\n")
                with sock.makefile("rb") as answers:
                    for line in answers:
                        reply = decode_reply(line)
                        if reply.error:
                            raise_error(reply)
                        if reply.result is not None:
                            return reply.result
                        if reply.row is not None and on_row is not None:
                            on_row(reply.row)
            except TimeoutError:
                raise Unanswered(f"{op}: the control process gave no answer within {timeout:.0f} seconds") from None
            except OSError as problem:
                raise Unanswered(f"{op}: the connection broke ({problem}); look at `interlock status`") from None
        raise Unanswered(f"{op}: the control process ended before it answered; look at `interlock status`")


def _connect(sock: socket.socket, name: str) -> None:
    """Where many come at once, a moment later. Raises `OSError`."""
    until = time.monotonic() + CROWDED
    while True:
        try:
            return sock.connect(name)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.005)
