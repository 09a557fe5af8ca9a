"""The authorization server beside `oidc-provider` (Node.js): tokens of programs, and questions about tokens.

Both sign JWT access tokens with ES256 for a client that authenticates by its secret, and answer RFC 7662 questions.
Interlock does so through the gateway, with every call and every token on its encrypted record; oidc-provider keeps what
it must in the memory of one process, as it comes, and writes nothing down. Both are up on one core, of which only the
one that is called needs any; the load generator has the other. CPU is that of the whole process tree until the record
is sealed.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import GATEWAY_CORE, BenchError, Calls, Sample, cpu_of, in_turn, measure, ratios, run_wrk, stored
from peers import SCRATCH, fresh_folder, running
from product import INTERLOCK, PORT
from report import table

OIDC_PORT = 19030
OIDC = "9.13.3"  # of npm
CONNECTIONS = 32
PIECE, WARM = 2.0, 3.0  # seconds of load at a time, and before the first
FORM = "application/x-www-form-urlencoded"
ASKED = "grant_type=client_credentials"
BOUND = 1.5  # times as many for a CPU second, at least
TOKENS, INTROSPECTION = "tokens", "introspection"

SERVER = """\
import Provider from 'oidc-provider';
import { generateKeyPair, exportJWK } from 'jose';

