"""Reads a connection's bytes with our reader, cut as a test likes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from interlock.gateway.http1 import END, NEED_DATA, Malformed, RequestHead, RequestReader
from interlock.gateway.paths import Target, canonicalize


@dataclass
class Message:
    """One request as we understood it."""

    head: RequestHead
    target: Target | None = None
    body: bytes = b""
    complete: bool = False


@dataclass
class Conversation:
    """All requests of a connection, and what ended it."""

    messages: list[Message] = field(default_factory=list)
    problem: Malformed | None = None

    @property
    def seen(self) -> tuple[tuple[str, bytes, bytes], ...]:
        return tuple((message.head.method, message.head.target, message.body) for message in self.messages)


def read(pieces: Iterable[bytes]) -> Conversation:
    """Feed the pieces one by one and take every event as soon as it is there."""
    reader = RequestReader()
    conversation = Conversation()
    for piece in pieces:
        reader.feed(piece)
        try:
            while (event := reader.next()) is not NEED_DATA:
                if isinstance(event, RequestHead):
                    conversation.messages.append(Message(event))
                    conversation.messages[-1].target = canonicalize(event.target, event.host)
                elif event is END:
                    conversation.messages[-1].complete = True
                else:
                    assert isinstance(event, bytes)
                    conversation.messages[-1].body += event
        except Malformed as problem:
            conversation.problem = problem
            return conversation
    return conversation


def one_by_one(raw: bytes) -> list[bytes]:
    """Single bytes."""
    return [raw[at : at + 1] for at in range(len(raw))]


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes cut at those places."""
    at = [0, *sorted({place % (len(raw) + 1) for place in places}), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(at) if end > start]
