"""Puts names to what records refer to: from the state database, or with the intake key where that still can.

What was erased reads `erased:PSEUDONYM`, also while keys that could open it are still there. What is neither
known nor erased reads `lost:SEQUENCE` and is a problem: a truncated database MUST NOT pass for an erasure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from interlock.audit.entries import Act, Entry, HandshakeRefused, Intent, Named, Path, Refusals, Refused
from interlock.audit.header import SegmentHeader
from interlock.audit.subjects import (
    ERASED,
    HIDDEN,
    LOST,
    PRINCIPAL,
    SOURCE,
    OpenIntake,
    Subject,
    content_key,
    open_subject,
    subject_key,
)
from interlock.errors import InterlockError, KeyMaterialError, RecordError

Tell = Callable[[RecordError], None]


class Known(Protocol):
    """What the state database knows of one segment."""

    def erased(self, segment: bytes) -> Mapping[int, str]:
        """Sequence to pseudonym of what was erased."""
        ...

    def content_keys(self, segment: bytes) -> Mapping[int, bytes]:
        """Sequence to content key of what was taken in."""
        ...


class Names:
    """Makes the names of each segment."""

    def __init__(self, known: Known, open_intake: OpenIntake) -> None:
        self.known = known
        self.open_intake = open_intake

    def of(self, header: SegmentHeader) -> SegmentNames:
        """Raises `StateError` if the database cannot be read."""
        segment = SegmentNames(header.id, self.known.erased(header.id) if header.subjects else {})
        if header.subjects:
            try:
                segment.key = subject_key(header, self.open_intake)
            except KeyMaterialError:  # it was turned: the database has what is left
                segment.contents = self.known.content_keys(header.id)
        return segment


class SegmentNames:
    """One segment's subjects. `seen` comes before `name`, for each subject frame."""

    def __init__(self, segment: bytes, erased: Mapping[int, str] | None = None, *, hidden: bool = False) -> None:
        self.key = b""
        self.contents: Mapping[int, bytes] = {}
        self._segment = segment
        self._hidden = hidden  # names nobody
        self._erased = erased or {}
        self._payloads: dict[int, bytes] = {}
        self._named: dict[int, Subject] = {}

    def seen(self, sequence: int, payload: bytes) -> None:
        """A subject frame of this segment."""
        self._payloads[sequence] = payload

    def name(self, sequence: int, tell: Tell) -> Subject:
        """Who is referred to. What cannot be named is told, once."""
        found = self._named.get(sequence)
        if found is None:
            try:
                found = self._open(sequence)
            except InterlockError as error:
                found = Subject(LOST, f"{LOST}:{sequence}")
                tell(RecordError(f"segment {self._segment.hex()}: {error}"))
            self._named[sequence] = found
        return found

    def _open(self, sequence: int) -> Subject:
        if self._hidden:
            return Subject(HIDDEN, f"{HIDDEN}:{sequence}")
        if (pseudonym := self._erased.get(sequence)) is not None:
            return Subject(ERASED, f"{ERASED}:{pseudonym}")
        payload = self._payloads.get(sequence)
        if payload is None:
            raise RecordError(f"subject {sequence} is referred to, and is not in this segment before that")
        if self.key:
            content = content_key(self.key, self._segment, sequence, payload)
        else:
            known = self.contents.get(sequence)
            if known is None:
                raise RecordError(f"subject {sequence} is neither known nor erased")
            content = known
        return open_subject(content, self._segment, sequence, payload)


def resolve(entry: Entry, names: SegmentNames, tell: Tell) -> tuple[Entry, set[str]]:
    """The same entry with text for every reference, and the ids of all subjects that it names."""
    ids: set[str] = set()

    def subject(sequence: int) -> Subject:
        found = names.name(sequence, tell)
        ids.add(found.id)
        return found

    def text(value: Named, kind: str) -> str:
        if isinstance(value, int):
            return subject(value).value
        if value:
            ids.add(Subject(kind, value).id)
        return value

    def joined(path: Path) -> str:
        if isinstance(path, str):
            return path
        return "".join(piece if isinstance(piece, str) else subject(piece).value for piece in path)

    match entry:
        case Intent() | Refused():
            credential = entry.credential
            if isinstance(credential, int):
                found = subject(credential)
                credential = found.more if found.kind == PRINCIPAL else ""
            entry = msgspec.structs.replace(
                entry,
                principal=text(entry.principal, PRINCIPAL),
                credential=credential,
                resource=joined(entry.resource),
                source=text(entry.source, SOURCE),
            )
        case Refusals() | HandshakeRefused():
            entry = msgspec.structs.replace(entry, source=text(entry.source, SOURCE))
        case Act():
            told = {name: subject(sequence).id for name, sequence in entry.subjects.items()}
            if isinstance(named := entry.details.get("principal"), str):
                ids.add(named)
            entry = Act(text(entry.actor, PRINCIPAL), {**entry.details, **told})
        case _:
            pass
    return entry, ids
