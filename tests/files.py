"""What lies in a folder that a running node writes to."""

from __future__ import annotations

import os
from pathlib import Path


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file under `folder` with its bytes, also those that came while others were read and vanished."""
    read: dict[Path, bytes] = {}
    vanished = True
    while vanished:
        vanished = False
        for parent, _, names in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                if path in read or not path.is_file():
                    continue
                try:
                    read[path] = path.read_bytes()
                except FileNotFoundError:
                    vanished = True
    assert read, f"there is nothing in {folder}"
    return read
