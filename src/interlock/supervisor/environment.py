"""Takes what opens keys out of the environment before the first fork, so that no worker ever had it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from interlock.config import withdrawn
from interlock.errors import NodeError

if TYPE_CHECKING:
    from interlock.config import Config, SecretRef


def withdraw_secrets(config: Config) -> None:
    """Begin this process anew without them, if there are any: the same process id, a new memory. Linux only."""
    found = {name: os.environ[name] for name in environment_of(config) if os.environ.get(name)}
    if not found:
        return
    fd = withdrawn.keep(found)
    if fd < 0:
        return
    rest = {name: value for name, value in os.environ.items() if name not in found}
    words = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, words, {**rest, withdrawn.VARIABLE: str(fd)})  # noqa: S606 - our own words again
    except OSError as problem:
        raise NodeError(
            f"{', '.join(found)} cannot be taken out of the environment: {sys.executable} does not start"
            f" ({problem.strerror}); name a file in its place, ${{file:...}}"
        ) from None


def environment_of(config: Config) -> list[str]:
    """The variables that the section `keys` refers to."""
    secrets: list[SecretRef] = []
    for source in (config.keys.kek, config.keys.former_kek):
        if source is None:
            continue
        if source.kind == "pkcs11":
            secrets.append(source.pkcs11.pin)
        elif source.kind == "transit":
            secrets.append(source.transit.token)
        else:
            secrets.append(source)
    return [secret.name for secret in secrets if secret.kind == "env"]
