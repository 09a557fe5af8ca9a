"""An API key as the snapshot and the change log hold it: MessagePack, an array that only grows at its end."""

from __future__ import annotations

import msgspec

from interlock.errors import StateError


class KeyEntry(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a key; never the key itself nor its hash."""

    id: str
    principal: str  # text form
    roles: list[str]
    networks: list[str]  # CIDR; empty: from anywhere
    not_before: int  # wall ns
    expires: int  # wall ns; 0: never
    created: int = 0  # wall ns; 0: unknown


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(KeyEntry)


def encode_key_entry(entry: KeyEntry) -> bytes:
    """The bytes stored under the key's keyed hash."""
    return _ENCODER.encode(entry)


def decode_key_entry(value: bytes) -> KeyEntry:
    """Read them back; `StateError` if they are damaged."""
    try:
        return _DECODER.decode(value)
    except msgspec.MsgspecError as error:
        raise StateError(f"an API key's entry is damaged: {error}") from error
