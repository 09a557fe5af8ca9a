"""Files of words that the processes of a node share as memory: made whole, then put in their place.

The first word says what a file is. One that exists is replaced, not changed, so nobody's memory moves.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from interlock.errors import SnapshotError

Shared = tuple[int, mmap.mmap]  # the descriptor, which range locks are for, and the memory


def make(path: Path, words: int, begin: Mapping[int, int], more: Mapping[int, bytes] | None = None) -> Shared:
    """A file of zeros and what it begins with, numbers and octets by the word they stand at.

    Raises `SnapshotError`, and then leaves what was there.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # Allocated, not sparse: a full disk is found here, not as a SIGBUS in a worker.
            os.posix_fallocate(fd, 0, words * 8)
            memory = mmap.mmap(fd, words * 8)
            with memoryview(memory).cast("Q") as view:
                for word, number in begin.items():
                    view[word] = number
            for word, octets in (more or {}).items():
                memory[word * 8 : word * 8 + len(octets)] = octets
            os.rename(aside, path)
        except BaseException:
            os.close(fd)
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error
    return fd, memory


def attach(path: Path, what: str, magic: int, header: int, words: Callable[[memoryview], int]) -> Shared:
    """One that another process has made; `SnapshotError` if it is none of this kind, as `what` calls it.

    `words`: how many a file that begins so has. Its `header` is there by then.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SnapshotError(f"{path}: {error.strerror}") from error
    try:
        return fd, _known(fd, f"{path}: not {what}", magic, header, words)
    except BaseException:
        os.close(fd)
        raise


def _known(fd: int, otherwise: str, magic: int, header: int, words: Callable[[memoryview], int]) -> mmap.mmap:
    size = os.fstat(fd).st_size
    if size < header * 8 or size % 8:
        raise SnapshotError(otherwise)
    memory = mmap.mmap(fd, size)
    with memoryview(memory).cast("Q") as view:
        if view[0] == magic and size == words(view) * 8:
            return memory
    memory.close()
    raise SnapshotError(f"{otherwise} of this version")


def memory_of(shared: Shared) -> mmap.mmap:
    """The memory alone: nobody will lock ranges of the file, so its descriptor is closed."""
    fd, memory = shared
    os.close(fd)
    return memory
