"""Stands in for the transit engine of Vault and OpenBao, which could not be had where these tests were written.

It is NOT the real server. It is written after the documented HTTP API (`/v1/MOUNT/encrypt/KEY`, `/decrypt/KEY`) and
does real cryptography: AES-256-GCM with associated data, `vault:vN:BASE64` ciphertexts, key versions, a policy per
token, a sealed state, the errors and statuses of the original. What it cannot show is that a real server agrees.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.integration.certificates import Authority


class Vault:
    """One server with TLS on loopback. `ca`: what its callers trust."""

    def __init__(self, folder: Path, token: str = "hvs.CAESIJ7-test-token") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority("vault")
        self.ca = folder / "vault-ca.pem"
        self.ca.write_bytes(authority.pem)
        self.token = token
        self.token_file = folder / "vault-token"
        self.token_file.touch(0o600)
        self.token_file.write_text(token + "\n")
        self.keys: dict[str, list[bytes]] = {}
        self.sealed = 0  # how many requests are still answered 503
        self.asked: list[tuple[str, dict[str, str]]] = []  # paths and header fields
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(folder, dns="localhost", server=True))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def make_key(self, name: str) -> None:
        self.keys[name] = [secrets.token_bytes(32)]

    def rotate(self, name: str) -> None:
        self.keys[name].append(secrets.token_bytes(32))

    def yaml(self, key: str) -> str:
        return f'{{transit: {{url: "{self.url}", key: {key}, token: "${{file:{self.token_file}}}", ca: {self.ca}}}}}'

    def answer(self, path: str, fields: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.sealed:
            self.sealed -= 1
            return 503, {"errors": ["Vault is sealed"]}
        if fields.get("x-vault-token") != self.token:
            return 403, {"errors": ["permission denied"]}
        parts = path.strip("/").split("/")
        if len(parts) != 4 or parts[:2] != ["v1", "transit"] or parts[2] not in ("encrypt", "decrypt"):
            return 404, {"errors": [f"no handler for route {path!r}"]}
        versions = self.keys.get(parts[3])
        if versions is None:
            return 400, {"errors": ["encryption key not found"]}
        associated = base64.b64decode(body.get("associated_data", ""))
        if parts[2] == "encrypt":
            nonce = secrets.token_bytes(12)
            plain = base64.b64decode(body["plaintext"])
            sealed = nonce + AESGCM(versions[-1]).encrypt(nonce, plain, associated)
            text = f"vault:v{len(versions)}:{base64.b64encode(sealed).decode()}"
            return 200, {"data": {"ciphertext": text, "key_version": len(versions)}}
        try:
            word, version, text = body["ciphertext"].split(":")
            sealed = base64.b64decode(text, validate=True)
            if word != "vault":
                raise ValueError
            plain = AESGCM(versions[int(version[1:]) - 1]).decrypt(sealed[:12], sealed[12:], associated)
        except (ValueError, IndexError):
            return 400, {"errors": ["invalid ciphertext: no prefix"]}
        except InvalidTag:
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(plain).decode()}}


def _handler(vault: Vault) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fields = {name.lower(): value for name, value in self.headers.items()}
            vault.asked.append((self.path, fields))
            status, answer = vault.answer(self.path, fields, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler
