"""Record keys by day and class: destroying one makes all that was sealed to it unreadable, wherever copies are.

    record.days               public halves of today and the days to come, in the clear; and the class in use
    record-YYYY-MM.sealed     private halves of a month's days, by id

Made ahead of time, by whoever holds the KEK, so that a writer finds the next day's when it begins a segment
after midnight UTC. While nobody makes any, the last one goes on being used; before there were any, `record.pub`.
An id says its day and class: `20260131-0-` and the 16 hex digits of the public half.

A private half MUST NOT be destroyed while a writer may still seal to it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from interlock.clock import Clock, SystemClock
from interlock.errors import KeyMaterialError
from interlock.keys.intake import Box
from interlock.keys.recipient import FILE, PresentRecipient, Recipient, recipient, recipient_id
from interlock.keys.sealing import write_private
from interlock.model.retention import DAY, STANDARD

RECORD = "record"
DAYS_FILE = "record.days"
VERSION = 1
AHEAD = 2  # days made beside today's
_ID = re.compile(r"([0-9]{4})([0-9]{2})[0-9]{2}-[0-9]{1,3}-[0-9a-f]{16}")
_MONTH = re.compile(r"record-[0-9]{4}-[0-9]{2}")


class DayKey(msgspec.Struct, frozen=True):
    """The public half of one day and class."""

    day: int  # since 1970, UTC
    class_: int = msgspec.field(name="class")
    id: str
    public_key: bytes

    @property
    def sound(self) -> bool:
        """The id is of the key."""
        return len(self.public_key) == 32 and self.id[-16:] == recipient_id(self.public_key)


class Days(msgspec.Struct, frozen=True):
    """The file `record.days`."""

    version: int
    class_: int = msgspec.field(name="class")  # of segments to come
    keys: list[DayKey]

    def of(self, day: int) -> DayKey | None:
        """That day's key of the class in use, or else the last one before it."""
        found = [key for key in self.keys if key.class_ == self.class_ and key.day <= day and key.sound]
        return max(found, key=lambda key: key.day, default=None)


def read_days(folder: Path) -> Days | None:
    """What is published; None if there is no such file. `KeyMaterialError`. Needs no KEK."""
    path = folder / DAYS_FILE
    try:
        days = msgspec.json.decode(path.read_bytes(), type=Days)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyMaterialError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"{path}: the file is damaged") from error
    if days.version != VERSION:
        raise KeyMaterialError(f"{path}: version {days.version} is not known here")
    return days


class DayRecipient:
    """To whom a segment that begins now is sealed, and its class. A key that cannot be read is no reason to lose a
    record: the last one that could is taken.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock: Clock = clock or SystemClock()
        self._fallback = PresentRecipient(folder)
        self._days: Days | None = None
        self._present: Recipient | PresentRecipient = self._fallback
        self._id = ""
        self.class_ = STANDARD  # as of the last look

    @property
    def id(self) -> str:
        """Looks; what is sealed after it is sealed to the recipient it named."""
        try:
            self._days = read_days(self._folder)
        except KeyMaterialError:
            pass
        key = None if self._days is None else self._days.of(self._clock.wall() // DAY)
        self.class_ = STANDARD if self._days is None else self._days.class_
        if key is None:
            self._present = self._fallback
            self._id = self._fallback.id
        elif key.id != self._id:
            self._present = Recipient(key.public_key)
            self._id = key.id
        return self._id

    def seal(self, data_key: bytes, info: bytes) -> bytes:
        return self._present.seal(data_key, info)


class RecordDays:
    """Makes them. For one thread of the process that holds the KEK."""

    def __init__(self, box: Box, clock: Clock) -> None:
        self._box = box
        self._clock = clock
        self._guarded = b""  # the file as it was last found right

    def tend(self, class_: int) -> list[str]:
        """Publish what is missing for today and the days to come; gives the ids of keys there that are not ours."""
        today = self._clock.wall() // DAY
        try:
            data = (self._box.folder / DAYS_FILE).read_bytes()
        except OSError:
            data = b""
        try:
            days = read_days(self._box.folder) or Days(VERSION, class_, [])
            strangers = [] if data == self._guarded else self._strangers(days)
        except KeyMaterialError:
            days, strangers = Days(VERSION, class_, []), ["a file that cannot be read"]
        sound = [key for key in days.keys if key.id not in strangers]
        former = [key for key in sound if key.day < today and key.class_ == class_]
        keep = [*former[-1:], *(key for key in sound if today <= key.day <= today + AHEAD)]
        wanted = [
            day
            for day in range(today, today + AHEAD + 1)
            if not any(key.day == day and key.class_ == class_ for key in keep)
        ]
        if not (wanted or strangers or days.class_ != class_ or len(keep) != len(days.keys)):
            self._guarded = data
            return []
        keep += [self._make(day, class_) for day in wanted]
        new = Days(VERSION, class_, sorted(keep, key=lambda key: (key.day, key.class_)))
        _publish(self._box.folder, new)
        self._guarded = (self._box.folder / DAYS_FILE).read_bytes()
        return strangers

    def _make(self, day: int, class_: int) -> DayKey:
        private = X25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        key = DayKey(day, class_, f"{_date(day)}-{class_}-{recipient_id(public)}", public)
        box = _box_of(key.id)
        # The private half first: a crash in between must not leave a public one nobody can open.
        self._box.seal(box, msgspec.json.encode({**_private(self._box, box), key.id: private.private_bytes_raw()}))
        return key

    def _strangers(self, days: Days) -> list[str]:
        """Whoever can write in the folder could have writers seal to somebody else."""
        return [key.id for key in days.keys if not key.sound or _public_of(self._box, key.id) != key.public_key]


def supersede(folder: Path, new: Recipient, now: int) -> None:
    """`new` is the record's key for the rest of the day; the days to come are made anew."""
    try:
        days = read_days(folder)
    except KeyMaterialError:
        return  # it is made anew
    if days is not None:
        _publish(folder, Days(VERSION, days.class_, [DayKey(now // DAY, days.class_, new.id, new.public_key)]))


def in_use(folder: Path) -> set[str]:
    """The ids to which a writer may seal from now on. `KeyMaterialError`."""
    days = read_days(folder)
    return {recipient(folder, FILE).id, *(key.id for key in (days.keys if days is not None else ()))}


def open_private(box: Box, key_id: str) -> bytes | None:
    """The private half, raw; None if there is none, as of a destroyed one."""
    return _private(box, _box_of(key_id)).get(key_id)


def destroy(box: Box, key_id: str) -> bool:
    """Destroy a private half; says whether it was there. On disk when this returns."""
    if key_id in in_use(box.folder):
        raise KeyMaterialError(f"record key {key_id} is in use")
    name = _box_of(key_id)
    known = _private(box, name)
    if key_id not in known:
        return False
    del known[key_id]
    box.seal(name, msgspec.json.encode(known))
    return True


def is_month(name: str) -> bool:
    """Whether a key of that name holds a month's private halves."""
    return _MONTH.fullmatch(name) is not None


def _publish(folder: Path, days: Days) -> None:
    write_private(folder / DAYS_FILE, msgspec.json.encode(days) + b"\n")


def _public_of(box: Box, key_id: str) -> bytes | None:
    private = open_private(box, key_id)
    return None if private is None else X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _box_of(key_id: str) -> str:
    found = _ID.fullmatch(key_id)
    return RECORD if found is None else f"record-{found[1]}-{found[2]}"


def _private(box: Box, name: str) -> dict[str, bytes]:
    if not box.exists(name):
        return {}
    try:
        return msgspec.json.decode(box.open(name), type=dict[str, bytes])
    except msgspec.MsgspecError as error:
        raise KeyMaterialError(f"key {name!r}: the contents are damaged") from error


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y%m%d")
