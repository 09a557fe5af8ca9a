"""Which Python the product is measured on.

Most people run the interpreter of a distribution or an image, built with profile-guided optimisation. One compiled by
hand without it (as pyenv does unless told otherwise) is about a fifth slower on a call; the peers are optimised builds.
So an optimised one is taken if there is one, and the figures say which.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from measure import BenchError
from peers import ROOT, SCRATCH

_ASK = "import sys, sysconfig; assert sys.version_info >= (3, 11); print(sysconfig.get_config_var('CONFIG_ARGS') or '')"


def is_optimised(python: str) -> bool:
    """Built with profile-guided optimisation, as far as it says so itself."""
    done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "--enable-optimizations" in done.stdout


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
    """The product's command, in this environment or in one made for an optimised interpreter."""
    here = str(Path(sys.executable).with_name("interlock"))
    chosen = next((python for python in candidates() if is_optimised(python)), sys.executable)
    if chosen == sys.executable:
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
    """Version and kind of the interpreter that the product runs on."""
    python = str(Path(interlock()).with_name("python"))
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{version} ({'an optimised build' if is_optimised(python) else 'a build without optimisation'})"
