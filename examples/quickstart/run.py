"""`make run`: a real upstream with Interlock before it, and everything needed to try it with curl.

Each start is a fresh one: what an earlier run left in `.quickstart/` is removed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from joserfc import jwt
from joserfc.jwk import ECKey

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / ".quickstart"
INTERLOCK = Path(sys.executable).with_name("interlock")
UPSTREAM, GATEWAY, ADMIN = 9000, 8080, 9443  # the ports that interlock.yaml names
ISSUER, AUDIENCE = "https://login.quickstart.example", "accounts"


class Stop(Exception):
    """Ctrl-C or a signal to end."""


def give_up(text: str) -> NoReturn:
    print(f"quickstart: {text}", file=sys.stderr)
    raise SystemExit(1)


class Place:
    """Where this run is served: as interlock.yaml says, or on other ports where those are taken."""

    def __init__(self) -> None:
        self.ports = {port: port if _is_free(port) else _free_port() for port in (UPSTREAM, GATEWAY, ADMIN)}
        self.file = HERE / "interlock.yaml"
        taken = {wanted: port for wanted, port in self.ports.items() if wanted != port}
        if taken:
            changes = ", ".join(f"{port} is taken, using {other}" for port, other in taken.items())
            print(f"ports: {changes}", file=sys.stderr)
            self.file = self._elsewhere(taken)
        self.url = f"http://127.0.0.1:{self.ports[GATEWAY]}"

    def _elsewhere(self, taken: dict[int, int]) -> Path:
        """A copy of the file with other ports, as deep in the tree, so that its relative paths hold."""
        text = self.file.read_text()
        for port, other in taken.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
        folder = SCRATCH / "elsewhere"
        folder.mkdir()
        shutil.copy(HERE / "accounts.openapi.yaml", folder)
        file = folder / "interlock.yaml"
        file.write_text(text)
        return file

    def wait_serving(self, gateway: subprocess.Popen[bytes]) -> None:
        status = subprocess.Popen([INTERLOCK, "-c", self.file, "status", "--wait", "60"], stdout=subprocess.DEVNULL)
        while status.poll() is None:
            if gateway.poll() is not None:
                status.kill()
                give_up("Interlock ended at once")
            time.sleep(0.05)
        if status.returncode:
            give_up("Interlock does not serve after 60 s")

    def interlock(self, *words: str) -> str:
        done = subprocess.run([INTERLOCK, "-c", self.file, *words], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            give_up(f"interlock {' '.join(words)} ended with {done.returncode}")
        return done.stdout


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def outside_issuer() -> str:
    """Stand in for an outside identity provider: a key made on the spot, its public half published, a token signed."""
    folder = SCRATCH / "issuer"
    folder.mkdir()
    key = ECKey.generate_key("P-256", {"kid": "quickstart", "use": "sig", "alg": "ES256"}, private=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "groups": ["Auditors"],
        "iat": now,
        "exp": now + 12 * 3600,
        "jti": os.urandom(8).hex(),
    }
    return jwt.encode({"alg": "ES256", "kid": "quickstart", "typ": "JWT"}, claims, key)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches this process only, which ends the others in their order."""
    return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)


def stop(process: subprocess.Popen[bytes], limit_s: float) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_upstream(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(200):
        if process.poll() is not None:
            give_up("the upstream ended at once")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    give_up("the upstream did not start within 10 s")


def relative(path: Path) -> str:
    """As it can be pasted where `make run` was typed."""
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def show(place: Place, key: str, token: str) -> None:
    command = f"{relative(INTERLOCK)} -c {relative(place.file)}"
    gateway = place.url
    api_key, bearer = f"-H 'X-API-Key: {key}'", f"-H 'Authorization: Bearer {token}'"
    deposit = f"-X POST -H 'Content-Type: application/json' -d '{{\"cents\": 500}}' {gateway}/accounts/a-1001/deposits"
    print(
        f"""
Interlock serves.

  gateway     {gateway}
  upstream    http://127.0.0.1:{place.ports[UPSTREAM]}   (behind it)
  metrics     http://127.0.0.1:{place.ports[ADMIN]}/metrics
  API key     {key}
  file        {relative(place.file)}
  described   {relative(HERE / "accounts.openapi.yaml")}

Paste these into another terminal.

# no credential: 401
curl -i {gateway}/accounts

# an API key with the role teller: 200
curl -i {api_key} {gateway}/accounts/a-1001

# ... which may also write: 200, on disk before it passes
curl -i {api_key} {deposit}

# a JWT of an outside issuer, whose group Auditors is mapped to the role auditor: 200
curl -i {bearer} {gateway}/accounts

# ... which may not write: 403
curl -i {bearer} {deposit}

# who called what, and how it was decided
{command} audit query --limit 10 --json

# is every byte of the record as it was written?
{command} audit verify

Ctrl-C stops everything.
""",
        flush=True,
    )


def run(processes: list[tuple[subprocess.Popen[bytes], float]]) -> int:
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(mode=0o700)
    place = Place()
    token = outside_issuer()
    port, database = place.ports[UPSTREAM], SCRATCH / "accounts.db"
    serve = [sys.executable, str(HERE / "upstream.py"), "--database", str(database), "--port", str(port)]
    upstream = start(serve)
    processes.append((upstream, 5))
    wait_upstream(upstream, port)
    gateway = start([str(INTERLOCK), "-c", str(place.file), "up"])
    processes.append((gateway, 40))
    place.wait_serving(gateway)
    made = place.interlock("key", "create", "quickstart", "--role", "teller", "--expires", "1d", "--json")
    show(place, json.loads(made)["key"], token)
    while upstream.poll() is None and gateway.poll() is None:
        time.sleep(0.2)
    give_up("the upstream ended" if gateway.poll() is None else "Interlock ended")


def main() -> int:
    def on_signal(*_: object) -> NoReturn:
        raise Stop

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    processes: list[tuple[subprocess.Popen[bytes], float]] = []
    try:
        return run(processes)
    except Stop:
        print("\nstopping", file=sys.stderr)
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process, limit_s in reversed(processes):  # Interlock first: calls in progress still have their upstream
            stop(process, limit_s)


if __name__ == "__main__":
    sys.exit(main())
