"""Serves `run/control.sock`: administration for the node's own user and root, and for nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from interlock.control.address import socket_name
from interlock.control.log import Log
from interlock.control.wire import LINE, SOCKET, Reply, decode_request, encode, error_reply, peer_actor
from interlock.errors import InterlockError
from interlock.model import Principal

Row = Callable[[dict[str, Any]], None]
Handler = Callable[[str, dict[str, Any], Principal, Row], Any]  # gives an awaitable of the result
PATIENCE = 10.0  # seconds for the request to arrive
ROWS = 64 * 1024  # bytes of rows that are sent together


class ControlSocket:
    """Listens until closed. `handle(op, arguments, actor, row)` is awaited for each request."""

    def __init__(self, run_dir: Path, handle: Handler, log: Log) -> None:
        self._path = run_dir / SOCKET
        self._handle = handle
        self._log = log
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with socket_name(self._path) as name:
                sock.bind(name)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=LINE)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            sock = writer.get_extra_info("socket")
            try:
                actor = peer_actor(sock)
                reply = await self._answer(reader, writer, actor)
            except PermissionError as problem:
                self._log.warning("administration refused", problem=str(problem))
                reply = Reply(error="NodeError", message=str(problem))
            writer.write(encode(reply) + b"\n")
            await writer.drain()
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, actor: Principal) -> Reply:
        try:
            line = await asyncio.wait_for(reader.readline(), PATIENCE)
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
            result = await self._handle(request.op, request.arguments, actor, row)
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


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
