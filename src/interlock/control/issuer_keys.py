"""The keys of the authorization server: made ahead of their time, published before they sign, dropped when nothing
they signed is alive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from interlock.clock import SECOND, Clock
from interlock.control.paths import Paths
from interlock.errors import NodeError
from interlock.issuer.signing import Keys
from interlock.jose.signing import Signer, make_key
from interlock.keys import Keyring
from interlock.keys.issuer_keys import Schedule, current, tend

if TYPE_CHECKING:
    from interlock.config import OwnIssuer

AHEAD = 24 * 3600 * SECOND  # a key is published for so long before it signs
OVERLAP = 2 * 3600 * SECOND  # and for so long after: longer than any token lives


def tend_keys(settings: OwnIssuer, keyring: Keyring, paths: Paths, clock: Clock, *, turn: bool = False) -> Keys:
    """The issuer's keys as of now, written out for the workers' next snapshot."""
    schedule = Schedule(settings.signing, settings.rotate, min(AHEAD, settings.rotate // 2), OVERLAP)
    now = clock.wall()
    keys = tend(keyring, schedule, now, make_key, turn=turn)
    signers = {key: Signer(key.pem, key.algorithm) for key in keys}
    signing = current(keys, now)
    assert signing is not None
    found = Keys(signers[signing], tuple(signers.values()))
    write_public(paths.issuer_jwks, msgspec.json.encode(found.jwks))
    return found


def write_public(path: Path, data: bytes) -> None:
    """In place of what was there; nothing is touched if it says the same."""
    try:
        if path.exists() and path.read_bytes() == data:
            return
        aside = path.with_name(f".{path.name}")
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as problem:
        raise NodeError(f"{path} cannot be written: {problem.strerror}") from None
