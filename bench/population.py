"""Fills a stopped node's state: a million keys are not made one command at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from peers import ISSUER
from product import Node

from interlock.identity import token_handle
from interlock.keys import Keyring, load_kek, lookup_hash, mint
from interlock.store import ApiKeyRow, Revocation, State


def fill(node: Node, keys: int, called: int, revocations: int, role: str) -> list[str]:
    """Add `keys` API keys, of which `called` are real and returned, and `revocations` of tokens never seen."""
    node.command("key", "create", "first", "--role", role)  # makes the node's keys and its state
    folder = node.data / "keys"
    lookup_key = Keyring(folder, load_kek(None, folder)).lookup_key
    texts: list[str] = []

    def rows() -> Iterator[ApiKeyRow]:
        now = time.time_ns()
        for number in range(keys):
            if number < called:
                key_id, text = mint()
                texts.append(text)
                hashed = lookup_hash(lookup_key, text.encode("ascii"))
            else:
                key_id, hashed = f"filler{number}", os.urandom(32)
            yield ApiKeyRow(key_id, f"n{number}", f"service:interlock/n{number}", hashed, (role,), now)

    def revoked() -> Iterator[Revocation]:
        now = time.time_ns()
        for number in range(revocations):
            yield Revocation(token_handle(ISSUER, f"gone-{number}"), f"token {number}", now)

    with State.open(node.data / "state.db") as state:
        state.add_keys(rows())
        state.add_revocations(revoked())
    return texts
