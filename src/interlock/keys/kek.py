"""The key encryption key: the one secret that opens the others, and where it comes from.

Held, or reached, only by processes that open keys, and only while they do. A local one is 32 bytes from a random
source, never a passphrase: there is no stretching here.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.errors import KeyMaterialError
from interlock.keys.sealing import KEK_SIZE, read_private, write_private
from interlock.keys.wrapping import Kek, LocalKek

if TYPE_CHECKING:
    from interlock.config import AnyKek

_HEX = re.compile(rb"[0-9a-fA-F]{64}")


def load_kek(source: AnyKek | None, folder: Path) -> Kek:
    """The KEK that the configuration names, else `folder`/kek, made with mode 0600 if it is not there.

    One in a file or variable is 32 raw bytes, or their hexadecimal or base64 form. `KeyMaterialError` otherwise.
    A token or a server is not asked for anything yet.
    """
    if source is None:
        return LocalKek(_own_kek(folder))
    if source.kind == "pkcs11":
        from interlock.keys.pkcs11 import Pkcs11Kek

        return Pkcs11Kek(source)
    if source.kind == "transit":
        from interlock.keys.transit import TransitKek

        return TransitKek(source)
    data = source.resolve() if source.path is None else read_private(source.path)
    return LocalKek(parse_kek(data, "keys.kek"), source.kind)


def _own_kek(folder: Path) -> bytes:
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
