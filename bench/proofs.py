"""Clients whose tokens are bound to keys of their own (DPoP, RFC 9449): a proof for each call, made before the run."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey
from material import Material

SENDERS = 16
PER_SECOND = 8000  # proofs; a gateway that takes more of them runs out, and the run fails


class Senders:
    """Several clients, who take turns."""

    def __init__(self, material: Material, url: str, folder: Path) -> None:
        self._file = folder / "proofs"
        self._url = url
        self._senders = [_Sender(material) for _ in range(SENDERS)]

    def fresh(self, seconds: float) -> Path:
        """A file of `token proof` lines, enough for a run of so many seconds that begins now."""
        now = int(time.time())
        with self._file.open("wb") as file:
            for _ in range(int(PER_SECOND * max(1.0, seconds) / SENDERS)):
                file.writelines(sender.line(self._url, now) for sender in self._senders)
        return self._file


class _Sender:
    def __init__(self, material: Material) -> None:
        key = ECKey.generate_key("P-256")
        jwk = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
        assert isinstance(key.private_key, EllipticCurvePrivateKey)
        self._key = key.private_key
        self._head = _b64(json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}).encode())
        self._token = material.bound(key.thumbprint()).encode()
        self._ath = _b64(hashlib.sha256(self._token).digest()).decode()

    def line(self, url: str, now: int) -> bytes:
        claims = {"jti": secrets.token_urlsafe(16), "htm": "GET", "htu": url, "iat": now, "ath": self._ath}
        signed = self._head + b"." + _b64(json.dumps(claims).encode())
        r, s = decode_dss_signature(self._key.sign(signed, ECDSA(hashes.SHA256())))
        return b"%b %b.%b\n" % (self._token, signed, _b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")))


def _b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
