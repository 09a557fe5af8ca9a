"""The 32-byte names under which credentials can be revoked.

An identity carries the handle of its credential first (of several, that of the token), then that of its principal, then
those of whatever else it hangs on: revoking any of them refuses it. Names that an issuer gives (`jti`, `client_id`,
`sid`) mean something with that issuer only. The prefixes are part of what is stored; they never change.
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


def issuer_handle(issuer: str) -> bytes:
    """All tokens of one issuer."""
    return hashlib.sha256(b"issuer\0" + issuer.encode("utf-8")).digest()


def client_handle(issuer: str, client: str) -> bytes:
    """All that an issuer gave to one of its clients (`client_id`, RFC 9068; `azp`, OpenID Connect)."""
    return _of_issuer(b"client", issuer, client)


def session_handle(issuer: str, session: str) -> bytes:
    """All that came out of one sign-in (`sid`)."""
    return _of_issuer(b"session", issuer, session)


def family_handle(issuer: str, family: str) -> bytes:
    """All access tokens that came with one refresh token and its successors (`fid`, a claim of our own issuer)."""
    return _of_issuer(b"family", issuer, family)


def certificate_handle(fingerprint: bytes) -> bytes:
    """One client certificate, by the SHA-256 of its DER form."""
    return hashlib.sha256(b"certificate\0" + fingerprint).digest()


def principal_handle(principal: Principal | str) -> bytes:
    """Everything of one principal."""
    return hashlib.sha256(b"principal\0" + str(principal).encode("utf-8")).digest()


def _of_issuer(kind: bytes, issuer: str, name: str) -> bytes:
    return hashlib.sha256(kind + b"\0" + issuer.encode("utf-8") + b"\0" + name.encode("utf-8")).digest()


def limit_key(text: str) -> bytes:
    """The 16 bytes that name a principal in counters."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16, person=b"principal").digest()
