"""Runs what needs the key-encryption key in a short-lived child, so that who asks never holds it.

For the supervisor the child opens the keys, brings the state up to date, makes certificates and writes the first
snapshot; what it hands back is what the workers need, and nothing more. For the recorder it opens the one key that
signs checkpoints.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from interlock.control import wire
from interlock.errors import InterlockError, NodeError
from interlock.supervisor.process import Closeable, describe_exit, fork


class Prepared(msgspec.Struct):
    """What the child hands over. Its repr shows no key."""

    handover_key: bytes  # opens what is in `run/handover`: the keys that workers use
    config_digest: str
    notes: list[str] = []  # what was made for the first time, for the operator

    def __repr__(self) -> str:
        return f"Prepared(config_digest={self.config_digest!r})"


class _Outcome(msgspec.Struct):
    given: bytes = b""
    failed: wire.Reply | None = None


Given = TypeVar("Given")


def in_child(body: Callable[[], Given], kind: type[Given], *, closing: Iterable[Closeable] = ()) -> Given:
    """Run `body` in a child and give what it gave, a structure of that kind, or raise what it raised."""
    read, write = os.pipe()

    def child() -> None:
        os.close(read)
        with os.fdopen(write, "wb") as out:
            out.write(msgspec.msgpack.encode(_outcome(body)))

    try:
        pid = fork("prepare", child, closing=closing)
        os.close(write)
        with os.fdopen(read, "rb", closefd=False) as answer:
            data = answer.read()
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(read)
    try:
        outcome = msgspec.msgpack.decode(data, type=_Outcome)
    except msgspec.MsgspecError:
        raise NodeError(f"the preparation ended early ({describe_exit(status)})") from None
    if outcome.failed is not None:
        wire.raise_error(outcome.failed)
    return msgspec.msgpack.decode(outcome.given, type=kind)


def _outcome(body: Callable[[], object]) -> _Outcome:
    try:
        return _Outcome(given=msgspec.msgpack.encode(body()))
    except InterlockError as problem:
        return _Outcome(failed=wire.error_reply(problem))
    except Exception as problem:
        traceback.print_exc()
        return _Outcome(failed=wire.Reply(error="NodeError", message=f"the preparation failed: {problem!r}"))
