"""A real upstream for tests: a threaded HTTP/1.1 server on h11 that remembers exactly what it was sent.

It parses with h11, a second parser than the gateway's, so that a request that two parsers read
differently shows. Paths choose its behaviour; everything else is echoed as JSON.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field

import h11


@dataclass
class Seen:
    """One request as the upstream read it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    certificate: bytes = b""  # DER, of whoever called under TLS

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} arrived {len(values)} times"
        return values[0] if values else None


@dataclass
class Upstream:
    """`seen` grows as requests arrive whole; `errors` holds what h11 refused.

    `handshakes` holds the errors of TLS handshakes that failed.
    """

    host: str = "127.0.0.1"
    seen: list[Seen] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    connections: int = 0
    delay: float = 0.0
    tls: ssl.SSLContext | None = None
    handshakes: list[str] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._listening = socket.create_server((self.host, self.port), backlog=512)
        self.port = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        # Certificates are issued for a name.
        return f"https://localhost:{self.port}" if self.tls else f"http://{self.host}:{self.port}"

    def targets(self) -> list[str]:
        return [f"{seen.method} {seen.target}" for seen in self.seen]

    def close(self) -> None:
        self._stopped = True
        self._listening.close()
        for sock in list(self._open):
            sock.close()

    def close_connections(self) -> None:
        """Close every open connection, as an upstream that restarts does."""
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self) -> None:
        while not self._stopped:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                number = self.connections
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except (OSError, ValueError) as problem:
                self.handshakes.append(str(problem))
                sock.close()
                return
        try:
            while self._one(sock, connection, number):
                connection.start_next_cycle()
        except (OSError, h11.LocalProtocolError):
            pass
        except h11.RemoteProtocolError as error:
            self.errors.append(str(error))
        finally:
            self._open.discard(sock)
            sock.close()

    def _next(self, sock: socket.socket, connection: h11.Connection) -> object:
        while True:
            event = connection.next_event()
            if event is not h11.NEED_DATA:
                return event
            connection.receive_data(sock.recv(65536))

    def _one(self, sock: socket.socket, connection: h11.Connection, number: int) -> bool:
        request = self._next(sock, connection)
        if not isinstance(request, h11.Request):
            return False
        body = []
        size = 0
        counting = request.target.startswith((b"/count", b"/deaf"))
        if request.target.startswith(b"/deaf"):
            time.sleep(3)  # reads nothing of the body meanwhile
        if request.target.startswith(b"/answer-first"):
            # Whole and well framed, but the request has not been read, and the connection would stay open.
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
            time.sleep(1)
            return False
        while True:
            event = self._next(sock, connection)
            if isinstance(event, h11.EndOfMessage):
                break
            if not isinstance(event, h11.Data):
                return False
            size += len(event.data)
            if request.target.startswith(b"/die-in-body"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if not counting:
                body.append(bytes(event.data))
        seen = Seen(
            request.method.decode(),
            request.target.decode(),
            [(name.decode(), value.decode("latin-1")) for name, value in request.headers],
            b"".join(body),
            number,
            sock.getpeercert(binary_form=True) or b"" if isinstance(sock, ssl.SSLSocket) else b"",
        )
        self.seen.append(seen)
        if self.delay:
            time.sleep(self.delay)
        return self._answer(sock, connection, seen, size)

    def _answer(self, sock: socket.socket, connection: h11.Connection, seen: Seen, size: int) -> bool:
        path = seen.target.partition("?")[0]
        send = lambda event: sock.sendall(connection.send(event) or b"")  # noqa: E731
        if path.startswith("/status/"):
            send(h11.Response(status_code=int(path.rsplit("/", 1)[1]), headers=[("content-length", "0")]))
            send(h11.EndOfMessage())
        elif path.startswith("/bytes/"):
            total = int(path.rsplit("/", 1)[1])
            send(h11.Response(status_code=200, headers=[("content-length", str(total))]))
            piece = b"x" * 65536
            while total:
                send(h11.Data(data=piece[: min(total, 65536)]))
                total -= min(total, 65536)
            send(h11.EndOfMessage())
        elif path.startswith("/chunked/"):
            send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")]))
            for number in range(int(path.rsplit("/", 1)[1])):
                send(h11.Data(data=b"chunk %d\n" % number))
            send(h11.EndOfMessage())
        elif path.startswith("/many/"):
            send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")]))
            for _ in range(int(path.rsplit("/", 1)[1])):
                send(h11.Data(data=b"x" * 65536))
            send(h11.EndOfMessage())
        elif path.startswith("/slow"):
            time.sleep(2)
            self._whole(send, seen, size)
        elif path == "/sleep":
            time.sleep(30)
        elif path == "/until-close":
            sock.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end")
            return False
        elif path == "/cut":
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            return False
        elif path == "/cut-chunked":
            sock.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n")
            return False
        elif path == "/cut-in-chunk":
            sock.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nonly this")
            return False
        elif path == "/die":
            return False
        elif path == "/nonsense":
            sock.sendall(b"SMTP ready\r\n\r\n")
            return False
        elif path == "/extra":
            sock.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
            )
            time.sleep(0.2)
            return False
        elif path == "/extra-later":
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            time.sleep(0.05)
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
            time.sleep(0.2)
            return False
        elif path == "/early":
            sock.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
            self._whole(send, seen, size)
        elif path == "/revealing":
            headers = [("content-length", "0"), ("server", "Apache/2.4"), ("x-powered-by", "PHP/5"), ("x-runtime", "1")]
            send(h11.Response(status_code=200, headers=headers))
            send(h11.EndOfMessage())
        else:
            self._whole(send, seen, size)
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def _whole(self, send, seen: Seen, size: int) -> None:
        document = {
            "method": seen.method,
            "target": seen.target,
            "headers": seen.headers,
            "body": base64.b64encode(seen.body).decode(),
            "size": size,
            "connection": seen.connection,
        }
        body = json.dumps(document).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-target", seen.target),
        ]
        send(h11.Response(status_code=200, headers=headers))
        if seen.method != "HEAD":
            send(h11.Data(data=body))
        send(h11.EndOfMessage())
