"""The public keys of outside issuers, as last fetched: kept in `run/jwks/`, so that a restart has them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec


class Known(msgspec.Struct, frozen=True):
    """An issuer's keys and when they were last seen."""

    issuer: str
    jwks: str
    fetched_ns: int  # wall


class KnownKeys:
    """One file per issuer. What cannot be read counts as never fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, issuer: str) -> Known | None:
        try:
            known = msgspec.json.decode(self._file(issuer).read_bytes(), type=Known)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if known.issuer == issuer else None

    def put(self, known: Known) -> None:
        """Keep them, in place of older ones. Raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(known.issuer)
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        aside.write_bytes(msgspec.json.encode(known))
        os.replace(aside, file)

    def _file(self, issuer: str) -> Path:
        return self._folder / f"{hashlib.sha256(issuer.encode()).hexdigest()[:32]}.json"