const port = Number(process.argv[2]);
const { privateKey } = await generateKeyPair('ES256', { extractable: true });
const key = { ...(await exportJWK(privateKey)), alg: 'ES256', use: 'sig', kid: 'bench' };
const formats = { 'urn:jwt': 'jwt', 'urn:opaque': 'opaque' };  // it answers questions about opaque tokens only
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [key] },
  clients: [{
    client_id: 'bench', client_secret: process.argv[3], grant_types: ['client_credentials'], redirect_uris: [],
    response_types: [], token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'ES256',
  }],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:jwt',
      getResourceServerInfo: (_ctx, resource) => ({
        scope: '', audience: resource, accessTokenTTL: 300, accessTokenFormat: formats[resource],
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
provider.listen(port, '127.0.0.1');
"""


@dataclass
class Server:
    """An authorization server that runs; `quiet` is at rest when all it has to do is done."""

    pid: int
    url: str
    client: str
    secret: str
    opaque: str = ""  # what is asked for beside, for a token that it answers questions about
    quiet: Callable[[], object] = lambda: None

    @property
    def headers(self) -> dict[str, str]:
        basic = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        return {"Authorization": f"Basic {basic}", "Content-Type": FORM}

    def endpoints(self) -> tuple[str, str]:
        """Of tokens and of introspection, as the server says itself."""
        with urllib.request.urlopen(f"{self.url}/.well-known/openid-configuration") as answer:
            found = json.load(answer)
        return found["token_endpoint"], found["introspection_endpoint"]

    def post(self, url: str, body: str) -> dict[str, object]:
        request = urllib.request.Request(url, body.encode(), self.headers)
        with urllib.request.urlopen(request) as answer:
            found: dict[str, object] = json.load(answer)
        return found


# -- having and running them ------------------------------------------------------------------------------------------


def install() -> Path:
    """oidc-provider from npm, into a folder of its own."""
    folder = SCRATCH / "oidc"
    if (folder / "node_modules" / "oidc-provider").is_dir():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise BenchError("npm is not here: oidc-provider is measured on Node.js")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
    print("installing oidc-provider into .bench/oidc", flush=True)
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", f"oidc-provider@{OIDC}", "jose"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"npm install failed: {done.stderr[-2000:]}")
    return folder


@contextmanager
def oidc_provider() -> Iterator[Server]:
    folder = install()
    (folder / "server.mjs").write_text(SERVER)
    node = shutil.which("node")
    if node is None:
        raise BenchError("node is not here")
    secret = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
    command = ["env", "NODE_ENV=production", node, str(folder / "server.mjs"), str(OIDC_PORT), secret]
    log = fresh_folder("oidc") / "log"
    with running(command, GATEWAY_CORE, log, OIDC_PORT) as pid:
        yield Server(pid, f"http://127.0.0.1:{OIDC_PORT}", "bench", secret, "&resource=urn:opaque")


@contextmanager
def interlock() -> Iterator[Server]:
    folder = fresh_folder("issuer")
    url = f"http://127.0.0.1:{PORT}"
    file, data = folder / "interlock.yaml", folder / "data"
    limit = "1000000/s per address"
    file.write_text(
        json.dumps(
            {
                "version": 1,
                "workers": 1,
                "data_dir": str(data),
                "admin": f"127.0.0.1:{PORT + 10}",
                "listeners": [{"address": f"127.0.0.1:{PORT}", "tls": "off"}],
                "issuer": {"url": url, "limit": limit},
                "services": {"up": {"upstreams": ["http://127.0.0.1:9"]}},
                "routes": [{"match": "/a", "service": "up", "authenticate": ["jwt"], "allow": "a", "limit": "none"}],
                "roles": {"reader": ["a"]},
            }
        )
    )

    def command(*words: str) -> str:
        done = subprocess.run([*INTERLOCK, "-c", str(file), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"interlock {' '.join(words)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    client = json.loads(command("client", "create", "bench", "--role", "reader", "--json"))

    def sealed() -> object:
        return stored(data / "record")

    with running([*INTERLOCK, "-c", str(file), "up"], GATEWAY_CORE, folder / "log", PORT) as pid:
        command("status", "--wait", "60")
        yield Server(pid, url, client["client_id"], client["client_secret"], quiet=sealed)


# -- measuring them ---------------------------------------------------------------------------------------------------

SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "Interlock": interlock,
    "oidc-provider": oidc_provider,
}


def run(rounds: int, seconds: float, say: Callable[[str], None]) -> str:
    """The table: what a CPU second does. Both servers are up together and are called in turn, piece by piece."""
    rows = []
    pieces = max(6, round(rounds * seconds))
    with ExitStack() as stack:
        servers = {name: stack.enter_context(start()) for name, start in SERVERS.items()}
        asked = {name: _asked(name, server) for name, server in servers.items()}
        for what in (TOKENS, INTROSPECTION):
            say(f"issuer: {what}, {pieces} pieces of load of {PIECE:g} s on each server, in turn")
            for name in servers:
                url, calls = asked[name][what]
                run_wrk(url, CONNECTIONS, WARM, calls)

            def piece(name: str, what: str) -> Sample:
                url, calls = asked[name][what]
                return measure(servers[name].pid, url, CONNECTIONS, PIECE, calls, servers[name].quiet)

            rows += _rows(what, in_turn({name: partial(piece, name, what) for name in servers}, pieces))
    head = [
        "what",
        "server",
        "CPU µs each",
        "range",
        "a CPU second",
        "p50 ms",
        "p99 ms",
        "times as many",
        "middle half",
    ]
    return table(head, rows)


def _rows(what: str, taken: dict[str, list[Sample]]) -> list[list[str]]:
    ours, theirs = taken.values()
    low, middle, high = ratios(theirs, ours)
    rows = []
    for name, samples in taken.items():
        cpu = cpu_of(samples)
        rows.append(
            [
                what,
                name,
                f"{cpu:.0f}",
                f"{min(sample.cpu_us for sample in samples):.0f}-{max(sample.cpu_us for sample in samples):.0f}",
                f"{1e6 / cpu:,.0f}",
                f"{statistics.median(sample.load.p50_us for sample in samples) / 1000:.1f}",
                f"{statistics.median(sample.load.p99_us for sample in samples) / 1000:.1f}",
                *((f"{middle:.2f}", f"{low:.2f}-{high:.2f}") if samples is ours else ("", "")),
            ]
        )
    return rows


def _asked(name: str, server: Server) -> dict[str, tuple[str, Calls]]:
    """The URL and the calls for each of what is measured."""
    tokens, introspection = server.endpoints()
    token = server.post(tokens, ASKED + server.opaque)["access_token"]
    question = f"token={token}"
    if not server.post(introspection, question)["active"]:
        raise BenchError(f"{name} does not know its own token")
    return {
        TOKENS: (tokens, Calls(headers=server.headers, body=ASKED)),
        INTROSPECTION: (introspection, Calls(headers=server.headers, body=question)),
    }
