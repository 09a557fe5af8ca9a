"""Secrets by reference only: `${env:NAME}` and `${file:PATH}`.

The file never holds a secret. A reference MUST NOT show its value, in text, in an error or in a comparison:
it holds only where the value is, and reads it when `resolve` is called.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interlock.config import withdrawn
from interlock.errors import KeyMaterialError

MAX_SECRET = 64 * 1024
_REFERENCE = re.compile(r"\$\{([a-z]+):([^{}]+)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is."""

    kind: Literal["env", "file"]
    name: str  # of the variable; the absolute path of the file

    @property
    def path(self) -> Path | None:
        """The file, if it is one."""
        return Path(self.name) if self.kind == "file" else None

    def resolve(self) -> bytes:
        """The secret's bytes, exactly as they stand. Raises `KeyMaterialError`, which names the place only."""
        if self.kind == "env":
            value = os.environb.get(os.fsencode(self.name), b"") or withdrawn.look_up(self.name)
        else:
            try:
                with open(self.name, "rb") as file:
                    value = file.read(MAX_SECRET + 1)
            except OSError as error:
                raise KeyMaterialError(f"the secret {self} cannot be read: {error.strerror}") from None
        if not value:
            raise KeyMaterialError(f"the secret {self} is {'not set' if self.kind == 'env' else 'empty'}")
        if len(value) > MAX_SECRET:
            raise KeyMaterialError(f"the secret {self} is larger than {MAX_SECRET // 1024} KiB")
        return value

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


def parse_secret(value: object, folder: Path) -> SecretRef:
    """Read a reference; a relative file is of `folder`. `ValueError` never repeats the value."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a reference, not the secret itself; write ${env:NAME} or ${file:PATH}")
    kind, name = match[1], match[2].strip()
    if kind == "vault":
        raise ValueError(
            "refers to a vault; only `keys.kek` can be in one: write it as {transit: {url: ..., key: ..., token: ...}}"
        )
    if kind == "env":
        if not _VARIABLE.fullmatch(name):
            raise ValueError("does not name an environment variable; write it as in ${env:INTERLOCK_KEK}")
        return SecretRef("env", name)
    if kind == "file":
        if not name or "\0" in name:
            raise ValueError("does not name a file; write it as in ${file:/etc/interlock/kek}")
        return SecretRef("file", os.path.normpath(folder / name))
    raise ValueError("is a reference of an unknown kind; write ${env:NAME} or ${file:PATH}")
