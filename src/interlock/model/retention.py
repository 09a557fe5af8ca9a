"""Classes of retention: how long what is on the record is kept. One byte in segments, a name in the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DAY: Final = 86_400 * 10**9  # ns
STANDARD: Final = 0
SHORTEST: Final = 7 * DAY  # no class is kept for less, whatever a file says: `verify` holds prunings against it

# By the classes of data that a service may hold. Numbers are on disk and never reused.
CLASSES: Final[Mapping[str, int]] = {"standard": STANDARD, "phi": 1, "pan": 2, "pii": 3, "financial": 4}

Retention = Mapping[int, int]  # class -> ns; a class that is not in it is kept as the standard one


def class_name(class_: int) -> str:
    """What people call it."""
    return next((name for name, number in CLASSES.items() if number == class_), f"class {class_}")


def kept_for(retention: Retention, class_: int) -> int:
    """How long a class is kept, in ns; never less than `SHORTEST`."""
    return max(SHORTEST, retention.get(class_, retention[STANDARD]))
