"""The system behind, for the tour: a small HTTP server of the standard library that counts what reaches it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

BODY = b'{"orders": ["42 coffee", "43 tea"]}\n'


class Upstream:
    """Serves on loopback while the context lasts."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.assertions = 0  # calls that carried the gateway's word on who is calling
        self.credentials = 0  # calls that carried the caller's own credential: must stay 0
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.calls.append(self.path)
                upstream.assertions += "Interlock-Identity" in self.headers
                upstream.credentials += "X-API-Key" in self.headers or "Authorization" in self.headers
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(BODY)))
                self.end_headers()
                self.wfile.write(BODY)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
