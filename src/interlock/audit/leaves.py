"""Walks over the frames of a segment as they are stored: their order, their leaf hashes, what they open and settle.

What recorder and verification do with every record, many at once, and therefore compiled. It opens nothing and does
no I/O.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from interlock.audit.header import ID_SIZE, VERSION
from interlock.audit.segment import ELSEWHERE, HEADER_SIZE, MAX_FRAME, SMALLEST_FRAME
from interlock.model import Event
from interlock.tlog import LEAF_PREFIX

END: Final = Event.SEGMENT_END.code
ALL: Final = 1 << 60  # more frames than there can be

_INTENT: Final = Event.CALL_INTENT.code
_OUTCOME: Final = Event.CALL_OUTCOME.code
_REFERS: Final = 24  # where it stands in a frame
_LEAF: Final = sha256(LEAF_PREFIX)  # copied for each leaf, which costs less than beginning anew

Rare = tuple[int, int, int, int, bytes]  # event, sequence, flags, `refers`, the segment that is in, if said


class Walk:
    """One segment, piece by piece; what it found is there to be taken."""

    def __init__(self) -> None:
        self.count = 0  # frames walked over: the next one's sequence
        self.leaves: list[bytes] = []
        self.open: set[int] = set()  # intents without an outcome so far
        self.early: set[int] = set()  # intents whose outcome was read, in another segment, before them
        self.elsewhere: list[tuple[bytes, int]] = []  # intents in other segments that have their outcome here
        self.rare: list[Rare] = []  # whatever is neither an intent nor an outcome
        self.ended = False  # its last frame says so
        self.last = -1  # the event of the last frame
        self.problem = ""  # why there is no frame where the walk ended, though there are bytes for one

    def over(self, data: bytes, most: int, hashed: int, past_end: bool) -> int:
        """Walk over the whole frames at the start of `data`; gives the bytes they fill.

        At most `most` frames in all, of which those with a sequence under `hashed` become leaves. Without `past_end`
        not beyond the frame that ends the segment.
        """
        at = 0
        size = len(data)
        count = self.count
        begin = _LEAF.copy
        leaves, waiting, early = self.leaves, self.open, self.early
        last = self.last
        while size - at >= SMALLEST_FRAME and count < most and (past_end or not self.ended):
            length = _half(data, at)
            if data[at + 4] != VERSION or length < SMALLEST_FRAME or length > MAX_FRAME:
                self.problem = "there is no frame here"
                break
            sequence = _whole(data, at + 8)
            if sequence != count:
                self.problem = f"record {count} is missing; {sequence} follows"
                break
            end = at + length
            if end > size:
                break
            event, flags = data[at + 5], data[at + 7]
            if count < hashed:
                leaf = begin()
                leaf.update(data[at:end])
                leaves.append(leaf.digest())
            if event == _INTENT:
                if early and sequence in early:
                    early.discard(sequence)
                else:
                    waiting.add(sequence)
            elif event == _OUTCOME:
                if flags & ELSEWHERE:
                    place = data[at + HEADER_SIZE : at + HEADER_SIZE + ID_SIZE]
                    self.elsewhere.append((place, _whole(data, at + _REFERS)))
                else:
                    waiting.discard(_whole(data, at + _REFERS))
            else:
                place = data[at + HEADER_SIZE : at + HEADER_SIZE + ID_SIZE] if flags & ELSEWHERE else b""
                self.rare.append((event, sequence, flags, _whole(data, at + _REFERS), place))
                if event == END:
                    self.ended = True
            last = event
            at = end
            count += 1
        self.count = count
        self.last = last
        return at


def _whole(data: bytes, at: int) -> int:
    """A number of eight bytes. Compiled, this costs less than `struct` does."""
    high, low = _half(data, at), _half(data, at + 4)
    return high * 0x1_0000_0000 + low if high else low


def _half(data: bytes, at: int) -> int:
    """A number of four bytes."""
    return data[at] * 0x100_0000 + data[at + 1] * 0x1_0000 + data[at + 2] * 0x100 + data[at + 3]
