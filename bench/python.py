"""Which Python the product is measured on.

Most people run the interpreter of a distribution or an image, built with profile-guided optimisation. One compiled by
hand without it (as pyenv does unless told otherwise) takes twice as long for a bare loop; the peers are optimised
builds. Not every build says how it was made, so a loop is timed on each that is here, the quickest is taken, and the
figures say which.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from measure import BenchError
from peers import ROOT, SCRATCH

_LOOP = (
    "import sys, timeit; assert sys.version_info >= (3, 11); "
    "print(min(timeit.repeat('for i in range(1000): x = i + 1', number=200, repeat=5)) * 5e3)"
)
CLEARLY = 0.8  # of this interpreter's time: else it is not worth an environment of its own


@cache
def loop_ns(python: str) -> float:
    """Nanoseconds for one turn of a bare loop; infinite for what is no Python we run on."""
    done = subprocess.run([python, "-c", _LOOP], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else math.inf


def candidates() -> list[str]:
    """This interpreter first, then the system's, newest first."""
    found = [sys.executable]
    for minor in (14, 13, 12, 11):
        for place in (None, "/usr/bin:/usr/local/bin"):
            path = shutil.which(f"python3.{minor}", path=place)
            if path is not None and path not in found:
                found.append(path)
    return found


@cache
def interlock() -> str:
    """The product's command, in this environment or in one made for a clearly quicker interpreter."""
    here = str(Path(sys.executable).with_name("interlock"))
    chosen = min(candidates(), key=loop_ns)
    if loop_ns(chosen) > CLEARLY * loop_ns(sys.executable):
        return here
    venv = SCRATCH / "product"
    stamp = venv / ".installed"
    project = ROOT / "pyproject.toml"
    if not stamp.exists() or stamp.stat().st_mtime < project.stat().st_mtime:
        print(f"installing Interlock for {chosen} into .bench/product", flush=True)
        steps = [
            [chosen, "-m", "venv", "--clear", "--without-pip", str(venv)],
            [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "install", "-q", "-e", str(ROOT)],
        ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(f"{' '.join(step)} failed: {done.stderr}")
        stamp.touch()
    return str(venv / "bin/interlock")


def describe() -> str:
    """The interpreter that the product runs on, and how quick it is beside the one that runs the bench."""
    python = str(Path(interlock()).with_name("python"))
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{version} ({loop_ns(python):.0f} ns a turn of a bare loop; the bench's own: {loop_ns(sys.executable):.0f})"
