"""What the state database holds, as plain values. Times are wall nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass


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
