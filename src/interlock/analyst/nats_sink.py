"""Publishes to a subject that a JetStream stream of a NATS server keeps: each record counts once the stream has it.

A message bears the id of its record in `Nats-Msg-Id`: what we must send again, the stream drops while its window of
duplicates lasts. Streams are the operator's; where none takes the subject, nothing is delivered and `status` says so.

The client (`nats-py`, the extra `interlock[nats]`) is asynchronous and answers the server's pings: its loop runs in a
thread for as long as this sink lives. A connection that broke is not mended but made anew by the next sink.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from interlock.analyst.sink import Message, SinkError

if TYPE_CHECKING:
    from nats.aio.client import Client

    from interlock.config import Login

AT_ONCE = 256  # messages whose confirmations are waited for together
SLACK = 2.0  # seconds beyond the timeout that the thread may take to say so
_SAID = 200  # characters of what a server says that are shown
T = TypeVar("T")


class NatsSink:
    """One subject. Secrets are read when it connects, and not kept."""

    def __init__(
        self,
        servers: Sequence[str],
        subject: str,
        context: ssl.SSLContext | None,
        login: Login | None,
        timeout: float,
    ) -> None:
        self._servers = servers
        self._subject = subject
        self._context = context
        self._login = login
        self._timeout = timeout
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def send(self, batch: Sequence[Message]) -> bool:
        self._run(self._publish(batch))
        return True

    def confirm(self) -> None:
        """Every batch was."""

    def close(self) -> None:
        loop, self._loop = self._loop, None
        client, self._client = self._client, None
        if loop is None:
            return
        if client is not None:
            try:
                asyncio.run_coroutine_threadsafe(client.close(), loop).result(SLACK)
            except Exception:  # noqa: S110 - it is let go of whatever it says
                pass
        loop.call_soon_threadsafe(loop.stop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(self._loop,), name="nats", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, self._timeout), self._loop)
        try:
            return future.result(self._timeout + SLACK)
        except TimeoutError:
            future.cancel()
            raise SinkError("it did not confirm in time") from None

    async def _publish(self, batch: Sequence[Message]) -> None:
        client = self._client
        if client is None or not client.is_connected:
            client = self._client = await self._connect()
        stream = client.jetstream(timeout=self._timeout)
        for at in range(0, len(batch), AT_ONCE):
            sent = [self._publish_one(stream, message) for message in batch[at : at + AT_ONCE]]
            for done in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(done, BaseException):
                    raise _told(done, self._subject)

    async def _publish_one(self, stream: Any, message: Message) -> None:
        ack = await stream.publish(self._subject, message.data.removesuffix(b"\n"), headers={"Nats-Msg-Id": message.id})
        if not ack.stream:
            raise SinkError("somebody answers on the subject who is no stream")

    async def _connect(self) -> Client:
        try:
            from interlock.analyst.nats_client import connect
        except ImportError:
            raise SinkError("it needs nats-py: install interlock[nats] where the node runs, and restart it") from None

        problem: SinkError | None = None
        for server in self._servers:
            try:
                return await connect(server, self._context, self._login, self._timeout)
            except SinkError as error:
                problem = error
            except Exception as error:
                problem = _told(error, self._subject)
        assert problem is not None
        raise problem


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _told(error: BaseException, subject: str) -> SinkError:
    """What went wrong, in our words where the library's would not help."""
    if isinstance(error, SinkError):
        return error
    name = type(error).__name__
    if name in ("NoStreamResponseError", "NoRespondersError"):
        return SinkError(f"no stream of the server takes {subject}: make one")
    if isinstance(error, TimeoutError):
        return SinkError("it did not confirm in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return SinkError(f"its certificate is not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return SinkError(f"TLS failed: {error.reason or error}")
    if isinstance(error, OSError):
        return SinkError(error.strerror or str(error) or name)
    said = " ".join(str(error)[:_SAID].split())
    return SinkError("".join(c for c in said if c.isprintable()) or name)
