"""A PKCS#11 token in software: SoftHSM 2, installed by apt where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path

import pytest

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
PIN = "83021746"


@cache
def softhsm() -> Path:
    """The module; where it cannot be had the test is skipped, which is said aloud."""
    if not _module() and os.geteuid() == 0 and shutil.which("apt-get"):
        for words in (["install", "-y", "-qq", "softhsm2"], ["update", "-qq"], ["install", "-y", "-qq", "softhsm2"]):
            if not _module():
                subprocess.run(["apt-get", *words], capture_output=True, timeout=300)
    found = _module()
    if found is None or shutil.which("softhsm2-util") is None:
        reason = "SoftHSM is not here and could not be installed (apt-get install softhsm2): no PKCS#11 token is tested"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason)
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: no PKCS#11 token is tested")
    return found


def _module() -> Path | None:
    return next((Path(module) for module in MODULES if Path(module).exists()), None)


class Token:
    """A token of its own for one test. SoftHSM reads `environment` when it is loaded, once in a process."""

    def __init__(self, folder: Path, label: str = "interlock") -> None:
        self.module = softhsm()
        self.folder = folder
        self.label = label
        (folder / "tokens").mkdir(parents=True)
        conf = folder / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self.pin = folder / "pin"
        self.pin.touch(0o600)
        self.pin.write_text(PIN + "\n")
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", PIN)

    def make_key(self, label: str) -> None:
        """In a process of its own, as an operator would: the key is made in the token and cannot leave it."""
        import sys

        script = (
            "import sys, pkcs11\n"
            "from pkcs11 import Attribute, KeyType\n"
            "token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])\n"
            "with token.open(rw=True, user_pin=sys.stdin.read()) as session:\n"
            "    session.generate_key(KeyType.AES, 256, store=True, label=sys.argv[3],\n"
            "        template={Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True})\n"
        )
        self._run(sys.executable, "-c", script, str(self.module), self.label, label, given=PIN)

    def yaml(self, key: str) -> str:
        return f'{{pkcs11: {{module: {self.module}, token: {self.label}, key: {key}, pin: "${{file:{self.pin}}}"}}}}'

    def _run(self, *words: str, given: str | None = None) -> None:
        done = subprocess.run(
            words, input=given, capture_output=True, text=True, env={**os.environ, **self.environment}, timeout=60
        )
        assert done.returncode == 0, done.stderr
