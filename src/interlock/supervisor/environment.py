"""Takes secrets out of the environment before the first fork, so that no worker ever had one, and what makes hashes
predictable."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from interlock.config import withdrawn
from interlock.config.fields import Section
from interlock.errors import NodeError

if TYPE_CHECKING:
    from interlock.config import Config, SecretRef


HASH_SEED = "PYTHONHASHSEED"


def withdraw_secrets(config: Config) -> None:
    """Begin this process anew without them, if there are any: the same process id, a new memory. Linux only.

    So it does with a fixed seed of hashes: who knows it can choose field lines that all fall into one place of the
    tables in which workers remember what they met, and each call would wait for the others.
    """
    found = {name: os.environ[name] for name in environment_of(config) if os.environ.get(name)}
    seeded = os.environ.get(HASH_SEED, "random") not in ("random", "") and not sys.flags.ignore_environment
    if not found and not seeded:
        return
    told = {}
    if found:
        fd = withdrawn.keep(found)
        if fd < 0:
            return
        told = {withdrawn.VARIABLE: str(fd)}
    rest = {name: value for name, value in os.environ.items() if name not in found and name != HASH_SEED}
    words = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, words, {**rest, **told})  # noqa: S606 - our own words again
    except OSError as problem:
        named = [*found, *([HASH_SEED] if seeded else [])]
        raise NodeError(
            f"{', '.join(named)} cannot be taken out of the environment: {sys.executable} does not start"
            f" ({problem.strerror}); name a file in its place, ${{file:...}}"
        ) from None


def environment_of(config: Config) -> list[str]:
    """The variables that the file refers to, wherever it does: no worker and no recorder needs any of them."""
    from interlock.config import SecretRef

    found = [secret.name for secret in _references(config, SecretRef) if secret.kind == "env"]
    return list(dict.fromkeys(found))


def _references(value: Any, kind: type[SecretRef]) -> Iterator[SecretRef]:
    """Every reference in a part of the file."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _references(one, kind)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _references(one, kind)
    elif isinstance(value, Section):
        for name in type(value).model_fields:
            yield from _references(getattr(value, name), kind)
    elif hasattr(value, "references"):
        yield from value.references
