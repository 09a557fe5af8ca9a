"""Children: how they end, what they keep, and that they do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import pytest

from interlock.supervisor.process import describe_exit, fork
from tests.processes import runs


def ended(pid: int) -> str:
    return describe_exit(os.waitpid(pid, 0)[1])


def fail() -> None:
    raise RuntimeError("on purpose")


def test_how_a_child_ended_is_told_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    assert ended(fork("quiet", lambda: None)) == "exit 0"
    assert ended(fork("exits", lambda: sys.exit(3))) == "exit 3"
    assert ended(fork("fails", fail)) == "exit 1"
    assert "on purpose" in capfd.readouterr().err
    assert ended(fork("killed", lambda: os.kill(os.getpid(), signal.SIGKILL))) == "SIGKILL"


def test_a_child_hears_its_own_signals_and_not_the_terminals() -> None:
    def body() -> None:
        heard = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)]
        sys.exit(0 if heard == [signal.SIG_DFL, signal.SIG_IGN, signal.SIG_IGN, signal.SIG_IGN] else 9)

    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        assert ended(fork("signals", body)) == "exit 0"
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_none_of_the_childs_business_is_closed_there_and_only_there() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as mine:

        def body() -> None:
            try:
                os.fstat(write)
            except OSError:
                sys.exit(0)
            sys.exit(9)

        assert ended(fork("closing", body, closing=[mine])) == "exit 0"
        mine.write(b"still open here")
        mine.flush()
        assert os.read(read, 100) == b"still open here"
    os.close(read)


@pytest.mark.skipif(sys.platform != "linux", reason="platform: children die with their parent on Linux only")
def test_a_child_does_not_outlive_its_parent() -> None:
    read, write = os.pipe()

    def parent() -> None:
        pid = fork("orphan", lambda: time.sleep(60))
        os.write(write, pid.to_bytes(4, "big"))
        time.sleep(60)

    outer = fork("parent", parent)
    orphan = int.from_bytes(os.read(read, 4), "big")
    os.kill(outer, signal.SIGKILL)
    assert ended(outer) == "SIGKILL"
    for _ in range(200):
        if not runs(orphan):
            break
        time.sleep(0.01)
    assert not runs(orphan)
    os.close(read)
    os.close(write)


@pytest.mark.skipif(sys.platform != "linux", reason="platform: Linux only")
def test_a_child_leaves_no_core_file_and_lets_nobody_look_into_it() -> None:
    def body() -> None:
        sys.exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE

    assert ended(fork("private", body)) == "exit 0"
