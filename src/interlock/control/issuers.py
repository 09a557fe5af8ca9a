"""The public keys of outside issuers, as last fetched: kept in `run/jwks/`, so that a restart has them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

DISCOVERY = "discovery"  # as a source: the URL is the issuer's own word


class Known(msgspec.Struct, frozen=True):
    """An issuer's keys and when they were last seen."""

    issuer: str
    jwks: str
    fetched_ns: int  # wall
    source: str = ""  # where they came from: the URL, or `DISCOVERY`


class KnownKeys:
    """One file per issuer. What cannot be read counts as never fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, issuer: str, source: str) -> Known | None:
        """Those that came from `source`: keys of a URL that was replaced are nobody's keys."""
        try:
            known = msgspec.json.decode(self._file(issuer).read_bytes(), type=Known)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if (known.issuer, known.source) == (issuer, source) else None

    def put(self, known: Known) -> None:
        """Keep them, in place of older ones. Raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(known.issuer)
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        aside.write_bytes(msgspec.json.encode(known))
        os.replace(aside, file)

    def _file(self, issuer: str) -> Path:
        return self._folder / f"{hashlib.sha256(issuer.encode()).hexdigest()[:32]}.json"
