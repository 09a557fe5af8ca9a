"""Where commands get their work done: at the running node, or, when none runs, here under the data lock.

Revoking MUST work when the node runs and its control process does not; it is the one act that is then done
beside the node, which the change log and the epoch make safe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import typer

from interlock.errors import NodeError

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.control.paths import Paths

DATA_DIR = re.compile(r"^data_dir[ \t]*:[ \t]+([^#\n]*?)[ \t]*(?:[ \t]#.*)?$", re.MULTILINE)
TOP_LEVEL = re.compile(r"^version[ \t]*:", re.MULTILINE)  # a mapping in block style, as everybody writes it
PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./ +@-]*")
PATIENCE = 10.0  # seconds for another command to end
STARTING = 15.0  # seconds for control to come up
BRIEF = 3.0  # seconds for control to revoke; then it is done without it
# What revokes, and what only reads, is safe while the node's control is down.
REVOKING = frozenset({"key.revoke"}) | {
    f"revoke.{kind}" for kind in ("token", "client", "user", "principal", "session", "key", "certificate", "issuer")
}
READS = frozenset({"audit.query", "audit.sql", "audit.follow", "audit.export", "audit.open"})  # for readers, too
READER_SOCKET = "INTERLOCK_READER_SOCKET"  # where a reader asks who may not even read the file
BESIDE_THE_NODE = REVOKING | {"revoke.list", "key.list", "audit.query", "audit.sql", "audit.follow", "audit.export"}


class Settings:
    """What every command shares: which file is meant."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def of(cls, context: typer.Context) -> Settings:
        """Those of the command that runs."""
        assert isinstance(context.obj, Settings)
        return context.obj

    @cached_property
    def paths(self) -> Paths:
        """Where the node's data is. Needs no faultless file: what revokes MUST work while the file is broken."""
        from interlock.control.paths import Paths

        folder = data_dir_of(self.file)
        return Paths(folder if folder is not None else self.config().data_dir)

    def config(self) -> Config:
        """The file, read and checked. Raises `ConfigError`."""
        from interlock.config import load

        return load(self.file)


def perform(
    settings: Settings,
    op: str,
    arguments: dict[str, Any],
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Have `op` done and give its result. Raises `NodeError` when nobody can do it now."""
    from interlock.control.client import Unanswered, Unreachable
    from interlock.control.lock import DataLock, is_held

    if op in READS and (reader := reader_socket(settings)) is not None:
        return _at_reader_socket(reader, op, arguments, on_row)
    data_dir = settings.paths.data_dir
    if not _may_enter(data_dir):
        raise NodeError(f"{data_dir} belongs to the node's user: nobody else may do this, but root")
    rows = 0

    def passed_on(row: dict[str, Any]) -> None:
        nonlocal rows
        rows += 1
        if on_row is not None:
            on_row(row)

    try:
        return _at_the_node(settings, op, arguments, passed_on)
    except Unreachable as unreachable:
        nobody: NodeError = unreachable
    except Unanswered as unanswered:
        if op not in BESIDE_THE_NODE or rows:
            raise
        nobody = unanswered
    if not is_held(data_dir):
        config = settings.config()
        lock = DataLock.take(data_dir, "a command", wait=PATIENCE)
        try:
            return _here(config, settings.file, op, arguments, passed_on, running=False)
        finally:
            lock.release()
    if op not in BESIDE_THE_NODE:
        raise NodeError(f"{nobody}; it is started again by itself: try in a moment, or look at `interlock status`")
    from interlock.control.reload import read_applied

    return _here(read_applied(settings.paths, settings.file), settings.file, op, arguments, passed_on, running=True)


def reader_socket(settings: Settings) -> Path | None:
    """Where to ask when we may not administer the node; None: at its control socket. Raises `NodeError`."""
    if (named := os.environ.get(READER_SOCKET)) is not None:
        return Path(named)
    if _may_enter(settings.paths.data_dir):
        return None
    from interlock.config import parse

    found = parse(settings.file.read_bytes(), settings.file, look_at_files=False).record.reader_socket
    if found is None:
        owned = f"{settings.paths.data_dir} belongs to the node's user"
        raise NodeError(f"{owned}, and the file names no `record: {{reader_socket: ...}}`")
    return found


def _may_enter(data_dir: Path) -> bool:
    """Whether we may administer what is there: ours, or not there yet."""
    try:
        os.close(os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _at_reader_socket(
    path: Path, op: str, arguments: dict[str, Any], on_row: Callable[[dict[str, Any]], None] | None
) -> dict[str, Any]:
    from interlock.control.client import Client, Unreachable

    try:
        return Client.at(path).call(op, arguments, on_row)
    except Unreachable as nobody:
        raise NodeError(f"{path}: {nobody}") from None


def ask_node(settings: Settings, op: str) -> dict[str, Any]:
    """Have the running node do `op`, which makes no sense without one. Raises `NodeError` when none runs."""
    from interlock.control.client import Unreachable
    from interlock.control.lock import is_held

    try:
        return _at_the_node(settings, op, {}, None)
    except Unreachable as nobody:
        if is_held(settings.paths.data_dir):
            raise NodeError(f"{nobody}; it is started again by itself: look at `interlock status`") from None
        raise NodeError("the node does not run: start it with `interlock up`") from None


def _at_the_node(
    settings: Settings, op: str, arguments: dict[str, Any], on_row: Callable[[dict[str, Any]], None] | None
) -> dict[str, Any]:
    """Ask control; while a node runs, wait for it to come up. Raises `Unreachable`, `Unanswered`."""
    from interlock.control.client import TIMEOUT, Client, Unreachable
    from interlock.control.lock import is_held

    patience = monotonic() + STARTING
    while True:
        try:
            timeout = BRIEF if op in REVOKING else TIMEOUT
            return Client(settings.paths.run).call(op, arguments, on_row, timeout)
        except Unreachable:
            if op in BESIDE_THE_NODE or monotonic() >= patience or not is_held(settings.paths.data_dir):
                raise
            sleep(0.1)  # control comes up after the workers, and again after it was killed


def data_dir_of(file: Path) -> Path | None:
    """The data directory that a file names, found without reading the rest; None if that cannot be told so."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = DATA_DIR.findall(text)
    if not found:
        default = file.absolute().parent / "interlock-data"
        return default if TOP_LEVEL.search(text) or default.is_dir() else None
    if len(found) > 1:
        return None
    value = found[0].strip()
    if value[:1] == value[-1:] and value[:1] in ("'", '"') and "\\" not in value:
        value = value[1:-1]
    elif not PLAIN.fullmatch(value):
        return None
    return Path(os.path.normpath(file.absolute().parent / value))


def _here(
    config: Config,
    file: Path,
    op: str,
    arguments: dict[str, Any],
    on_row: Callable[[dict[str, Any]], None],
    *,
    running: bool,
) -> dict[str, Any]:
    from interlock.control.service import Administration
    from interlock.control.wire import os_actor, own_peer

    with Administration.open(file, config, writer="cli", running=running) as administration:
        return administration.perform(op, arguments, os_actor(), on_row, own_peer())
