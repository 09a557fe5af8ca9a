"""Compiles the request path while the package is built; everything else of the project stands in pyproject.toml.

The modules named in [tool.interlock] are plain Python and run as such. Compiled by mypyc they need a third less CPU.
Where there is no C compiler or no Python.h, and with INTERLOCK_PURE=1, they stay what they are.

    python setup.py build_ext --inplace      puts the compiled modules beside their sources
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent


def unable() -> str:
    """Why nothing is to be compiled; empty if it can be."""
    if os.environ.get("INTERLOCK_PURE") == "1":
        return "INTERLOCK_PURE=1"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        return f"there is no C compiler ({compiler})"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return "" if header.exists() else f"{header} is not there (a system's own Python has it in python3-dev)"


def modules() -> list[str]:
    """The files that the patterns name; one that names none is a mistake."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["interlock"]["compiled"]
    found: list[str] = []
    for pattern in patterns:
        paths = sorted(ROOT.glob(f"src/interlock/{pattern}"))
        if not paths:
            raise SystemExit(f"pyproject.toml, [tool.interlock] compiled: there is no src/interlock/{pattern}")
        found += [str(path.relative_to(ROOT)) for path in paths]
    return found


def extensions() -> list[Extension]:
    if why := unable():
        print(f"the request path is not compiled: {why}", file=sys.stderr)
        return []
    from mypyc.build import mypycify

    os.environ["MYPYPATH"] = "src"
    return mypycify(
        ["--config-file=", "--ignore-missing-imports", *modules()],
        group_name="interlock",  # names the library they share, interlock__mypyc
        opt_level="2",
        debug_level="0",
    )


setup(ext_modules=extensions())
