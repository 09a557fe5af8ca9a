"""Where published checkpoints are kept. Each keeps one note when asked, or raises; keeping one twice does no harm.

file:     a copy for each, named by size and time, in a folder that must be there: it may be a mount that is not
https:    PUT or POST of the note, with a bearer token; a 2xx status confirms
git:      one file in a clone, a commit for each, pushed to the clone's first remote if it has one
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from interlock.audit.files import Files, write_aside
from interlock.clock import SECOND
from interlock.config import Publish
from interlock.control.publishing.http import Http
from interlock.errors import NodeError

_SAID: Final = 200  # characters of an answer that are shown
_GIT: Final = (
    "git",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "commit.gpgSign=false",
    "-c",
    "gc.auto=0",
)


class Published(NamedTuple):
    """A checkpoint with its cosignatures."""

    origin: str
    size: int
    signed_ns: int
    note: bytes


class Place(Protocol):
    """Keeps published checkpoints. Errors are `OSError` and `InterlockError`."""

    def keep(self, published: Published) -> None:
        """There when this returns."""
        ...


def make_place(publish: Publish) -> Place:
    """The place that the configuration names; nothing is opened yet."""
    if publish.to.scheme == "file":
        return FilePlace(publish.folder)
    if publish.to.scheme == "git":
        return GitPlace(publish.folder, publish.timeout / SECOND)
    return HttpPlace(publish)


class FilePlace:
    """A folder of dated copies."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self._folder = folder
        self._files = files or Files()

    def keep(self, published: Published) -> None:
        write_aside(self._files, self._folder / copy_name(published), published.note)


def copy_name(published: Published) -> str:
    """Names sort by size, then by time; the end tells logs apart."""
    when = datetime.fromtimestamp(published.signed_ns // SECOND, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{published.size:012}-{when}-{_plain(published.origin)[-8:]}.checkpoint"


def _plain(origin: str) -> str:
    return "".join(character if character.isalnum() and character.isascii() else "-" for character in origin)


class HttpPlace:
    """A URL. The token and the trusted authorities are read for each note."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def keep(self, published: Published) -> None:
        publish = self._publish
        token = publish.token.resolve().decode("latin-1").strip() if publish.token is not None else ""
        http = Http(str(publish.to), publish.ca, publish.timeout / SECOND)
        try:
            status, body = http.send(publish.method, published.note, token)
        finally:
            http.close()
        if not 200 <= status < 300:
            said = " ".join(body[:_SAID].decode("utf-8", "replace").split())
            shown = "".join(character for character in said if character.isprintable())
            raise NodeError(f"it answered {status}{': ' + shown if shown else ''}")


class GitPlace:
    """A clone that is there already. git asks nobody anything, runs no hooks, and is ended when it takes too long."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout

    def keep(self, published: Published) -> None:
        if not (self._folder / ".git").exists():
            raise NodeError(f"{self._folder} is no clone")
        name = f"{_plain(published.origin)}.checkpoint"
        write_aside(Files(), self._folder / name, published.note)
        self._git("add", "--force", "--", name)
        if self._git("status", "--porcelain", "--untracked-files=no", "--", name):
            self._git("commit", "--quiet", "--message", f"{published.size} records", "--", name)
        remotes = self._git("remote").split()
        if remotes:
            self._git("push", "--quiet", remotes[0], "HEAD")

    def _git(self, *words: str) -> str:
        process = subprocess.Popen(  # noqa: S603 - no shell, and no word of it comes from outside
            [*_GIT, *words],
            cwd=self._folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that those that it starts end with it
        )
        try:
            out, said = process.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise NodeError(f"git {words[0]} took too long") from None
        if process.returncode:
            raise NodeError(f"git {words[0]}: {_last_words(said)}")
        return out.decode("utf-8", "replace")


def _last_words(said: bytes) -> str:
    lines: Sequence[str] = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    shown = " ".join(lines)[-_SAID:]
    return "".join(character for character in shown if character.isprintable()) or "it failed"


def _environment() -> dict[str, str]:
    """What git needs, and nothing of what secrets may have come by."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SSH_AUTH_SOCK", "TMPDIR") if name in os.environ
    }
    return {
        "GIT_AUTHOR_NAME": "Interlock",
        "GIT_AUTHOR_EMAIL": "interlock@localhost",
        "GIT_COMMITTER_NAME": "Interlock",
        "GIT_COMMITTER_EMAIL": "interlock@localhost",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        **kept,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
    }
