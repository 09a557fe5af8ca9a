"""Which journal a checkpoint was made of: the running hash after the last entry before it, in an extension line.

The leaves alone do not say which segment they are of, where a segment begins and ends, or what was pruned: the journal
does, and nobody signs it. Who signs the checkpoint signs that, too, by this line; what a checkpoint says of the journal
is on the chain of every later one (C2SP tlog-checkpoint allows the line; cosignatures cover it).
"""

from __future__ import annotations

import re

from interlock.tlog import START, Checkpoint

_LINE = re.compile(r"journal ([0-9a-f]{64})")


def journal_line(running: bytes) -> str:
    """The line for a running hash (32 bytes)."""
    return f"journal {running.hex()}"


def journal_of(checkpoint: Checkpoint) -> bytes | None:
    """The running hash that a checkpoint names; None: it is from before they did, or before the first entry."""
    for line in checkpoint.extensions:
        if (match := _LINE.fullmatch(line)) is not None:
            running = bytes.fromhex(match[1])
            return running if running != START else None
    return None
