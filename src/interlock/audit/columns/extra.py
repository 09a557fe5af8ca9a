"""Whether the extra `query` is installed."""

from __future__ import annotations

from importlib.util import find_spec

from interlock.errors import UsageError

PACKAGES = ("pyarrow", "duckdb")


def installed() -> bool:
    """Imports nothing."""
    return not _missing()


def need_extra() -> None:
    """Raises `UsageError`, which says how to install it, where it is missing."""
    if missing := _missing():
        raise UsageError(
            f"SQL needs {' and '.join(missing)}: install interlock[query] where the node runs, and restart it"
        )


def _missing() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            there = find_spec(name) is not None
        except ValueError:  # put out of reach
            there = False
        if not there:
            found.append(name)
    return found
