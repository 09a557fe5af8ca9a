"""Names of Unix sockets, however deep the data directory lies.

A socket's name holds 107 bytes at most. A longer path is reached through the folder's descriptor, which
the kernel shows under `/proc/self/fd` (Linux).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 100


@contextmanager
def socket_name(path: Path) -> Iterator[str]:
    """A name to bind or connect to while the context lasts."""
    if len(os.fsencode(path)) <= LONGEST or not os.path.isdir("/proc/self/fd"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
