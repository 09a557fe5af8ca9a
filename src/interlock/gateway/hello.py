"""Reads a TLS ClientHello without consuming it (RFC 8446 section 4.1.2), for names and budgets.

Only looks; OpenSSL decides. What cannot be read gives an empty name, never an error.
"""

from __future__ import annotations

import hashlib
import re

HELLO_BYTES = 16 * 1024  # what is looked at of a connection, records and all
HANDSHAKE = 22
CLIENT_HELLO = 1
NO_HELLO = b"\0"  # read as something that is none
SERVER_NAME = 0
_PASSING = frozenset({SERVER_NAME, 16, 21, 35, 41, 42, 44})  # names, ALPN, padding, ticket, PSK, early data, cookie
_COUNTED = {10: 2, 13: 2, 43: 1}  # groups, signature algorithms, versions: where their lists of numbers begin
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")  # goes to the record of handshakes that failed, which anybody can make


class Incomplete(Exception):
    """More bytes are needed."""


def server_name(data: bytes) -> str:
    """The host name of the SNI extension (RFC 6066 section 3), lower case; "" if there is none, or no plain one.

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


def fingerprint(data: bytes) -> bytes:
    """Eight bytes that connections of one program have in common: of the suites and extensions it offers, in any order.

    What differs between connections of one program is left out: GREASE (RFC 8701), names, padding, and whatever
    resuming a session adds. Empty for what cannot be read whole.
    """
    try:
        body = _handshake(data)
        return _offered(body) if body else b""
    except (Incomplete, IndexError):
        return b""


def _offered(body: bytes) -> bytes:
    at = 2 + 32
    at += 1 + body[at]
    size = int.from_bytes(body[at : at + 2], "big")
    suites = _numbers(body[at + 2 : at + 2 + size])
    at += 2 + size
    at += 1 + body[at]
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    at += 2
    kinds = []
    details = []
    while at + 4 <= min(end, len(body)):
        kind = int.from_bytes(body[at : at + 2], "big")
        size = int.from_bytes(body[at + 2 : at + 4], "big")
        if kind in _COUNTED:
            details.append((kind, sorted(_numbers(body[at + 4 + _COUNTED[kind] : at + 4 + size]))))
        if kind not in _PASSING and not _is_grease(kind):
            kinds.append(kind)
        at += 4 + size
    offered = f"{body[:2].hex()} {sorted(suites)} {sorted(kinds)} {sorted(details)}"
    return hashlib.blake2b(offered.encode("ascii"), digest_size=8).digest()


def _numbers(data: bytes) -> list[int]:
    found = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2)]
    return [number for number in found if not _is_grease(number)]


def _is_grease(number: int) -> bool:
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _handshake(data: bytes) -> bytes:
    """The ClientHello's body, put together from as many records as it was cut into.

    Empty for what is none, and for what would be waited for in vain: an empty record, which nobody may send (RFC 8446
    section 5.1), brings nothing nearer, and a length beyond what is looked at has no end here.
    """
    message = bytearray()
    at = 0
    while True:
        if len(data) < at + 5:
            raise Incomplete
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != HANDSHAKE or size == 0:
            return b""
        at += 5
        if len(data) < at + size:
            raise Incomplete
        message += data[at : at + size]
        at += size
        if len(message) >= 4:
            if message[0] != CLIENT_HELLO:
                return b""
            end = 4 + int.from_bytes(message[1:4], "big")
            if end > HELLO_BYTES - 5:
                return b""
            if len(message) >= end:
                return bytes(message[4:end])


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
            name = extension[5 : 5 + length].decode("ascii")
            return name.lower() if _NAME.fullmatch(name) else ""
        at += 4 + size
    return ""
