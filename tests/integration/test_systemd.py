"""Under systemd: the unit is well formed, and the service says when it is ready and when it stops."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.supervisor.notify import notify
from tests.integration.conftest import CONFIG
from tests.integration.node import Node
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration

UNIT = Path(__file__).resolve().parents[2] / "examples" / "systemd" / "interlock.service"


def listening(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.settimeout(10)
    return sock


def test_the_unit_is_well_formed(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("platform: systemd-analyze is not here")
    # It looks for the programs; ours are elsewhere than an installation's.
    text = UNIT.read_text().replace("/opt/interlock/bin/interlock", sys.executable)
    unit = tmp_path / "interlock.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    said = done.stdout + done.stderr
    if re.search(r"Failed to (initialize|create|set up) ", said):
        pytest.skip(f"platform: systemd-analyze cannot work here: {said.strip()[:200]}")
    assert done.returncode == 0, said
    assert "interlock.service" not in said, said


def test_nobody_to_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    notify("READY=1")


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_a_notification(monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("platform: no abstract sockets")
    with tempfile.TemporaryDirectory() as folder:
        name = f"{folder}/notify"
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        with listening(f"\0{name}" if abstract else name) as sock:
            notify("READY=1")
            assert sock.recv(1000) == b"READY=1"


def test_a_node_says_when_it_is_ready_and_when_it_stops(make_node: Callable[..., Node], upstream: Upstream) -> None:
    with tempfile.TemporaryDirectory() as folder, listening(f"{folder}/notify") as sock:
        node = make_node(CONFIG.format(url=upstream.url), env={"NOTIFY_SOCKET": f"{folder}/notify"}).start()
        assert sock.recv(1000) == b"READY=1"
        assert node.get("/open/x").status_code == 200
        assert node.stop() == 0
        assert sock.recv(1000) == b"STOPPING=1"
