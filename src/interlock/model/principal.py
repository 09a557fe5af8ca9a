"""Who is calling."""

from __future__ import annotations

from dataclasses import dataclass

OWN_AUTHORITY = "interlock"  # of all whom the node itself vouches for
KINDS = frozenset({"user", "service", "device", "os", "anonymous"})


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, written `kind:authority/name`; never compared without its authority.

    `authority` is the host of an outside issuer, the name of a trust bundle, or `interlock`.
    It MUST NOT contain `/`, so that the text form is unambiguous; `name` may.
    """

    kind: str
    authority: str
    name: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of principal {self.kind!r}")
        if not self.authority or "/" in self.authority:
            raise ValueError(f"authority {self.authority!r} must be non-empty and without '/'")
        if not self.name:
            raise ValueError("a principal needs a name")
        if not (self.authority + self.name).isprintable():
            raise ValueError("a principal has printable characters only")

    def __str__(self) -> str:
        return f"{self.kind}:{self.authority}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Principal:
        """Read the text form; `ValueError` says what is missing."""
        kind, colon, rest = text.partition(":")
        authority, slash, name = rest.partition("/")
        if not colon or not slash:
            raise ValueError(f"{text!r} is not of the form kind:authority/name")
        return cls(kind, authority, name)
