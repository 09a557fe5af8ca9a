"""Who may read the record: whom `record: {readers: ...}` names, and nobody else, root and the node's user included.

Without that list it is who may administer the node. What is refused is recorded: each time, but when one user comes
again and again, then counted, and never so often that it could fill the record.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from interlock.clock import SECOND
from interlock.control.wire import Peer
from interlock.snapshot.report import Report

PERIOD: Final = 10 * SECOND  # in which one user's refusals are one record, after the first
MOST: Final = 32  # users who are told apart within it


class ReadersStatus(msgspec.Struct):
    """What control writes to `run/readers.json`, and `status` shows. No file: there is no list."""

    readers: list[str]
    socket: str = ""  # where they ask; empty: at the control socket only
    problem: str = ""  # why not there


READERS_REPORT = Report("readers.json", ReadersStatus)


class Readers:
    """Decides by what the operating system says now: of a name whose user is gone nobody is left."""

    def __init__(self, named: Sequence[str] | None) -> None:
        """`named`: as in the file, `os:NAME` or `os:@GROUP`, a number for either; None: whoever may administer."""
        self.named = named

    def allow(self, peer: Peer | None) -> bool:
        """Whether `peer` may read. Nobody in particular only may while there is no list."""
        if self.named is None:
            return True
        return peer is not None and any(_is(peer, one.removeprefix("os:")) for one in self.named)


def _is(peer: Peer, name: str) -> bool:
    try:
        if name.startswith("@"):
            group = name[1:]
            return (int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid) in (peer.gid, *peer.groups)
        return (int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid) == peer.uid
    except KeyError:
        return False


class Counted(NamedTuple):
    """Refusals that are to be recorded."""

    peer: Peer | None  # None: of several users
    op: str  # the last one
    times: int


class Refusals:
    """Which refusals become records, and when. Pure; times are monotonic nanoseconds."""

    def __init__(self) -> None:
        self._seen: dict[int, list[int]] = {}  # by uid: when the last record was made, how many came since
        self._last: dict[int, tuple[Peer, str]] = {}
        self._others = 0
        self._others_op = ""

    def note(self, peer: Peer, op: str, now: int) -> Counted | None:
        """What is to be recorded at once."""
        seen = self._seen.get(peer.uid)
        if seen is None:
            if len(self._seen) >= MOST:
                self._others += 1
                self._others_op = op
                return None
            self._seen[peer.uid] = [now, 0]
            return Counted(peer, op, 1)
        seen[1] += 1
        self._last[peer.uid] = peer, op
        return None

    def due(self, now: int) -> list[Counted]:
        """What was counted for long enough; to be asked now and then. Who was quiet is forgotten."""
        found: list[Counted] = []
        for uid, (since, count) in list(self._seen.items()):
            if now - since < PERIOD:
                continue
            if not count:
                del self._seen[uid]
                continue
            peer, op = self._last.pop(uid)
            found.append(Counted(peer, op, count))
            self._seen[uid] = [now, 0]
        if self._others:
            found.append(Counted(None, self._others_op, self._others))
            self._others = 0
        return found
