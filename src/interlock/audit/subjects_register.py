"""Takes in who the record is about, and takes it away again. Under the data directory's lock, in one thread.

Taking in: each subject frame's content key is opened with the intake key and kept in the state database,
wrapped under the store key, with a random pseudonym for each person. A cursor per segment goes with it in
the same transaction, so it may be cut short anywhere and is gone on with.

Erasing somebody:

 1. take in everything that is in the segments by now; refuse under a hold;
 2. note the erasure, by its pseudonym alone: from here on it is gone through with, by whoever comes next;
 3. put it on the record;
 4. delete all rows of that pseudonym, and leave the places where it was;
 5. leave nothing of them in the database's files, and empty what was derived from the record;
 6. turn the keys: a new intake key, so that writers begin new segments; a new store key, under which all that
    is left is wrapped again; when every segment of the old intake key has ended and was taken in, the old
    ones are destroyed. What was copied before is then closed for good.

Each step is noted when it is done and may be done twice.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from interlock.audit.files import Files
from interlock.audit.header import SegmentHeader
from interlock.audit.reader import Frame, OpenKey, SegmentReader, frame_reader, segment_files
from interlock.audit.subjects import Subject, content_key, open_subject, subject_key
from interlock.audit.subjects_reading import Names
from interlock.clock import SECOND, Clock
from interlock.errors import KeyMaterialError, NotFound, RecordError, UsageError
from interlock.keys import (
    CACHE,
    Keyring,
    StoreKeys,
    drop_old_store,
    intake,
    intake_keys,
    keep_intake,
    store_keys,
    turn_cache,
    turn_intake,
    turn_store,
)
from interlock.model import Event
from interlock.store import Erasure, Hold, Person, Persons, SubjectRow, TakenIn

DAY = 86_400 * SECOND
AT_ONCE = 5_000  # subjects taken in with one transaction
_SLACK = DAY // 24  # a segment ends with its day, give or take
_SUBJECT = Event.RECORD_SUBJECT.code
_END = Event.SEGMENT_END.code


class Acts(Protocol):
    """Puts acts on the record."""

    def act(self, event: Event, details: Mapping[str, object], /) -> str: ...

    def renew(self) -> None: ...


class Register:
    """Who is who on one node's record."""

    def __init__(
        self,
        data_dir: Path,
        persons: Persons,
        keyring: Keyring,
        clock: Clock,
        *,
        files: Files | None = None,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """`pause` is called between pieces of long work."""
        self._record = data_dir / "record"
        self._cache = data_dir / "cache"
        self._persons = persons
        self._keyring = keyring
        self._clock = clock
        self._files = files or Files()
        self._pause = pause

    # -- taking in

    def take_in(self, *, ended_only: bool = False) -> list[str]:
        """Take in what is new in all segments; says what could not be read. `ended_only` leaves those in use."""
        known = self._persons.taken_in()
        taker: _Taker | None = None
        problems: list[str] = []
        for path in segment_files(self._record, self._files):
            place = known.get(path.name)
            if place is not None and place.ended:
                continue
            ended = not self._in_use(path)  # before it is read: what comes after that is found the next time
            if ended_only and not ended:
                continue
            taker = taker or _Taker(self._persons, self._keyring)
            try:
                with SegmentReader(path, self._files) as reader:
                    problems += taker.take(reader, place, ended=ended)
            except FileNotFoundError:
                continue
            except (OSError, RecordError) as error:
                problems.append(f"{path.name}: {error}")
                if ended and isinstance(error, RecordError):  # it will not get better
                    self._persons.take_in(TakenIn(path.name, "", 0, 0, True), (), ())
            self._pause()
        return problems

    def _in_use(self, path: Path) -> bool:
        try:
            fd = self._files.open(path)
        except OSError:
            return False
        try:
            return self._files.is_held(fd)
        finally:
            self._files.close(fd)

    # -- erasing

    def find(self, subject_id: str) -> Person:
        """`NotFound` if the record names nobody of that id."""
        keys = store_keys(self._keyring)
        for person in self._persons.find([key.hash(subject_id) for key in keys.all.values()]):
            return person
        raise NotFound("the record names nobody of that id, as far as it can be erased from it")

    def request(self, person: Person, reason: str) -> Erasure:
        """Note that somebody is to be erased, whom `find` found and no hold protects. `finish` does it."""
        places = self._persons.places(person.pseudonym)
        erasure = Erasure(
            person.pseudonym,
            reason,
            self._clock.wall(),
            len(places),
            len({segment for segment, _, _ in places}),
        )
        self._persons.begin_erasure(erasure)
        return erasure

    def finish(self, acts: Acts) -> None:
        """Go through with every erasure that was noted, as far as it goes without waiting."""
        for erasure in self._persons.erasures():
            if not erasure.act:
                act = acts.act(
                    Event.SUBJECT_ERASE,
                    {
                        "pseudonym": erasure.pseudonym,
                        "subjects": erasure.subjects,
                        "segments": erasure.segments,
                        "reason": erasure.reason,
                    },
                )
                self._persons.mark([erasure.pseudonym], act=act)
            if not erasure.erased:
                self._persons.erase(erasure.pseudonym, self._clock.wall())
        waiting = [erasure.pseudonym for erasure in self._persons.erasures() if not erasure.scrubbed]
        if waiting:
            self.empty_derived()
            if self._persons.scrub():
                self._persons.mark(waiting, scrubbed=self._clock.wall())

    def forget(self, segments: Sequence[bytes]) -> None:
        """These segments are pruned: neither the database nor what was derived from the record knows them any more."""
        self._persons.forget(segments)
        self.empty_derived()
        self._persons.scrub()

    def empty_derived(self) -> None:
        """Remove what was derived from the record: it can be made again."""
        _empty(self._cache)
        if self._keyring.exists(CACHE):
            turn_cache(self._keyring)  # for copies of it, and for who reads it right now

    def erasure(self, pseudonym: str) -> Erasure:
        """How far one went."""
        for erasure in self._persons.erasures():
            if erasure.pseudonym == pseudonym:
                return erasure
        raise NotFound(f"there is no erasure of {pseudonym!r}")

    @property
    def unfinished(self) -> bool:
        """Whether an erasure waits to be gone through with."""
        return any(not (erasure.scrubbed and erasure.turned) for erasure in self._persons.erasures())

    # -- turning the keys

    def turn(self, acts: Acts) -> bool:
        """Go on with replacing the keys of what was erased; says whether nothing is left to do.

        It is not done while a writer goes on in a segment of the old intake key: call it again.
        """
        due = [erasure.pseudonym for erasure in self._persons.erasures() if erasure.erased and not erasure.turned]
        new = [erasure.pseudonym for erasure in self._persons.erasures() if erasure.erased and not erasure.turning]
        if new:
            turn_store(self._keyring)
            turn_intake(self._keyring)
            self._persons.mark(new, turning=self._clock.wall())
        keys = store_keys(self._keyring)
        if keys.old:
            self._rewrap(keys)
            if any(self._persons.under(key_id) for key_id in keys.old):
                return False
            drop_old_store(self._keyring)
        present = intake(self._keyring.folder).id
        acts.renew()
        if set(intake_keys(self._keyring)) != {present}:
            self.take_in()
            if self._awaited(present):
                return False
            keep_intake(self._keyring, ())
        if due:
            acts.act(Event.SUBJECT_TURN, {"pseudonyms": due, "intake": present, "store": keys.current.id})
            self._persons.mark(due, turned=self._clock.wall())
        return True

    def _awaited(self, present: str) -> bool:
        """Whether a segment of an old intake key is still written to, or was not taken in to its end."""
        known = self._persons.taken_in()
        for path in segment_files(self._record, self._files):
            place = known.get(path.name)
            if place is None or (not place.ended and place.intake not in ("", present)):
                return True
        return False

    def _rewrap(self, keys: StoreKeys) -> None:
        new = keys.current
        while persons := self._persons.persons_under(keys.old):
            self._persons.rewrap(persons=[_rewrapped(person, keys) for person in persons])
            self._pause()
        while rows := self._persons.subjects_under(keys.old):
            wrapped = []
            for row in rows:
                about = _about(row.segment, row.sequence)
                content = keys[row.key].unwrap(row.wrapped, about)
                wrapped.append(replace(row, key=new.id, wrapped=new.wrap(content, about)))
            self._persons.rewrap(subjects=wrapped)
            self._pause()
        for hold in self._persons.holds():
            if hold.key in keys.old:
                sealed = keys[hold.key].unwrap(hold.sealed, hold.id.encode())
                self._persons.rewrap_hold(replace(hold, key=new.id, sealed=new.wrap(sealed, hold.id.encode())))

    # -- holds

    def hold(self, hold_id: str, subject_id: str, since: int, until: int, reason: str, actor: str) -> Hold:
        """Keep a subject, or a time, from being erased."""
        key = store_keys(self._keyring).current
        sealed = key.wrap(subject_id.encode(), hold_id.encode())
        hold = Hold(hold_id, key.id, sealed, since, until, reason, actor, self._clock.wall())
        self._persons.add_hold(hold)
        return hold

    def holds(self) -> list[tuple[Hold, str]]:
        """Each with the id of its subject; empty: all of its time."""
        keys = store_keys(self._keyring)
        return [(hold, keys[hold.key].unwrap(hold.sealed, hold.id.encode()).decode()) for hold in self._persons.holds()]

    def refuse_held(self, subject_id: str, person: Person) -> None:
        """`UsageError` if a hold keeps them from being erased."""
        times = [time for _, _, time in self._persons.places(person.pseudonym)]
        for hold, held in self.holds():
            if held and held != subject_id:
                continue
            if hold.until and not any(
                time < hold.until and (time // DAY + 1) * DAY + _SLACK > hold.since for time in times
            ):
                continue
            raise UsageError(f"hold {hold.id} forbids it: {hold.reason}")


class StateNames:
    """What readers are told: by the state database, and by the keys there are. For one thread.

    Keys are looked up again when one is not known, since they may be turned while somebody reads.
    """

    def __init__(self, persons: Persons, keyring: Keyring) -> None:
        self._persons = persons
        self._keyring = keyring
        self._store = store_keys(keyring)
        self._intake = intake_keys(keyring)
        self._gone: set[str] = set()  # what was not there either when it was looked up again

    def erased(self, segment: bytes) -> Mapping[int, str]:
        return self._persons.erased(segment)

    def content_keys(self, segment: bytes) -> Mapping[int, bytes]:
        found = {}
        for row in self._persons.of_segment(segment):
            if row.key not in self._store and row.key not in self._gone:
                self._store = store_keys(self._keyring)
                if row.key not in self._store:
                    self._gone.add(row.key)
            if row.key in self._store:  # else it is of an older copy: its key was destroyed
                found[row.sequence] = self._store[row.key].unwrap(row.wrapped, _about(segment, row.sequence))
        return found

    def open_intake(self, intake_id: str, sealed: bytes, info: bytes) -> bytes:
        if intake_id not in self._intake and intake_id not in self._gone:
            self._intake = intake_keys(self._keyring)
            if intake_id not in self._intake:
                self._gone.add(intake_id)
        key = self._intake.get(intake_id)
        if key is None:
            raise KeyMaterialError(f"there is no intake key {intake_id!r}: it was destroyed")
        return key.open(sealed, info)


def names(persons: Persons, keyring: Keyring) -> Names:
    """Names for one reader of the record."""
    known = StateNames(persons, keyring)
    return Names(known, known.open_intake)


class _Taker:
    """Takes in the subject frames of segments, with the keys opened once."""

    def __init__(self, persons: Persons, keyring: Keyring) -> None:
        self._persons = persons
        self._names = names(persons, keyring)
        self._store = store_keys(keyring)
        self._open_key: OpenKey = lambda recipient, sealed, info: keyring.open_record_key(recipient).open(sealed, info)

    def take(self, reader: SegmentReader, place: TakenIn | None, *, ended: bool) -> list[str]:
        """Take in what follows `place`; says what cannot be opened, which is then passed over."""
        header, name = reader.header, reader.path.name
        if place is not None:
            reader.offset, reader.count = place.offset, place.sequence
        subjects, problems = list[_Found](), list[str]()
        open_: _Open | None = None
        for frame in reader.frames():
            if frame.event == _SUBJECT and header.subjects:
                try:
                    open_ = open_ or _Open(header, self._open_key, self._names)
                    subjects.append(open_.frame(frame))
                except (RecordError, KeyMaterialError) as error:
                    problems.append(f"{name}: {error}")
                if len(subjects) >= AT_ONCE:
                    self._keep(header, subjects, TakenIn(name, header.intake, reader.offset, reader.count))
                    subjects = []
            ended = ended or frame.event == _END
        if reader.problem:
            problems.append(f"{name}: {reader.problem}")
        now = TakenIn(name, header.intake, reader.offset, reader.count, ended)
        if now != place:
            self._keep(header, subjects, now)
        return problems

    def _keep(self, header: SegmentHeader, subjects: list[_Found], place: TakenIn) -> None:
        key = self._store.current
        if subjects and (gone := self._persons.erased(header.id)):  # nor is anybody made of them again
            subjects = [found for found in subjects if found.sequence not in gone]
        known, new = self._known({found.subject.id for found in subjects}), list[Person]()
        for subject_id in dict.fromkeys(found.subject.id for found in subjects):
            if subject_id not in known:
                pseudonym = known[subject_id] = secrets.token_hex(8)
                sealed = key.wrap(subject_id.encode(), pseudonym.encode())
                new.append(Person(pseudonym, key.hash(subject_id), key.id, sealed))
        rows = [
            SubjectRow(
                header.id,
                found.sequence,
                known[found.subject.id],
                key.id,
                key.wrap(found.content, _about(header.id, found.sequence)),
                found.time_ns,
            )
            for found in subjects
        ]
        self._persons.take_in(place, new, rows)

    def _known(self, ids: set[str]) -> dict[str, str]:
        """Pseudonyms of those who have one, by id."""
        hashes = {key.hash(one): one for one in ids for key in self._store.all.values()}
        return {hashes[found.hash]: found.pseudonym for found in self._persons.find(list(hashes))}


class _Found(NamedTuple):
    """A subject frame, opened."""

    sequence: int
    time_ns: int
    subject: Subject
    content: bytes


class _Open:
    """What opens a segment's subject frames."""

    def __init__(self, header: SegmentHeader, open_key: OpenKey, names: Names) -> None:
        self._segment = header.id
        self._frames = frame_reader(header, open_key)
        self._key = subject_key(header, names.open_intake)

    def frame(self, frame: Frame) -> _Found:
        payload = self._frames.open(frame.data)
        content = content_key(self._key, self._segment, frame.sequence, payload)
        subject = open_subject(content, self._segment, frame.sequence, payload)
        return _Found(frame.sequence, frame.time_ns, subject, content)


def _about(segment: bytes, sequence: int) -> bytes:
    return b"interlock content key 1 " + segment + sequence.to_bytes(8, "big")


def _rewrapped(person: Person, keys: StoreKeys) -> Person:
    new = keys.current
    sealed = keys[person.key].unwrap(person.sealed, person.pseudonym.encode())
    return Person(person.pseudonym, new.hash(sealed.decode()), new.id, new.wrap(sealed, person.pseudonym.encode()))


def _empty(folder: Path) -> None:
    """Remove what was derived from the record: it can be made again."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
