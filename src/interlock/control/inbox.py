"""Datagrams from workers at `run/control-inbox.sock`. They ask, nobody answers; loss is harmless."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from interlock.control.wire import INBOX
from interlock.snapshot.address import socket_name

LONGEST = 2048
TAKEN = 64  # datagrams per turn of the loop


class Inbox:
    """Calls `refresh(issuer)` for each `refresh ISSUER`; forgets everything else."""

    def __init__(self, run_dir: Path, refresh: Callable[[str], None]) -> None:
        self._path = run_dir / INBOX
        self._refresh = refresh
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def start(self) -> None:
        self._socket.setblocking(False)
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with socket_name(self._path) as name:
                self._socket.bind(name)
        finally:
            os.umask(before)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        for _ in range(TAKEN):
            try:
                data = self._socket.recv(LONGEST)
            except OSError:
                return
            word, _, issuer = data.partition(b" ")
            if word == b"refresh":
                try:
                    self._refresh(issuer.decode("utf-8"))
                except UnicodeDecodeError:
                    continue
