"""Identifiers that people read, and type into commands."""

from __future__ import annotations

import re
import secrets
from typing import Final

REFRESH_TOKEN: Final = re.compile(r"ilr_([A-Za-z0-9_-]{22,32})\.([A-Za-z0-9_-]{43})")  # the grant's id, the secret


def new_id() -> str:
    """A `jti`, `sid`, `txn` or grant's id: 128 random bits in hexadecimal: none begins with `-`, as an option would."""
    return secrets.token_hex(16)
