"""Which step of a call a worker spends its processor time on: samples of its stacks, taken from outside by py-spy.

Every sample belongs to the innermost frame of ours on it, so the shares sum to one. What has no frame of ours (the
kernel, OpenSSL, uvloop) counts for whoever called it; what nobody of ours called is the event loop's. Compiled modules
have no Python frames: theirs are told by the names that mypyc gives to functions, `CPyDef_MODULE___...`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

from measure import LOAD_CORE, BenchError, pin
from peers import SCRATCH

RATE = 400  # samples per second
EVENT_LOOP = "the event loop: poll, accept, receive"
ANSWER = "7. the answer: read from the upstream"
ROOT = Path(__file__).resolve().parents[1]
COMPILED = re.compile(r"CPyDef_([a-z0-9]+(?:_[a-z0-9]+)*?)___")

# The first entry whose path is in the frame's file names its step; the order matters.
STEPS = [
    ("gateway/http1/response", ANSWER),
    ("gateway/http1/", "1. admit: read the request's head and body"),
    ("gateway/paths", "1. admit: path and route"),
    ("gateway/router", "1. admit: path and route"),
    ("gateway/state", "1. admit: path and route"),
    ("interlock/identity/", "2. authenticate"),
    ("interlock/jose/", "2. authenticate"),
    ("interlock/snapshot/replay", "2. authenticate"),
    ("interlock/policy/", "3. authorize"),
    ("interlock/limits/", "4. limit"),
    ("interlock/snapshot/counters", "4. limit"),
    ("gateway/fields", "7. the head for the upstream"),
    ("gateway/assertion", "7. the head for the upstream"),
    ("gateway/calls", "6. and 9. the record: intent and outcome"),
    ("interlock/audit/", "6. and 9. the record: intent and outcome"),
    ("interlock/tlog/", "6. and 9. the record: intent and outcome"),
    ("gateway/upstream", "7. the upstream's connection, sending included"),
    ("gateway/connection", "8. the caller's connection, sending included"),
    ("gateway/meter", "metrics"),
    ("snapshot/metrics", "metrics"),
    ("gateway/call.", "the call itself, between the steps"),
    ("gateway/pipeline", "the call itself, between the steps"),
]


def install() -> Path:
    """py-spy, in the venv of the peers."""
    program = SCRATCH / "venv/bin/py-spy"
    if not program.exists():
        print("installing py-spy into .bench/venv", flush=True)
        subprocess.run([SCRATCH / "venv/bin/pip", "install", "--quiet", "py-spy"], check=True)
    return program


def begin(pid: int, seconds: float, out: Path) -> subprocess.Popen[bytes]:
    """Begin to sample a worker; the process ends by itself."""
    command = [str(install()), "record", "--pid", str(pid), "--duration", f"{max(1, round(seconds))}"]
    command += ["--rate", str(RATE), "--native", "--format", "raw", "--full-filenames", "--output", str(out)]
    return subprocess.Popen(pin(LOAD_CORE, command), stdout=subprocess.DEVNULL, stderr=sys.stderr)


def shares(out: Path) -> dict[str, float]:
    """The share of each step, from a file of `frame;frame;... count` lines, outermost frame first."""
    counted: Counter[str] = Counter()
    for line in out.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        counted[step_of(stack.split(";"))] += int(count)
    total = sum(counted.values())
    if total < 100:
        raise BenchError(f"py-spy took {total} samples of the worker, too few to say anything")
    return {step: count / total for step, count in counted.most_common()}


@cache
def compiled() -> dict[str, str]:
    """The files of the compiled modules, by the last part of their names, as mypyc writes it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["interlock"]["compiled"]
    return {path.stem: str(path) for pattern in patterns for path in (ROOT / "src/interlock").glob(pattern)}


def named(frame: str) -> str:
    """A frame with the file of its module, whether that is compiled or not."""
    found = COMPILED.match(frame)
    return frame if found is None else compiled().get(found[1], frame)


def step_of(stack: list[str]) -> str:
    """The step of one stack: that of its innermost frame that is named above."""
    frames = [named(frame) for frame in stack]
    of_the_answer = any("gateway/upstream" in frame for frame in frames)
    for frame in reversed(frames):
        for path, step in STEPS:
            if path in frame:
                return ANSWER if of_the_answer and "gateway/http1/" in path else step
    return EVENT_LOOP
