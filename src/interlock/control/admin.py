"""The admin listener: metrics, status, health, and the key that assertions are signed with.

Its own address, loopback only, off the path of every call. It changes nothing: what administers goes
through `run/control.sock`, where the kernel says who asks. A request whose Host is not the listener's own
is refused, so that no web page can read it through a name that points here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from interlock import __version__
from interlock.control.metrics import read_metrics
from interlock.control.paths import Paths
from interlock.control.status import read_status
from interlock.snapshot.exposition import CONTENT_TYPE

HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def make_app(
    paths: Paths, assertion_jwks: Callable[[], dict[str, Any]], extra: Callable[[], dict[str, Any]]
) -> FastAPI:
    """`assertion_jwks` gives what verifies our assertions, `extra` what only control knows, for `/status`."""
    app = FastAPI(title="Interlock admin", version=__version__, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def own_host(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if not is_own_host(request.headers.get("host", "")):
            return Response("421: this is not the name of the admin listener\n", 421, media_type="text/plain")
        return await answer(request)

    @app.get("/metrics", summary="Metrics of all processes, in the Prometheus text format")
    def metrics() -> Response:
        return Response(read_metrics(paths, extra().get("issuers", [])), media_type=CONTENT_TYPE)

    @app.get("/status", summary="What the node is doing")
    def status() -> dict[str, Any]:
        return {**read_status(paths.run), **extra()}

    @app.get("/healthz", summary="200 while every worker serves, else 503")
    def healthz(response: Response) -> dict[str, Any]:
        found = read_status(paths.run)
        response.status_code = 200 if found["serving"] else 503
        return {"serving": found["serving"], "problems": found["problems"]}

    @app.get("/.well-known/jwks.json", summary="The keys that `Interlock-Identity` is verified with (RFC 7517)")
    def jwks() -> dict[str, Any]:
        return assertion_jwks()

    return app


def is_own_host(host: str) -> bool:
    """Whether a Host field names this machine's loopback; any port."""
    name, colon, port = host.rpartition(":")
    return (name.lower() in HOSTS and port.isdecimal()) if colon and "]" not in port else host.lower() in HOSTS


class AdminServer:
    """uvicorn on a listening socket that the supervisor made, within an event loop that is not its own."""

    def __init__(self, app: FastAPI, sock: socket.socket) -> None:
        config = uvicorn.Config(
            app, lifespan="off", access_log=False, log_config=None, server_header=False, timeout_graceful_shutdown=1
        )
        self._socket = sock
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    async def close(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._task, 3)


class _Server(uvicorn.Server):
    """Leaves signals to the process it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
