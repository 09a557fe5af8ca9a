"""The 32-byte names under which credentials can be revoked.

An identity carries the handle of its credential first, then that of its principal: revoking either
refuses it. The prefixes are part of what is stored; they never change.
"""

from __future__ import annotations

import hashlib

from interlock.model import Principal


def key_handle(key_id: str) -> bytes:
    """One API key, by its public id."""
    return hashlib.sha256(b"key\0" + key_id.encode("utf-8")).digest()


def token_handle(issuer: str, token_id: str) -> bytes:
    """One token, by its issuer and `jti` (or `unnamed_token`)."""
    return hashlib.sha256(b"token\0" + issuer.encode("utf-8") + b"\0" + token_id.encode("utf-8")).digest()


def unnamed_token(token: bytes) -> str:
    """What stands for the `jti` of a token without one: what is signed, so that no re-encoding evades it."""
    return "sha256:" + hashlib.sha256(token.rpartition(b".")[0]).hexdigest()


def certificate_handle(fingerprint: bytes) -> bytes:
    """One client certificate, by the SHA-256 of its DER form."""
    return hashlib.sha256(b"certificate\0" + fingerprint).digest()


def principal_handle(principal: Principal | str) -> bytes:
    """Everything of one principal."""
    return hashlib.sha256(b"principal\0" + str(principal).encode("utf-8")).digest()


def limit_key(text: str) -> bytes:
    """The 16 bytes that name a principal in counters."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16, person=b"principal").digest()
