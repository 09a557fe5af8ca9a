"""How much of a message's framing is read before it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Sizes in bytes. The size of a body is the route's affair, not the reader's."""

    head_size: int = 32 * 1024  # request line and fields together
    head_count: int = 100  # field lines
    target_size: int = 8 * 1024
    chunk_line: int = 256  # a chunk's size with its extensions
    framing: int = 16 * 1024  # chunk lines of one body together, beyond eight bytes per byte of payload
    trailer_size: int = 8 * 1024
    trailer_count: int = 32


REQUEST_LIMITS: Final = ReadLimits()
RESPONSE_LIMITS: Final = ReadLimits(head_size=64 * 1024, head_count=256)
