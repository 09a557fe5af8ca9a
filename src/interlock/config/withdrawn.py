"""Secrets that came by the environment and were taken out of it: kept in an anonymous file that descriptors reach.

What a process was started with stands in `/proc/PID/environ` for as long as it lives, and forks share it. A node
therefore starts itself again without them (`supervisor.environment`); the file has no name, and a process that
must not have what is in it closes its descriptor.
"""

from __future__ import annotations

import json
import os
import sys

VARIABLE = "INTERLOCK_SECRETS_FD"


def keep(secrets: dict[str, str]) -> int:
    """The descriptor of a file that holds them, which survives an exec; -1 where there are no such files."""
    if sys.platform != "linux":
        return -1
    fd = os.memfd_create("interlock-secrets", 0)
    os.write(fd, json.dumps(secrets).encode())
    return fd


def look_up(name: str) -> bytes:
    """A secret that was taken out of the environment; empty if it was not, or this process may not have it."""
    fd = _descriptor()
    if fd < 0:
        return b""
    try:
        value = json.loads(os.pread(fd, os.fstat(fd).st_size, 0)).get(name, "")
    except (OSError, ValueError):
        return b""
    return os.fsencode(value)


def forget() -> None:
    """This process must not have them."""
    fd = _descriptor()
    os.environ.pop(VARIABLE, None)
    if fd >= 0:
        os.close(fd)


def _descriptor() -> int:
    """The descriptor, if what it opens is such a file: anybody may set a variable."""
    text = os.environ.get(VARIABLE, "")
    if not text.isdecimal():
        return -1
    try:
        target = os.readlink(f"/proc/self/fd/{text}")
    except OSError:
        return -1
    return int(text) if target.startswith("/memfd:interlock-secrets") else -1
