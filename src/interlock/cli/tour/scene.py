"""The tour's node: a folder of its own, the product as its users run it, and a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from types import TracebackType
from typing import Any

from interlock.cli.tour.issuer import AUDIENCE, ISSUER, Issuer, Partner
from interlock.cli.tour.own import Program
from interlock.errors import NodeError

START = 30  # seconds
COMMAND = 30
CALL = 10
FILE = """\
version: 1
workers: 2
admin: 127.0.0.1:{admin}
listeners:
  - {{address: 127.0.0.1:{plain}, tls: off}}
  - {{address: 127.0.0.1:{tls}, tls: auto, client_certificates: optional}}
issuer: {{url: "http://127.0.0.1:{plain}"}}
trust:
  partners: {{ca: partners.pem, principal: san-uri}}
services:
  orders: {{upstreams: ["{upstream}"]}}
routes:
  - match: GET /orders
    service: orders
    authenticate: [api_key, jwt]
    allow: orders:read
    limit: none
  - match: GET /ledger
    service: orders
    authenticate: [api_key, jwt]
    allow: orders:audit
    limit: none
  - match: GET /limited
    service: orders
    authenticate: [api_key]
    allow: orders:read
    limit: 3/h per key
  - match: GET /bound
    service: orders
    authenticate: [jwt+mtls]
    trust: partners
    allow: orders:read
    limit: none
roles:
  reader: [orders:read]
  auditor: [orders:audit]
identity:
  issuers:
    - issuer: {issuer}
      audience: {audience}
      algorithms: [RS256]
      jwks: jwks.json
      roles: {{from: groups, map: {{Readers: reader}}}}
"""


class Scene:
    """One running node in `folder`, ended with the context."""

    def __init__(self, folder: Path, upstream_url: str) -> None:
        self.folder = folder
        self.issuer = Issuer()
        self.partner = Partner(folder)
        self.file = folder / "interlock.yaml"
        self.data = folder / "interlock-data"
        self.log = folder / "node.log"
        self.statuses: list[int] = []  # what each call was answered
        self.asked = 0  # calls to the node's own issuer
        self.nonce = ""  # that it asked for in proofs
        self._ports = dict(zip(("plain", "tls", "admin"), _free_ports(3), strict=True))
        self._node: subprocess.Popen[bytes] | None = None
        (folder / "jwks.json").write_text(self.issuer.jwks())
        self.file.write_text(FILE.format(upstream=upstream_url, issuer=ISSUER, audience=AUDIENCE, **self._ports))

    def __enter__(self) -> Scene:
        with self.log.open("wb") as log:
            self._node = subprocess.Popen(  # noqa: S603 - our own program, our own words
                self._words("up"), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            self.command("status", "--wait", str(START), patience=START + COMMAND)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Drain the node; gives its exit status."""
        node, self._node = self._node, None
        if node is None:
            return 0
        node.send_signal(signal.SIGTERM)
        try:
            return node.wait(COMMAND)
        except subprocess.TimeoutExpired:
            node.kill()
            return node.wait()

    def command(self, *words: str, patience: float = COMMAND, expect: int | None = 0) -> str:
        """Run a command as a person would; gives what it printed. `expect=None` takes any exit status."""
        done = subprocess.run(self._words(*words), capture_output=True, text=True, timeout=patience, check=False)  # noqa: S603 - our own program, our own words
        if expect is not None and done.returncode != expect:
            raise NodeError(f"interlock {' '.join(words)}: exit {done.returncode}\n{done.stderr}\n{self.tail()}")
        return done.stdout

    def key(self, name: str, role: str) -> dict[str, Any]:
        """Make an API key: `id` and `key`."""
        made: dict[str, Any] = json.loads(self.command("key", "create", name, "--role", role, "--json"))
        return made

    def program(self, name: str, role: str) -> Program:
        """Make a client of the node's own issuer."""
        words = ("client", "create", name, "--grant", "client_credentials", "--role", role, "--json")
        made = json.loads(self.command(*words))
        return Program(made["client_id"], made["client_secret"])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._ports['plain']}{path}"

    def token_of(self, program: Program, *, bound: bool = False) -> str:
        """A token of the node's own issuer; `NodeError` if it gives none."""
        for _ in range(2):  # a node that has just started asks for a nonce in proofs
            proof = program.proof("POST", self.url("/oauth/token"), nonce=self.nonce) if bound else ""
            status, answer = self._ask(program, proof)
            if status == 200:
                return str(answer["access_token"])
        raise NodeError(f"the issuer gave no token: {status} {answer}")

    def _ask(self, program: Program, proof: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["plain"], timeout=CALL)
        known = b64encode(f"{program.client_id}:{program.client_secret}".encode()).decode("ascii")
        headers = {"Authorization": f"Basic {known}", "Content-Type": "application/x-www-form-urlencoded"}
        if proof:
            headers["DPoP"] = proof
        try:
            connection.request("POST", "/oauth/token", "grant_type=client_credentials", headers)
            answer = connection.getresponse()
            self.asked += 1
            self.nonce = answer.headers.get("DPoP-Nonce", self.nonce)
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def call(self, path: str, *, key: str = "", token: str = "", proof: str = "") -> int:
        """A call over plain HTTP; gives the status. With a proof of possession, the token is a bound one."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["plain"], timeout=CALL)
        return self._get(connection, path, key, token, proof)

    def call_tls(self, path: str, *, token: str, certificate: Path | None) -> int:
        """A call over TLS, the server verified against the built-in authority; gives the status."""
        context = ssl.create_default_context(cafile=str(self.data / "pki" / "ca.pem"))
        if certificate is not None:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection("localhost", self._ports["tls"], timeout=CALL, context=context)
        return self._get(connection, path, "", token)

    def _get(self, connection: http.client.HTTPConnection, path: str, key: str, token: str, proof: str = "") -> int:
        headers = {}
        if key:
            headers["X-API-Key"] = key
        if token:
            headers["Authorization"] = f"{'DPoP' if proof else 'Bearer'} {token}"
        if proof:
            headers["DPoP"] = proof
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            self.statuses.append(answer.status)
            return answer.status
        finally:
            connection.close()

    def tail(self) -> str:
        """The last the node said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    @property
    def record(self) -> Path:
        """The folder of the record."""
        return self.folder / "interlock-data" / "record"

    def segments(self) -> list[Path]:
        """The record's files, the largest first."""
        return sorted(
            (self.data / "record" / "segments").glob("*.seg"), key=lambda path: path.stat().st_size, reverse=True
        )

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "interlock", "-c", str(self.file), *words]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
