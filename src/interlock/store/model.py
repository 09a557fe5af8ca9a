"""What the state database holds, as plain values. Times are wall nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """An API key. The key itself is not here, only its keyed hash."""

    id: str
    name: str
    principal: str  # kind:authority/name
    hash: bytes  # 32 bytes, `keys.lookup_hash`
    roles: tuple[str, ...]
    created: int
    networks: tuple[str, ...] = ()  # CIDR; empty: from anywhere
    not_before: int = 0
    expires: int = 0  # 0: does not expire
    revoked: int = 0  # when it was; 0: it was not
    replaced_by: str = ""  # the id of the key that followed it
    acts: tuple[str, ...] = ()  # the record's ids of what was done to it

    def usable(self, now: int) -> bool:
        """Whether it could still be accepted, now or later."""
        return not self.revoked and (not self.expires or now < self.expires)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A credential or principal that is refused, by its handle."""

    handle: bytes  # 32 bytes
    what: str  # for people: what the handle stands for
    revoked: int
    expires: int = 0  # when whatever it refuses has expired by itself; 0: never
    act: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was issued before a second is refused, by the handle it carries."""

    handle: bytes  # 32 bytes
    what: str  # for people: what the handle stands for
    since: int  # whole seconds: what was issued before it is refused
    revoked: int
    expires: int = 0  # when whatever it refuses has expired by itself; 0: never
    act: str = ""


@dataclass(frozen=True, slots=True)
class RiskRow:
    """How risky is whatever carries a handle."""

    handle: bytes  # 32 bytes
    what: str  # for people: what the handle stands for
    value: int  # from 1 to 100
    raised: int
    expires: int = 0  # 0: until it is lowered
    act: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on the record, under a random name."""

    pseudonym: str
    hash: bytes  # 32 bytes
    key: str  # the store key of `hash` and `sealed`
    sealed: bytes = field(repr=False)  # the id


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One subject frame: whose it is, and what opens it."""

    segment: bytes
    sequence: int
    pseudonym: str
    key: str  # the store key of `wrapped`
    wrapped: bytes = field(repr=False)  # the content key
    time: int = 0


@dataclass(frozen=True, slots=True)
class TakenIn:
    """How far a segment's subjects were taken in."""

    file: str
    intake: str
    offset: int
    sequence: int
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure and how far it went. It knows the pseudonym only."""

    pseudonym: str
    reason: str
    requested: int
    subjects: int
    segments: int
    act: str = ""
    erased: int = 0
    scrubbed: int = 0
    turning: int = 0
    turned: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: nothing of this subject, or of this time, is erased."""

    id: str
    key: str
    sealed: bytes = field(repr=False)  # the subject's id
    since: int = 0
    until: int = 0
    reason: str = ""
    actor: str = ""
    added: int = 0
