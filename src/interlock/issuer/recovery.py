"""Recovery codes: for who has lost the second factor. Ten of 100 random bits, shown once, each good once.

Only keyed hashes are kept; codes of that many bits need no slow one.
"""

from __future__ import annotations

import secrets
from typing import Final

from interlock.keys import FactorKey

COUNT: Final = 10
LENGTH: Final = 20  # of 32 letters each: 100 bits
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing that looks like something else
_ALIKE: Final = str.maketrans("oil", "011")


def make() -> list[str]:
    """New codes, in groups of five letters."""
    return [_grouped("".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))) for _ in range(COUNT)]


def hashed(key: FactorKey, account_id: str, typed: str) -> bytes | None:
    """Under what a code is kept, however it is typed; None for what is no code."""
    plain = "".join(typed[:64].lower().replace("-", " ").split()).translate(_ALIKE)
    if len(plain) != LENGTH or any(letter not in _ALPHABET for letter in plain):
        return None
    return key.hash("recovery", f"{account_id}\0{plain}".encode("ascii"))


def _grouped(code: str) -> str:
    return "-".join(code[at : at + 5] for at in range(0, LENGTH, 5))
