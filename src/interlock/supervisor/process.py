"""Forking: a child that dies with its parent, hears only the signals meant for it and owns only its files.

A child MUST NOT outlive the supervisor: it would go on serving with nobody watching, or hold the port
against the next node. The kernel sees to that (`PR_SET_PDEATHSIG`, Linux); elsewhere the child's own
heartbeat has to.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Protocol

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
DEFAULTED = (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2, signal.SIGPIPE)
# A terminal sends the first two to the whole group; they are the supervisor's. SIGUSR1 is for who listens to it.
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
WATCHED = (*DEFAULTED, *IGNORED)


class Closeable(Protocol):
    """A socket, a file, a selector."""

    def close(self) -> None: ...


def fork(name: str, body: Callable[[], Any], *, closing: Iterable[Closeable] = ()) -> int:
    """Run `body` in a child and give its process id.

    `closing`: what the parent has open that is none of the child's business. The child ends with status
    0 when `body` returns, with that of `SystemExit`, and with 1 after any other exception, whose traceback
    goes to standard error.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    status = 1
    try:
        _settle(name, parent, closing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        body()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _settle(name: str, parent: int, closing: Iterable[Closeable]) -> None:
    """Undo in the child what only the supervisor should have."""
    keep_to_itself()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        libc.prctl(PR_SET_NAME, f"ilk-{name}".encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in DEFAULTED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as the interpreter has it
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for thing in closing:
        try:
            thing.close()
        except OSError:
            pass


def keep_to_itself() -> None:
    """No core file of this process has keys in it, and no other process of its user reads its memory (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def describe_exit(status: int) -> str:
    """A `waitpid` status in words: `exit 1`, `SIGKILL`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"exit {os.WEXITSTATUS(status)}"
