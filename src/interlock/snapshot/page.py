"""The shared page: a few words of memory that every process of the node sees.

It says how far the change log is valid (the epoch), which snapshot is current (the generation), how far
the recorder has come, and what each process is doing. One process writes each word, but for the epoch,
which is raised under the change log's lock. A word is read and written whole (one aligned 8-byte access),
so no lock is needed; two words are not consistent with each other and MUST NOT be relied on to be.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from interlock.snapshot.shared import attach, make, memory_of

MAGIC = int.from_bytes(b"ILKPAGE1", "little")

# Words of the page.
EPOCH = 1  # bytes of the change log that are valid
GENERATION = 2  # number of the current snapshot
SEALED_NS = 3  # wall ns of the recorder's last successful seal
ALARMS = 4  # alarms of the recorder since the page was made
SLOTS = 5  # how many process slots follow
CONTROL_SEEN_NS = 6  # monotonic ns of the last sign of life of any control process, or of the node's start
CLOCK_STEPS = 7  # steps of the wall clock that this recorder saw
CLOCK_STEPPED_NS = 8  # wall ns after the newest of them; 0: none
CLOCK_STEP_NS = 9  # by how much, two's complement
CLOCK_SYNC = 10  # what the kernel says of its clock: one of the three below
CLOCK_UNSYNCHRONISED_NS = 11  # monotonic ns since when it is not synchronised; 0: it is, or nobody knows
CLOCK_ERROR_NS = 12  # estimated
UNKNOWN_SYNC, SYNCHRONISED, UNSYNCHRONISED = range(3)
_HEADER = 16

# Words of a process slot, relative to `slot_base(slot)`.
KIND = 0
PID = 1
STATE = 2
STARTED_NS = 3  # wall ns
HEARTBEAT_NS = 4  # monotonic ns
EPOCH_ACKED = 5
GENERATION_ACKED = 6
RESTARTS = 7
BIRTH = 8  # the kernel's start time of the process, so that a reused pid is not mistaken for it
_WIDTH = 16

SUPERVISOR_SLOT, RECORDER_SLOT, CONTROL_SLOT, ANALYST_SLOT, FIRST_WORKER_SLOT = 0, 1, 2, 3, 4

# Kinds of process.
NOBODY, SUPERVISOR, RECORDER, CONTROL, WORKER, ANALYST = range(6)
KINDS = ("", "supervisor", "recorder", "control", "worker", "analyst")

# States of a process.
GONE, STARTING, READY, DRAINING = range(4)
STATES = ("gone", "starting", "ready", "draining")


class Process(NamedTuple):
    """What the page says of one process; `alive` is the kernel's word, not the page's."""

    slot: int
    kind: str
    pid: int
    state: str
    started_ns: int
    heartbeat_ns: int
    epoch_acked: int
    generation_acked: int
    restarts: int
    alive: bool


def slot_base(slot: int) -> int:
    """Index of a slot's first word."""
    return _HEADER + slot * _WIDTH


def process_birth(pid: int) -> int:
    """The kernel's start time of a running process in clock ticks since boot (proc(5), stat field 22).

    0 if there is no such process, or only its remains (a zombie).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X", b"x") else int(fields[19])


class NodePage:
    """`words` is the raw view for the hot path: `page.words[EPOCH]` costs one index."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.words = memoryview(memory).cast("Q")
        self.slots: int = self.words[SLOTS]

    @classmethod
    def create(cls, path: Path, slots: int) -> NodePage:
        """Make a fresh page; one that exists is replaced, not changed, so nobody's memory moves."""
        return cls(memory_of(make(path, _words(slots), {0: MAGIC, SLOTS: slots})))

    @classmethod
    def open(cls, path: Path) -> NodePage:
        """Map the page of a running node; `SnapshotError` if there is none or it is not one."""
        return cls(memory_of(attach(path, "a shared page", MAGIC, _HEADER, lambda begins: _words(begins[SLOTS]))))

    def close(self) -> None:
        self.words.release()
        self._memory.close()

    def claim(self, slot: int, kind: int, started_ns: int, pid: int | None = None) -> None:
        """Enter a process (by default: this one) into a slot, as starting; restarts are kept."""
        pid = os.getpid() if pid is None else pid
        words, base = self.words, self._base(slot)
        words[base + STATE] = GONE
        words[base + KIND] = kind
        words[base + BIRTH] = process_birth(pid)
        words[base + STARTED_NS] = started_ns
        words[base + HEARTBEAT_NS] = 0
        words[base + EPOCH_ACKED] = 0
        words[base + GENERATION_ACKED] = 0
        words[base + PID] = pid
        words[base + STATE] = STARTING

    def release(self, slot: int) -> None:
        """The slot's process is gone."""
        base = self._base(slot)
        self.words[base + STATE] = GONE
        self.words[base + PID] = 0

    def set_state(self, slot: int, state: int) -> None:
        self.words[self._base(slot) + STATE] = state

    def beat(self, slot: int, now: int) -> None:
        """The process is well; `now` in monotonic ns."""
        self.words[self._base(slot) + HEARTBEAT_NS] = now

    def restarted(self, slot: int) -> None:
        self.words[self._base(slot) + RESTARTS] += 1

    def process(self, slot: int) -> Process:
        """One slot, in words an operator understands."""
        kind, pid, state, started, beat, epoch, generation, restarts, birth = self.words[
            self._base(slot) : self._base(slot) + BIRTH + 1
        ].tolist()
        return Process(
            slot,
            KINDS[kind] if kind < len(KINDS) else "unknown",
            pid,
            STATES[state] if state < len(STATES) else "unknown",
            started,
            beat,
            epoch,
            generation,
            restarts,
            bool(pid) and birth != 0 and process_birth(pid) == birth,
        )

    def processes(self) -> Iterator[Process]:
        """Every slot that was ever claimed."""
        for slot in range(self.slots):
            if self.words[slot_base(slot) + KIND] != NOBODY:
                yield self.process(slot)

    def _base(self, slot: int) -> int:
        if not 0 <= slot < self.slots:
            raise IndexError(f"the shared page has {self.slots} slots, not a slot {slot}")
        return _HEADER + slot * _WIDTH


def _words(slots: int) -> int:
    return _HEADER + slots * _WIDTH
