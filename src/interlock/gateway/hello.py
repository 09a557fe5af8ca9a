"""Reads a TLS ClientHello without consuming it (RFC 8446 section 4.1.2), for names and budgets.

Only looks; OpenSSL decides. What cannot be read gives an empty name, never an error.
"""

from __future__ import annotations

HANDSHAKE = 22
CLIENT_HELLO = 1
SERVER_NAME = 0


class Incomplete(Exception):
    """More bytes are needed."""


def server_name(data: bytes) -> str:
    """The host name of the SNI extension (RFC 6066 section 3), lower case; "" if there is none.

    Raises `Incomplete` while the hello has not arrived whole.
    """
    if not data:
        raise Incomplete
    if data[0] != HANDSHAKE:
        return ""
    message = _handshake(data)
    try:
        return _server_name(message)
    except (IndexError, UnicodeDecodeError):
        return ""


def _handshake(data: bytes) -> bytes:
    """The ClientHello's body, put together from as many records as it was cut into."""
    message = b""
    while True:
        if len(data) < 5:
            raise Incomplete
        size = int.from_bytes(data[3:5], "big")
        if data[0] != HANDSHAKE:
            return b""
        if len(data) < 5 + size:
            raise Incomplete
        message += data[5 : 5 + size]
        data = data[5 + size :]
        if len(message) >= 4:
            if message[0] != CLIENT_HELLO:
                return b""
            length = int.from_bytes(message[1:4], "big")
            if len(message) >= 4 + length:
                return message[4 : 4 + length]


def _server_name(body: bytes) -> str:
    at = 2 + 32
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    at += 2
    while at + 4 <= min(end, len(body)):
        kind = int.from_bytes(body[at : at + 2], "big")
        size = int.from_bytes(body[at + 2 : at + 4], "big")
        if kind == SERVER_NAME:
            extension = body[at + 4 : at + 4 + size]
            if extension[2] != 0:
                return ""
            length = int.from_bytes(extension[3:5], "big")
            return extension[5 : 5 + length].decode("ascii").lower()
        at += 4 + size
    return ""
