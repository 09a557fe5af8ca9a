"""nginx as an upstream: a second HTTP parser, written by others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.integration.node import free_port

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def executable() -> str | None:
    return shutil.which("nginx", path=PATH)


class Nginx:
    """Answers every request and logs what it understood, one line each: method, URI, body length."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = folder / "access.log"
        self.log.touch()
        (folder / "body").mkdir(exist_ok=True)
        config = folder / "nginx.conf"
        user = "user root; " if os.geteuid() == 0 else ""  # the worker too writes to our folder
        config.write_text(
            f"""
daemon off; {user}worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format seen '$request_method $request_uri $request_length $status';
  access_log {self.log} seen; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000;
  server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 "$request_uri"; }} }}
}}
"""
        )
        self._folder, self._config = folder, config
        self._start()

    def _start(self) -> None:
        folder = self._folder
        (folder / "nginx.pid").unlink(missing_ok=True)
        program = executable()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-c", str(self._config), "-p", str(folder), "-e", str(folder / "error.log")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while time.monotonic() < end and not (folder / "nginx.pid").exists():
            time.sleep(0.02)

    def restart(self) -> None:
        """Gracefully: told to terminate, it drops the log lines of answers it has just sent."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self) -> list[str]:
        """`METHOD URI` of each request, as nginx read it."""
        time.sleep(0.1)
        return [" ".join(line.split()[:2]) for line in self.log.read_text(errors="replace").splitlines()]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
