"""What a rule may know of the call itself. Header fields and the body are not among it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class CallFacts(msgspec.Struct, frozen=True):
    """One call, on its canonical path."""

    method: str
    path: str
    host: str
    source: str  # address of the caller
    params: Mapping[str, str]  # of the route's path template
    now_ns: int  # wall
