"""Verifies a proof of one record without Interlock: Python and `cryptography` are all it needs.

    python verify_proof.py call.tlog-proof 'interlock/0123...+89abcdef+AU...'

The second argument is the log's public key, which you got from somewhere else (`interlock audit checkpoint --keys`).
It shows that the record in the file is in the log that the key signed, and, if the file has what opens it, that
its contents are those that were written. It does not show which segment the record is of.
Formats: C2SP tlog-proof, tlog-checkpoint and signed-note; RFC 9162.
"""

import json
import re
import struct
import sys
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NotShown(Exception):
    """The file does not prove what it says."""


def read_proof(text: str) -> tuple[dict[str, str], int, list[bytes], str]:
    """The extra data, the index, the hashes, and the checkpoint as it was signed."""
    head, _, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise NotShown("this is no proof of a record")
    extra = json.loads(b64decode(lines[1][6:], validate=True))
    return extra, int(lines[2][6:]), [b64decode(line, validate=True) for line in lines[3:]], checkpoint


def check_signature(checkpoint: str, vkey: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that the key signed (type 1: Ed25519)."""
    name, key_id, encoded = vkey.split("+", 2)
    key = b64decode(encoded, validate=True)
    if key[0] != 1 or sha256(name.encode() + b"\n" + key).digest()[:4].hex() != key_id:
        raise NotShown("that is no key for checkpoints")
    text, _, signatures = checkpoint.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        _, signer, value = line.split(" ")
        signature = b64decode(value, validate=True)
        if signer == name and signature[:4].hex() == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode())
            except InvalidSignature:
                raise NotShown("the checkpoint's signature does not verify") from None
            origin, size, root = text.split("\n")[:3]
            if origin != name:
                raise NotShown("the checkpoint is of another log")
            return origin, int(size), b64decode(root, validate=True)
    raise NotShown("the checkpoint is not signed by that key")


def root_of(leaf: bytes, index: int, size: int, hashes: list[bytes]) -> bytes:
    """Where an inclusion proof leads (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        raise NotShown("the index is not in the tree")
    fn, sn, root = index, size - 1, leaf
    for sibling in hashes:
        if sn == 0:
            raise NotShown("the proof is too long")
        if fn & 1 or fn == sn:
            root = sha256(b"\x01" + sibling + root).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = sha256(b"\x01" + root + sibling).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise NotShown("the proof is too short")
    return root


def main() -> int:
    path, vkey = sys.argv[1:]
    try:
        with open(path, encoding="utf-8") as file:
            extra, index, hashes, checkpoint = read_proof(file.read())
        frame = b64decode(extra["frame"], validate=True)
        origin, size, root = check_signature(checkpoint, vkey)
        if root_of(sha256(b"\x00" + frame).digest(), index, size, hashes) != root:
            raise NotShown("the record is not in the tree that was signed")
        # length, version, event, class, flags, sequence, time, reference, commitment
        *_, event, _, _, sequence, time_ns, _, commitment = struct.unpack_from(">IBBBBQQQ32s", frame)
        if not re.fullmatch(rf"[0-9a-f]{{32}}-{sequence}", extra["record"]):
            raise NotShown("the record's name is not that of the frame")
        print(f"record number {sequence} of a segment that the proof calls {extra['record'][:32]}")
        print(f"is number {index} of the {size} of {origin}")
        print(f"event {event}, written {datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}")
        if "salt" in extra or "plaintext" in extra:
            salt, plaintext = (b64decode(extra.get(name, ""), validate=True) for name in ("salt", "plaintext"))
            if (
                len(salt) != 32 or sha256(salt + plaintext).digest() != commitment
            ):  # else some of it could pass for salt
                raise NotShown("the contents shown are not those that were written")
            print("its contents, MessagePack:", plaintext)
    except (NotShown, ValueError, TypeError, LookupError, OSError, struct.error) as problem:
        print(f"NOT SHOWN: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
