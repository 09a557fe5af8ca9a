"""The system behind: accounts in a SQLite database of its own, served over HTTP/1.1 by the standard library.

It knows nothing of Interlock, as most systems do not. It listens on loopback only and trusts whoever reaches it, which
is why Interlock stands before it.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

DESCRIPTION = Path(__file__).with_name("accounts.openapi.yaml")
BODY_LIMIT = 64 * 1024
SEED = [("a-1001", "Ada Lovelace", 125_000), ("a-1002", "Grace Hopper", 98_050), ("a-1003", "Mary Jackson", 4_200)]


class Accounts:
    """The database. Each call opens it anew: the server has a thread per connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._open()) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS accounts "
                "(id TEXT PRIMARY KEY, owner TEXT NOT NULL, balance_cents INTEGER NOT NULL CHECK (balance_cents >= 0))"
            )
            database.executemany("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", SEED)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5)
        database.row_factory = sqlite3.Row
        return database

    def page(self, limit: int) -> list[dict[str, object]]:
        with closing(self._open()) as database:
            rows = database.execute("SELECT * FROM accounts ORDER BY id LIMIT ?", (limit,))
            return [dict(row) for row in rows]

    def get(self, account_id: str) -> dict[str, object] | None:
        with closing(self._open()) as database:
            row = database.execute("SELECT * FROM accounts WHERE id = ?", (account_id,)).fetchone()
            return dict(row) if row else None

    def open_account(self, owner: str) -> dict[str, object]:
        with closing(self._open()) as database, database:
            database.execute("BEGIN IMMEDIATE")
            number = database.execute("SELECT 1001 + count(*) FROM accounts").fetchone()[0]
            database.execute("INSERT INTO accounts VALUES (?, ?, 0)", (f"a-{number}", owner))
            return {"id": f"a-{number}", "owner": owner, "balance_cents": 0}

    def deposit(self, account_id: str, cents: int) -> dict[str, object] | None:
        with closing(self._open()) as database, database:
            database.execute("UPDATE accounts SET balance_cents = balance_cents + ? WHERE id = ?", (cents, account_id))
            row = database.execute("SELECT * FROM accounts WHERE id = ?", (account_id,)).fetchone()
            return dict(row) if row else None


class Bad(Exception):
    """The request is not acceptable; the text says why."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    timeout = 75
    accounts: Accounts

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/health":
            self._answer(HTTPStatus.OK, {"status": "up"})
        elif url.path == "/openapi.yaml":
            self._send(HTTPStatus.OK, "application/yaml", DESCRIPTION.read_bytes())
        elif url.path == "/accounts":
            limit = parse_qs(url.query).get("limit", ["20"])[0]
            if limit.isascii() and limit.isdigit() and 1 <= int(limit) <= 100:
                self._answer(HTTPStatus.OK, {"accounts": self.accounts.page(int(limit))})
            else:
                self._answer(HTTPStatus.BAD_REQUEST, {"error": "limit is a number from 1 to 100"})
        elif match := re.fullmatch(r"/accounts/([^/]+)", url.path):
            self._found(self.accounts.get(match[1]))
        else:
            self._found(None)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        try:
            body = self._body()
            if path == "/accounts":
                owner = body.get("owner")
                if not isinstance(owner, str) or not 1 <= len(owner) <= 200:
                    raise Bad("owner is a text of 1 to 200 characters")
                self._answer(HTTPStatus.CREATED, self.accounts.open_account(owner))
            elif match := re.fullmatch(r"/accounts/([^/]+)/deposits", path):
                cents = body.get("cents")
                if type(cents) is not int or not 1 <= cents <= 100_000_000:
                    raise Bad("cents is a number from 1 to 100000000")
                self._found(self.accounts.deposit(match[1], cents))
            else:
                self._found(None)
        except Bad as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _body(self) -> dict[str, object]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > BODY_LIMIT:
            self.close_connection = True  # what follows could not be told from a next request
            raise Bad("a JSON body with a Content-Length of at most 65536 is needed")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            raise Bad("the body is not JSON") from None
        if not isinstance(body, dict):
            raise Bad("the body is not a JSON object")
        return body

    def _found(self, account: dict[str, object] | None) -> None:
        if account is None:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is no such thing"})
        else:
            self._answer(HTTPStatus.OK, account)

    def _answer(self, status: HTTPStatus, body: dict[str, object]) -> None:
        self._send(status, "application/json", json.dumps(body).encode() + b"\n")

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the record says who called what."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    parser = argparse.ArgumentParser(description="A small accounts system on loopback.")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    Handler.accounts = Accounts(options.database)
    server = Server(("127.0.0.1", options.port), Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    print(f"accounts on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
