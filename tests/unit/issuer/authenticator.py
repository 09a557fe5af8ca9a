"""An authenticator in software: makes passkeys and uses them, well or as an attacker would."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

UP, UV, AT = 0x01, 0x04, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    """One device with one passkey; `origin` is what the browser says."""

    def __init__(self, origin: str, rp_id: str) -> None:
        self.origin = origin
        self.rp_id = rp_id
        self.key = generate_private_key(SECP256R1())
        self.credential = secrets.token_bytes(32)
        self.user = b""
        self.count = 0

    def create(self, options: str | dict[str, Any], *, flags: int = UP | UV, form: str = "none", **client: Any) -> str:
        """What `navigator.credentials.create` gives; `client`: what is different in the client data."""
        asked = json.loads(options) if isinstance(options, str) else options
        self.user = unb64(asked["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        data = self._data(flags | AT) + bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential + cose
        answer = {
            "clientDataJSON": b64(self._client("webauthn.create", asked["challenge"], client)),
            "attestationObject": b64(cbor2.dumps({"fmt": form, "attStmt": {}, "authData": data})),
            "transports": ["internal"],
        }
        return self._answer(answer)

    def get(
        self, options: str | dict[str, Any], *, flags: int = UP | UV, user: bytes | None = None, **client: Any
    ) -> str:
        """What `navigator.credentials.get` gives."""
        asked = json.loads(options) if isinstance(options, str) else options
        self.count += 1
        client_data = self._client("webauthn.get", asked["challenge"], client)
        data = self._data(flags)
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ECDSA(SHA256()))
        answer = {
            "clientDataJSON": b64(client_data),
            "authenticatorData": b64(data),
            "signature": b64(signature),
            "userHandle": b64(self.user if user is None else user),
        }
        return self._answer(answer)

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str, changes: dict[str, Any]) -> bytes:
        data = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **changes}
        return json.dumps(data).encode()

    def _answer(self, response: dict[str, Any]) -> str:
        return json.dumps(
            {"id": b64(self.credential), "rawId": b64(self.credential), "type": "public-key", "response": response}
        )
