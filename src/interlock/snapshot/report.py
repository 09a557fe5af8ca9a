"""What a process leaves beneath `run/` on how it is doing, for `status` and for whoever comes after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Report(Generic[T]):
    """One file, replaced each time; where there is nothing to say there is none."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name = name
        self._kind = kind

    def write(self, run_dir: Path, said: T | None) -> None:
        """Replace it; None takes it away. Raises `OSError`, and then leaves what was said before."""
        if said is None:
            (run_dir / self.name).unlink(missing_ok=True)
            return
        aside = run_dir / f".{self.name}.{os.getpid()}"
        with open(aside, "wb", opener=_private) as file:
            file.write(msgspec.json.encode(said))
        os.replace(aside, run_dir / self.name)

    def read(self, run_dir: Path) -> T | None:
        """What was said last; None if there is nothing, or it is of another version."""
        try:
            return msgspec.json.decode((run_dir / self.name).read_bytes(), type=self._kind)
        except (OSError, msgspec.MsgspecError):
            return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
