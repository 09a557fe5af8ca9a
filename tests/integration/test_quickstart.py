"""The quickstart as a newcomer meets it: started, every printed command pasted, ended with Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
LAST_LINE = "Ctrl-C stops everything."


class Quickstart:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "examples/quickstart/run.py"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.errors: list[str] = []
        threading.Thread(target=self._read_errors, daemon=True).start()
        self.text = self._read_text()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def _read_text(self) -> str:
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith(LAST_LINE):
                return "".join(lines)
        pytest.fail(f"it ended early with {self.process.wait(10)}:\n{''.join(lines)}{''.join(self.errors)}")

    def commands(self) -> list[tuple[str, str]]:
        """Each command with the comment above it."""
        return re.findall(r"^# (.+)\n(\S.*)$", self.text, re.MULTILINE)


@pytest.fixture(scope="module")
def quickstart() -> Iterator[Quickstart]:
    started = Quickstart()
    yield started
    if started.process.poll() is None:
        started.process.terminate()
        started.process.wait(60)


def paste(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_curl_command_answers_as_its_comment_says(quickstart: Quickstart) -> None:
    checked = 0
    for comment, command in quickstart.commands():
        if not command.startswith("curl "):
            continue
        expected = re.search(r": (\d{3})", comment)
        assert expected is not None, f"the comment says no status: {comment}"
        answer = paste(command)
        assert answer.split()[1] == expected[1], f"{command}\n{answer}"
        checked += 1
    assert checked == 5


def test_the_record_knows_the_calls_and_is_sound(quickstart: Quickstart) -> None:
    commands = dict(quickstart.commands())
    (query,) = [command for command in commands.values() if " audit query " in command]
    (verify,) = [command for command in commands.values() if " audit verify" in command]
    url = re.search(r"gateway +(\S+)", quickstart.text)
    assert url is not None
    paste(f"curl -s -o /dev/null {url[1]}/accounts/unseen-until-now")
    calls = [json.loads(line) for line in paste(query).splitlines()]
    assert "/accounts/unseen-until-now" in {call["resource"] for call in calls}
    paste(verify)


def test_interrupt_ends_everything_cleanly(quickstart: Quickstart) -> None:
    os.kill(quickstart.process.pid, signal.SIGINT)
    assert quickstart.process.wait(60) == 0, "".join(quickstart.errors)
    for port in map(int, re.findall(r"^  \w.*http://127\.0\.0\.1:(\d+)", quickstart.text, re.MULTILINE)):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still served"
    left = [path.read_bytes().replace(b"\0", b" ") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in left if b"examples/quickstart" in line]
    assert "Traceback" not in "".join(quickstart.errors)
