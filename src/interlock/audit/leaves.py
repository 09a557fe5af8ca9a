"""Walks over the frames of a segment as they are stored: their order, their leaf hashes, what they open and settle.

What recorder and verification do with every record, many at once, and therefore compiled. It opens nothing and does
no I/O.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from interlock.audit.header import ID_SIZE, VERSION
from interlock.audit.segment import ELSEWHERE, HEADER_SIZE, MAX_FRAME, SHORT_HEADER, SMALLEST_FRAME
from interlock.model import Event
from interlock.tlog import LEAF_PREFIX

END: Final = Event.SEGMENT_END.code
ALL: Final = 1 << 60  # more frames than there can be

_INTENT: Final = Event.CALL_INTENT.code
_OUTCOME: Final = Event.CALL_OUTCOME.code
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
        unpack = SHORT_HEADER.unpack_from
        leaves, waiting, early = self.leaves, self.open, self.early
        last = self.last
        while size - at >= SMALLEST_FRAME and count < most and (past_end or not self.ended):
            length, version, event, _, flags, sequence, _, refers = unpack(data, at)
            if version != VERSION or length < SMALLEST_FRAME or length > MAX_FRAME:
                self.problem = "there is no frame here"
                break
            if sequence != count:
                self.problem = f"record {count} is missing; {sequence} follows"
                break
            end: int = at + length
            if end > size:
                break
            if count < hashed:
                leaf = _LEAF.copy()
                leaf.update(data[at:end])
                leaves.append(leaf.digest())
            if event == _INTENT:
                if early and sequence in early:
                    early.discard(sequence)
                else:
                    waiting.add(sequence)
            elif event == _OUTCOME:
                if flags & ELSEWHERE:
                    self.elsewhere.append((data[at + HEADER_SIZE : at + HEADER_SIZE + ID_SIZE], refers))
                else:
                    waiting.discard(refers)
            else:
                place = data[at + HEADER_SIZE : at + HEADER_SIZE + ID_SIZE] if flags & ELSEWHERE else b""
                self.rare.append((event, sequence, flags, refers, place))
                if event == END:
                    self.ended = True
            last = event
            at = end
            count += 1
        self.count = count
        self.last = last
        return at
