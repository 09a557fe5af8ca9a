"""The witness on a socket: uvicorn, one process, one path. Whoever may connect may ask; only logs' signatures count.

Bounded in everything: body, head, connections, and the time that each may take.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from interlock.errors import StateError
from interlock.tlog import ADD_CHECKPOINT
from interlock.witness.protocol import MAX_BODY, TEXT, Response
from interlock.witness.service import Witness

PATIENCE = 10.0  # seconds for a head to arrive, for a body, and between two requests
CONNECTIONS = 128
MAX_HEAD = 16 * 1024  # bytes
Message = MutableMapping[str, Any]


class App:
    """The ASGI application: `POST /add-checkpoint`."""

    def __init__(self, witness: Witness, tell: Callable[[str], None]) -> None:
        self._witness = witness
        self._tell = tell

    async def __call__(self, scope: Message, receive: Callable[[], Any], send: Callable[[Message], Any]) -> None:
        if scope["type"] != "http":
            return
        answer, more = await self._answer(scope, receive)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            *more,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(
        self, scope: Message, receive: Callable[[], Any]
    ) -> tuple[Response, tuple[tuple[bytes, bytes], ...]]:
        close = ((b"connection", b"close"),)
        if scope["path"] != f"/{ADD_CHECKPOINT}":
            return Response(404, b"there is only /add-checkpoint\n"), close
        if scope["method"] != "POST":
            return Response(405, b"POST it\n"), ((b"allow", b"POST"), *close)
        try:
            async with asyncio.timeout(PATIENCE):
                body = await _body(receive)
        except TimeoutError:
            return Response(408, b"the body did not arrive in time\n"), close
        if body is None:
            return Response(413, b"a request is at most %d bytes\n" % MAX_BODY), close
        try:
            return await asyncio.to_thread(self._witness.add_checkpoint, body), ()
        except (OSError, StateError) as problem:
            self._tell(f"nothing can be cosigned: {problem}")
            return Response(500, b"the witness cannot keep what it sees\n", TEXT), ()


async def _body(receive: Callable[[], Any]) -> bytes | None:
    """The whole body; None if it is too long."""
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] != "http.request":  # it hung up
            return body
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return body


class _Patient(H11Protocol):
    """Closes a connection on which no request is under way for too long, whatever it has sent of the next."""

    _sweep: TimerHandle | None = None
    _idle_with: object = None  # the last request's, when no other was under way at the last look

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._sweep = self.loop.call_later(PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        if idle and cycle is self._idle_with:
            self.transport.close()
            return
        self._idle_with = cycle if idle else self._idle_with
        self._sweep = self.loop.call_later(PATIENCE, self._look)


def serve(
    witness: Witness,
    sock: socket.socket,
    tell: Callable[[str], None],
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        App(witness, tell),
        lifespan="off",
        interface="asgi3",
        http=_Patient,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    uvicorn.Server(config).run(sockets=[sock])
