"""`interlock witness` as a process: over HTTP and TLS, killed under load, bounded, and asked by whoever likes."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from interlock.tlog import WitnessPolicy, parse_cosignatures, parse_note, parse_size, verify_cosignatures
from tests.integration.certificates import Authority
from tests.integration.node import INTERLOCK, PLAIN, eventually, fetch
from tests.integration.witnesses import WitnessProcess
from tests.unit.witness.logs import Log

pytestmark = pytest.mark.integration

SIZE = 3000
LOG = Log().grow(SIZE)
FORK = Log().grow(5).grow(SIZE, "fork ")
PARTS = (b"", b"POST /add-ch", b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")


@pytest.fixture
def make_witness(tmp_path: Path) -> Iterator[Callable[..., WitnessProcess]]:
    made: list[WitnessProcess] = []

    def make(name: str = "w1", *more: str) -> WitnessProcess:
        made.append(WitnessProcess(tmp_path / name, f"witness.example.com/{name}", [LOG.vkey], *more))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def test_it_cosigns_what_goes_on_and_nothing_else(make_witness: Callable[..., WitnessProcess]) -> None:
    witness = make_witness().start()
    answer = witness.post(LOG.request(0, 8))
    assert answer.status_code == 200
    note = parse_note(LOG.checkpoint(8))
    cosigned = note._replace(signatures=parse_cosignatures(answer.content))
    (found,) = verify_cosignatures(cosigned, WitnessPolicy(1, [witness.vkey]))
    assert abs(found.timestamp - time.time()) < 60
    answer = witness.post(LOG.request(0, 9))
    assert (answer.status_code, answer.headers["content-type"]) == (409, "text/x.tlog.size")
    assert parse_size(answer.content) == 8
    assert witness.post(FORK.request(8, 9)).status_code == 422
    assert witness.post(b"x" * 70_000).status_code == 413
    assert witness.post(b"x").status_code == 400
    assert witness.post(Log("example.com/x").grow(1).request(0)).status_code == 404
    assert witness.post(Log(seed=5).grow(1).request(0)).status_code == 403
    assert fetch(f"{witness.url}/add-checkpoint").status_code == 405
    assert httpx.post(f"{witness.url}/other", **PLAIN).status_code == 404
    assert (witness.folder / "key").stat().st_mode & 0o777 == 0o600
    assert "private" not in witness.log.read_text()
    assert witness.stop() in (0, -15)


def test_killed_under_load_it_never_cosigns_two_histories(make_witness: Callable[..., WitnessProcess]) -> None:
    """Two logs under one key race for it; over many kills the trees it cosigned are of one history."""
    witness = make_witness().start()
    cosigned: list[tuple[int, int]] = []  # which log, size
    done, lock = threading.Event(), threading.Lock()

    def push(number: int, log: Log) -> None:
        old = 0
        while not done.is_set():
            size = min(SIZE, old + 1 + number)
            try:
                answer = witness.post(log.request(old, size))
            except httpx.HTTPError:
                time.sleep(0.01)
                continue
            if answer.status_code == 200:
                with lock:
                    cosigned.append((number, size))
                old = size
            elif answer.status_code == 409:
                old = min(SIZE, parse_size(answer.content))
                if old == SIZE:
                    return
            else:
                time.sleep(0.01)

    threads = [threading.Thread(target=push, args=(number, log)) for number, log in enumerate((LOG, FORK))]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.7)
        witness.kill()
        witness.start()
    done.set()
    for thread in threads:
        thread.join()
    assert len(cosigned) > 20
    beyond = {number for number, size in cosigned if size > 5}
    assert len(beyond) == 1, "one history only"
    (winner,) = beyond
    loser = (LOG, FORK)[1 - winner]
    answer = witness.post(LOG.request(SIZE, SIZE))
    known = SIZE if answer.status_code == 200 else parse_size(answer.content)
    assert known >= max(size for _, size in cosigned), "what it answered it remembers"
    if 5 < known < SIZE:
        assert witness.post(loser.request(known, SIZE)).status_code == 422


def test_a_second_one_on_its_folder_does_not_start(make_witness: Callable[..., WitnessProcess]) -> None:
    witness = make_witness().start()
    done = run("--state", str(witness.folder), "--listen", "127.0.0.1:0", "--log", LOG.vkey)
    assert done.returncode == 1
    assert "another witness" in done.stderr
    shown = run("--state", str(witness.folder), "--print-key")
    assert shown.stdout.strip() == witness.vkey


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*INTERLOCK, "witness", *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--log"),
        (("--log", "nonsense"), "verifier key"),
        (("--log", LOG.vkey, "--listen", "0.0.0.0:7380"), "--certificate"),
        (("--log", LOG.vkey, "--listen", "nowhere"), "not an address"),
        (("--log", LOG.vkey, "--certificate", "c.pem"), "together"),
    ],
)
def test_used_wrongly_it_says_how(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run("--state", str(tmp_path / "w"), *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Example" in run("--help").stdout


def test_over_tls(make_witness: Callable[..., WitnessProcess], tmp_path: Path) -> None:
    certificate, key = Authority("witnesses").issue(tmp_path, dns="localhost", name="witness", server=True)
    witness = make_witness("tls", "--certificate", str(certificate), "--key", str(key)).start()
    assert witness.post(LOG.request(0, 8)).status_code == 200


def test_who_sends_slowly_is_cut_off_and_stops_nobody(make_witness: Callable[..., WitnessProcess]) -> None:
    witness = make_witness().start()
    slow = [socket.create_connection(("127.0.0.1", witness.port)) for _ in range(20)]
    for number, one in enumerate(slow):
        one.settimeout(40)
        one.sendall(PARTS[number % 3])
    assert witness.post(LOG.request(0, 8)).status_code == 200
    ended = time.monotonic()
    for one in slow:
        while one.recv(65536):
            pass
    assert time.monotonic() - ended < 35
    assert eventually(witness.answers)
