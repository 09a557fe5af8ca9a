"""The data directory has one owner at a time: a running node, or one offline command.

`DATA/lock` is held with `flock`, which the kernel releases when its last holder dies. The supervisor's
children inherit it, so a new node cannot start before the last process of the old one is gone.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from interlock.errors import NodeError

PAUSE = 0.05  # seconds between attempts


class DataLock:
    """Held from `take` until `release`, or until the holding processes are gone."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    @classmethod
    def take(cls, data_dir: Path, holder: str, *, wait: float = 0.3) -> DataLock:
        """Take the lock for `holder` ("node", "cli"); wait up to `wait` seconds for another to let go.

        Raises `NodeError` naming who has it.
        """
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data_dir / "lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    who = os.pread(fd, 200, 0).decode("utf-8", "replace").strip()
                    os.close(fd)
                    raise NodeError(f"{data_dir} is in use by {who or 'another process'}") from None
                time.sleep(PAUSE)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{holder} (process {os.getpid()})\n".encode(), 0)
        return cls(fd, path)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two holders lock two different files."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def is_held(data_dir: Path) -> bool:
    """Whether somebody owns the data directory now. Only looks."""
    try:
        fd = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
