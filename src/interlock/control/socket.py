"""Serves the node's two sockets for people: `run/control.sock`, for the node's own user and root, and the reader
socket, which everybody may connect to and which answers only who may read the record.

Who asks is what the kernel says of the peer. Where everybody may connect, nobody MUST be able to keep others out:
connections are bounded, those of users who may not read apart from the others.
"""

from __future__ import annotations

import asyncio
import os
import socket
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from interlock.control.log import Log
from interlock.control.wire import LINE, Peer, Reply, Row, decode_request, encode, error_reply, peer_of
from interlock.errors import InterlockError, NodeError
from interlock.snapshot.address import socket_name

Handler = Callable[[str, dict[str, Any], Peer, Row], Any]  # gives an awaitable of the result
PATIENCE = 10.0  # seconds for the request to arrive
BRIEF = 2.0  # the same, of who may be anybody
BRIEF_LINE = 64 * 1024
ROWS = 64 * 1024  # bytes of rows that are sent together
STRANGERS = 8  # connections of users who may not read, at a time
OF_ONE = 16  # of one user who may


class ControlSocket:
    """Listens until closed. `handle(op, arguments, peer, row)` is awaited for each request."""

    mode = 0o600
    patience = PATIENCE
    line = LINE

    def __init__(self, path: Path, handle: Handler, log: Log) -> None:
        self._path = path
        self._handle = handle
        self._log = log
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                with socket_name(self._path) as name:
                    sock.bind(name)
            finally:
                os.umask(before)
            if self.mode != 0o600:
                os.chmod(self._path, self.mode)
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=self.line)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    def enter(self, peer: Peer) -> int | None:
        """Take a connection of theirs, and give what `leave` wants; None: not taken. `PermissionError`: and told so."""
        if not peer.administers:
            raise PermissionError(f"user {peer.uid} may not administer this node")
        return 0

    def leave(self, place: int) -> None:
        """A connection that was taken has ended."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place: int | None = None
        try:
            peer = peer_of(writer.get_extra_info("socket"))
            try:
                place = self.enter(peer)
                if place is None:
                    return
                reply = await self._answer(reader, writer, peer)
            except PermissionError as problem:
                self._log.warning("administration refused", problem=str(problem))
                reply = Reply(error="NodeError", message=str(problem))
            writer.write(encode(reply) + b"\n")
            await writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()
            if place is not None:
                self.leave(place)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> Reply:
        try:
            line = await asyncio.wait_for(reader.readline(), self.patience)
            request = decode_request(line)
        except (ValueError, msgspec.MsgspecError):
            return Reply(error="UsageError", message="the request cannot be read")
        loop = asyncio.get_running_loop()
        rows = bytearray()

        def row(entry: dict[str, Any]) -> None:
            """From one other thread. Waits while the reader at the other end is slow. An empty one sends the others."""
            rows.extend(encode(Reply(row=entry)) + b"\n")
            if len(rows) > ROWS or not entry:
                data = bytes(rows)
                rows.clear()
                asyncio.run_coroutine_threadsafe(_send(writer, data), loop).result()

        try:
            result = await self._handle(request.op, request.arguments, peer, row)
            await _send(writer, bytes(rows))
            return Reply(result=result)
        except InterlockError as problem:
            return error_reply(problem)
        except ConnectionError:
            raise
        except Exception:
            traceback.print_exc()
            self._log.error("administration failed", op=request.op)
            return Reply(error="NodeError", message=f"{request.op} failed inside; the node's log has the details")


class ReaderSocket(ControlSocket):
    """The socket for whom `may_read` lets; `handle` MUST refuse the others, who may ask so that it is recorded."""

    mode = 0o666
    patience = BRIEF
    line = BRIEF_LINE

    def __init__(self, path: Path, handle: Handler, log: Log, may_read: Callable[[Peer], bool]) -> None:
        super().__init__(path, handle, log)
        self._may_read = may_read
        self._open: Counter[int] = Counter()  # connections by uid; -1: all who may not read

    async def start(self) -> None:
        """Raises `NodeError`: where others can write, they could put a socket of theirs in its place."""
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
            found = os.stat(folder)
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                raise NodeError(f"{folder} can be written by others, who could put a socket of theirs there")
            await super().start()
        except OSError as problem:
            raise NodeError(f"{self._path}: {problem.strerror or problem}") from None

    def enter(self, peer: Peer) -> int | None:
        place = peer.uid if self._may_read(peer) else -1
        if self._open[place] >= (OF_ONE if place >= 0 else STRANGERS):
            return None
        self._open[place] += 1
        return place

    def leave(self, place: int) -> None:
        self._open[place] -= 1
        if not self._open[place]:
            del self._open[place]


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
