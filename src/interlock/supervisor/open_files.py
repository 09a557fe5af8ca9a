"""How many files the node's processes may have open: every connection of a worker is one.

A worker that has none left accepts nobody, reaches no upstream and cannot begin a segment of the record, without which
no call passes. The usual limit (1,024) is there for programs that wait with `select`; nothing here does.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.control.log import Log

OWN = 256  # of a worker beside its connections: sockets it listens on, segments, what is shared, what comes and goes


def allow_open_files(config: Config, log: Log) -> None:
    """Raise the limit for this process and its children as far as it goes, and tell if that is too little."""
    limit = _raised()
    needed = config.connections.per_worker + sum(service.pool for service in config.services.values()) + OWN
    if needed > limit:
        log.warning(
            "a worker may have too few files open for its connections: raise the limit (LimitNOFILE= of systemd, "
            "ulimit -Hn) or lower connections.per_worker",
            limit=limit,
            needed=needed,
            per_worker=config.connections.per_worker,
        )


def _raised() -> int:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        limit = most
    except (OSError, ValueError):  # a system may have a limit of its own below the one that it names
        pass
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
