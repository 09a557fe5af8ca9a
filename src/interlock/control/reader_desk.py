"""The side of the control process that faces readers of the record who may not administer the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from interlock.clock import Clock
from interlock.config import Record
from interlock.control.log import Log
from interlock.control.operations import READS
from interlock.control.paths import Paths
from interlock.control.readers import READERS_REPORT, Readers, ReadersStatus, Refusals
from interlock.control.socket import Handler, ReaderSocket
from interlock.control.wire import Peer, Row
from interlock.errors import InterlockError, NodeError, NotAllowed
from interlock.model import Principal

Refuse = Callable[[str, Principal, int], Awaitable[NotAllowed]]  # records it, in the thread that changes things
STRANGERS = Principal("os", "interlock", "several")  # users who are not told apart


class ReaderDesk:
    """Opens, moves and closes the reader socket as the file has it. Lives on the event loop."""

    def __init__(self, paths: Paths, answer: Handler, refuse: Refuse, log: Log, clock: Clock) -> None:
        """`answer` does what is asked of who may; `refuse` records a refusal and gives its error."""
        self._paths = paths
        self._answer = answer
        self._refuse = refuse
        self._log = log
        self._clock = clock
        self._readers = Readers(())
        self._refusals = Refusals()
        self._socket: ReaderSocket | None = None
        self._at: Path | None = None

    async def configure(self, record: Record) -> None:
        """Take up who may read, and where they ask."""
        self._readers = Readers(record.readers)
        wanted = record.reader_socket if record.readers is not None else None
        if wanted != self._at or self._socket is None:
            await self.close()
        status = None
        if record.readers is not None:
            status = ReadersStatus(list(record.readers), str(wanted or ""), await self._open(wanted))
        with suppress(OSError):
            READERS_REPORT.write(self._paths.run, status)

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        self._socket = self._at = None

    async def tend(self) -> None:
        """Record what was counted; to be called every few seconds."""
        for counted in self._refusals.due(self._clock.monotonic()):
            await self._record(counted.op, STRANGERS if counted.peer is None else counted.peer.actor, counted.times)

    async def _open(self, wanted: Path | None) -> str:
        """Gives why it could not be."""
        if wanted is None or self._socket is not None:
            return ""
        found = ReaderSocket(wanted, self._handle, self._log, lambda peer: self._readers.allow(peer))
        try:
            await found.start()
        except NodeError as problem:
            self._log.error("readers of the record cannot ask", problem=str(problem))
            return str(problem)
        self._socket, self._at = found, wanted
        return ""

    async def _handle(self, op: str, arguments: dict[str, Any], peer: Peer, row: Row) -> Any:
        if self._readers.named is not None and self._readers.allow(peer) and op in READS:
            return await self._answer(op, arguments, peer, row)
        counted = self._refusals.note(peer, op, self._clock.monotonic())
        if counted is not None:
            await self._record(op, peer.actor, counted.times)
        if op not in READS:
            raise NotAllowed(f"{peer.actor} may read the record here, and nothing else")
        raise NotAllowed(f"{peer.actor} may not read the record: `record: {{readers: ...}}` names who may")

    async def _record(self, op: str, actor: Principal, count: int) -> None:
        """Refused they are whether it can be recorded or not."""
        try:
            await self._refuse(op, actor, count)
        except InterlockError as problem:
            self._log.error("a refusal to show the record could not be recorded", problem=str(problem))
