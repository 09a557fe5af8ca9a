"""The key encryption key: the one secret that opens the others.

Held only by processes that open keys, and only while they do. It is 32 bytes from a random source, never
a passphrase: there is no stretching here.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import Protocol

from interlock.errors import KeyMaterialError
from interlock.keys.sealing import KEK_SIZE, read_private, write_private

_HEX = re.compile(rb"[0-9a-fA-F]{64}")


class Secret(Protocol):
    """A reference to a secret, as the configuration file holds it."""

    @property
    def path(self) -> Path | None:
        """The file, if it is one: it must be readable by nobody else."""
        ...

    def resolve(self) -> bytes: ...


def load_kek(secret: Secret | None, folder: Path) -> bytes:
    """The KEK that the configuration names, else `folder`/kek, made with mode 0600 if it is not there.

    A KEK is 32 raw bytes, or their hexadecimal or base64 form. `KeyMaterialError` otherwise.
    """
    if secret is not None:
        return parse_kek(secret.resolve() if secret.path is None else read_private(secret.path), "keys.kek")
    path = folder / "kek"
    if not path.exists():
        ensure_folder(folder)
        try:
            write_private(path, secrets.token_bytes(KEK_SIZE).hex().encode() + b"\n", replace=False)
        except FileExistsError:
            pass  # another process was first: its key is the key
    return parse_kek(read_private(path), str(path))


def parse_kek(data: bytes, where: str) -> bytes:
    """Read one of the three forms; the message never shows what was read."""
    if len(data) == KEK_SIZE:
        return data
    text = data.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text.decode())
    try:
        raw = base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != KEK_SIZE:
        raise KeyMaterialError(
            f"{where}: a KEK is {KEK_SIZE} random bytes, raw, in hex or in base64 (openssl rand -hex 32)"
        )
    return raw


def ensure_folder(folder: Path) -> None:
    """A folder for nobody but us; one that others may enter is narrowed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise KeyMaterialError(f"{folder}: {error.strerror}") from error
