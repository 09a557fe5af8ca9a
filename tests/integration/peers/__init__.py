"""Programs of others that run on Node.js, driven by small scripts of ours beside this file.

Their packages are in build/peers, where `make counterparts` puts them. A script speaks in lines of JSON: where a person
has to go, which is answered with where they ended, and at last what came of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = HERE.parents[2] / "build" / "peers" / "node_modules"
PATIENCE = 90  # seconds


class Failed(Exception):
    """The script ended with an error: `said` is what it told of it."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(json.dumps(said))
        self.said = said


def missing(*packages: str) -> str:
    """What is not here of what a script needs; empty: nothing."""
    if shutil.which("node") is None:
        return "node is not here: apt-get install nodejs npm"
    absent = [name for name in packages if not (PACKAGES / name / "package.json").exists()]
    return f"{', '.join(absent)} of npm not in build/peers: make counterparts" if absent else ""


def prepared(folder: Path) -> Path:
    """The scripts where Node.js finds their packages."""
    scripts = folder / "peers"
    if not scripts.exists():
        scripts.mkdir(parents=True)
        (scripts / "node_modules").symlink_to(PACKAGES)
        for script in HERE.glob("*.mjs"):
            shutil.copy(script, scripts)
    return scripts


def environment(ca: str = "") -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "NODE_NO_WARNINGS": "1", **({"NODE_EXTRA_CA_CERTS": ca} if ca else {})}


def play(
    scripts: Path, script: str, scene: str, given: dict[str, Any], *, ca: str, asked: Callable[[dict[str, Any]], str]
) -> dict[str, Any]:
    """Run one scene of a script; gives what came of it. Raises `Failed`. `asked` answers what it asks on its way."""
    with subprocess.Popen(
        ["node", script, scene, json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=scripts,
        env=environment(ca),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stdout:
                said = json.loads(line)
                if "done" in said:
                    found: dict[str, Any] = said["done"]
                    return found
                if "failed" in said:
                    raise Failed(said["failed"])
                process.stdin.write(json.dumps(asked(said)) + "\n")
                process.stdin.flush()
            raise Failed({"message": process.stderr.read()[-2000:]})
        finally:
            process.kill()
