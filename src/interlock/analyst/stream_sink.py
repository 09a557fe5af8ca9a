"""A connection that bytes are written to, over TLS (RFC 5425) or plain TCP to this machine. It has no answers.

A write that succeeds says only that the kernel has the bytes. So after some batches the connection is closed
the way that asks for an answer: we say that nothing follows, and the receiver closes its side once it has
read to that end. Only then does what was sent count as delivered. A receiver that dies before resets the
connection, or never answers; all of it is then sent again.
"""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Sequence

from interlock.analyst.sink import Message, SinkError

SIOCOUTQ = 0x5411  # tcp(7): bytes that the other side has not acknowledged
_PAUSE = 0.01


class StreamSink:
    """One receiver; connects when there is something to send."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None, timeout: float, *, by_closing: bool
    ) -> None:
        self._address = (host, port)
        self._context = context
        self._timeout = timeout
        self._by_closing = by_closing
        self._socket: socket.socket | None = None

    def send(self, batch: Sequence[Message]) -> bool:
        try:
            sock = self._connected()
            sock.sendall(b"".join(message.data for message in batch))
        except TimeoutError:
            self.close()
            raise SinkError("it did not take what was sent in time") from None
        except OSError as error:
            self.close()
            raise SinkError(_reason(error)) from None
        return False

    def confirm(self) -> None:
        sock = self._socket
        if sock is None:
            raise SinkError("the connection broke before what was sent was confirmed")
        try:
            if self._by_closing:
                self._close_politely(sock)
            else:
                self._wait_until_sent(sock)
        except TimeoutError:
            self.close()
            hint = "; if it never closes, say `confirm: sent`" if self._by_closing else ""
            raise SinkError(f"it did not confirm in time{hint}") from None
        except OSError as error:
            self.close()
            raise SinkError(_reason(error)) from None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            if self._ended(self._socket):
                raise ConnectionError("it closed the connection")
            return self._socket
        sock = socket.create_connection(self._address, self._timeout)
        try:
            sock.settimeout(self._timeout)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._address[0])
        except BaseException:
            sock.close()
            raise
        self._socket = sock
        return sock

    @staticmethod
    def _ended(sock: socket.socket) -> bool:
        """Whether the receiver has closed. It has nothing to say, but for TLS's own messages, which are read here."""
        ready = select.poll()
        ready.register(sock, select.POLLIN)
        if not ready.poll(0):
            return False
        before = sock.gettimeout()
        sock.setblocking(False)
        try:
            return sock.recv(4096) == b""
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        finally:
            sock.settimeout(before)

    def _close_politely(self, sock: socket.socket) -> None:
        """Say that nothing follows, and wait until the receiver has read that."""
        plain = sock
        if isinstance(sock, ssl.SSLSocket):
            try:
                plain = sock.unwrap()  # sends close_notify and waits for the receiver's
            except ssl.SSLEOFError:
                self.close()  # it closed without one, after it had read ours
                return
            except OSError as error:
                if error.errno:
                    raise
                self.close()  # the same, as older versions of OpenSSL say it
                return
        self._socket = plain
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(4096):
            pass
        self.close()

    def _wait_until_sent(self, sock: socket.socket) -> None:
        """Wait until the receiver's kernel has everything; elsewhere than on Linux nobody can tell."""
        until = time.monotonic() + self._timeout
        while sys.platform == "linux":
            (waiting,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQ, bytes(4)))
            if not waiting:
                break
            if time.monotonic() > until:
                raise TimeoutError
            time.sleep(_PAUSE)
        if self._ended(sock):
            raise ConnectionError("it closed the connection")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return error.strerror or str(error) or type(error).__name__
