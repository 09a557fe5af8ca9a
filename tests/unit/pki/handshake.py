"""Real TLS handshakes without a socket: two `ssl.SSLObject`s over memory."""

from __future__ import annotations

import ssl
from pathlib import Path

from interlock.pki import Issued


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands and exchange a byte each way; `ssl.SSLError` of whichever side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (ours, theirs):
            if side not in done:
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
    assert len(done) == 2
    # In TLS 1.3 the client is done before the server has looked at its certificate: only data tells.
    theirs.write(b"s")
    assert ours.read(1) == b"s"
    ours.write(b"c")
    assert theirs.read(1) == b"c"
    return ours, theirs


def server_context(folder: Path, issued: Issued, client_ca: bytes = b"") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write(folder, "server", issued))
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    return context


def client_context(ca: bytes, folder: Path | None = None, issued: Issued | None = None) -> ssl.SSLContext:
    """As strict as a default Python client, and stricter: RFC 5280 to the letter."""
    context = ssl.create_default_context(cadata=ca.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if folder is not None and issued is not None:
        context.load_cert_chain(*write(folder, "client", issued))
    return context


def write(folder: Path, name: str, issued: Issued) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(issued.certificate)
    key.write_bytes(issued.key)
    return certificate, key
