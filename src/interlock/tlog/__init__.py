"""Hashes of an append-only log. Pure: it hashes bytes and never touches a file, a clock or a key."""

from interlock.tlog.leaf import LEAF_PREFIX, leaf_hash
from interlock.tlog.running import START, extend

__all__ = ["LEAF_PREFIX", "START", "extend", "leaf_hash"]
