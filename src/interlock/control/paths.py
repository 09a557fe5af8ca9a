"""Where things lie in the data directory."""

from __future__ import annotations

import os
from pathlib import Path


class Paths:
    """The names of one data directory. Nothing here touches the disk but `make_run_dir`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.keys = data_dir / "keys"
        self.state = data_dir / "state.db"
        self.pki = data_dir / "pki"
        self.record = data_dir / "record"
        self.run = data_dir / "run"
        self.cache = data_dir / "cache"  # derived from the record; emptied when somebody is erased
        self.snapshot = self.run / "snapshot"
        self.page = self.run / "page"
        self.changes = self.run / "changes.log"
        self.counters = self.run / "counters"
        self.replays = self.run / "replays"  # proofs of possession that were used
        self.sightings = self.run / "sightings"  # where tokens were first seen
        self.metrics = self.run / "metrics"
        self.attest = self.run / "attest"
        self.jwks = self.run / "jwks"
        self.tokens = self.run / "tokens"  # what opaque tokens stand for
        self.issuer_jwks = self.run / "issuer-jwks"  # with what the node's own tokens are verified
        self.handover = self.run / "handover"  # the keys that workers use, sealed
        self.applied = self.run / "applied"  # the bytes of the file that the node runs with

    def make_run_dir(self) -> None:
        """Make `run/` for nobody but us."""
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.run.stat().st_mode & 0o077:
            os.chmod(self.run, 0o700)
