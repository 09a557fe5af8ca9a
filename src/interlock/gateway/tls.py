"""TLS of a listener: one base context, one more per further certificate, chosen by SNI.

A context set in the SNI callback carries its certificate but not its `verify_mode`, so the base context
asks for client certificates (`CERT_OPTIONAL`, against the union of all trust bundles) and each route
verifies the leaf again against its own. Contexts are made in the worker that uses them: a session can be
resumed only where its certificate was verified. They are remade daily, so ticket keys rotate.

The event loop closes a connection whose handshake failed without sending the alert that OpenSSL wrote (RFC 8446
section 6.2), so a caller would see a bare end of the connection. `answering` sees to it that he is told why.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from interlock.snapshot import CertificateSpec, ListenerSpec


class Certificates:
    """The contexts of one listener and which host belongs to which."""

    def __init__(self, spec: ListenerSpec, bundles: Sequence[str], own: bytes = b"") -> None:
        """`own`: private key and certificate of `tls: auto`, PEM."""
        self._specs = spec.certificates
        self._exact: dict[str, int] = {}
        self._suffix: dict[str, int] = {}
        for index, certificate in enumerate(spec.certificates):
            for host in certificate.hosts:
                if host.startswith("*."):
                    self._suffix[host[1:].lower()] = index
                else:
                    self._exact[host.lower()] = index
        self._contexts = [self._context(certificate, spec, bundles, own) for certificate in spec.certificates]
        self.base = self._contexts[0]
        if len(self._contexts) > 1:
            self.base.sni_callback = self._choose

    def entry(self, host: str) -> int:
        """Which certificate entry a host belongs to; the first is for all that are not named."""
        found = self._exact.get(host)
        if found is None and self._suffix:
            found = self._suffix.get(host[host.find(".") :]) if "." in host else None
        return found or 0

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        index = self.entry((name or "").lower())
        if index:
            connection.context = self._contexts[index]

    @staticmethod
    def _context(
        certificate: CertificateSpec, spec: ListenerSpec, bundles: Sequence[str], own: bytes
    ) -> ssl.SSLContext:
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.set_alpn_protocols(["http/1.1"])
        if certificate.key:
            context.load_cert_chain(certificate.certificate, certificate.key)
        else:
            load_pair(context, own)
        if spec.ask_client and bundles:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata="\n".join(bundles))
        return context


@contextmanager
def answering(sock: socket.socket) -> Iterator[None]:
    """What is shaken hands on from here, in this task, is a connection of `sock`."""
    before = _ANSWERING.set(sock)
    try:
        yield
    finally:
        _ANSWERING.reset(before)


_ANSWERING: ContextVar[socket.socket | None] = ContextVar("answering", default=None)
_PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS: the request came without TLS.\n"
)


class _Handshake(ssl.SSLObject):
    """Says why it fails to whom it fails."""

    outgoing: ssl.MemoryBIO
    sock: socket.socket | None = None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as problem:
            last = _PLAIN if problem.reason == "HTTP_REQUEST" else self.outgoing.read()
            if self.sock is not None and last:
                with suppress(OSError):  # he is gone, or takes nothing: then he is not told
                    self.sock.send(last)
            raise
        self.sock = None


class _Context(ssl.SSLContext):
    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, *args, **options)
        assert isinstance(made, _Handshake)
        made.outgoing, made.sock = outgoing, _ANSWERING.get()
        return made


def load_pair(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a key and certificates from memory: OpenSSL wants files, and gets pipes, which leave nothing on a disk."""
    with _readable(pem) as certificate, _readable(pem) as key:
        context.load_cert_chain(certificate, key)


@contextmanager
def _readable(data: bytes) -> Iterator[str]:
    """The name of a file that holds `data`, once, for reading from begin to end. It fits the pipe: 64 KiB."""
    read, write = os.pipe()
    try:
        try:
            os.set_blocking(write, False)
            if os.write(write, data) != len(data):
                raise OSError("a certificate and its key are too large")
        finally:
            os.close(write)
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
