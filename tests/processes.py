"""What the kernel says of a process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError)  # before its file was opened, and while it was read


def runs(pid: int) -> bool:
    """Whether it is alive; one that died and is not yet collected is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except GONE:
        return False


def resume(pid: int) -> None:
    """Let go on what SIGSTOP holds up, unless it was killed meanwhile, as the supervisor does after a while."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
