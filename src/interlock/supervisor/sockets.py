"""The listening sockets: made once, one per address and worker, and kept for as long as the node lives.

A second process can bind an SO_REUSEPORT port without any error, and closing one of several listeners
resets the connections queued on it. So each address is first bound *without* SO_REUSEPORT, which fails if
anybody has it; then every worker gets its own socket, which outlives the worker.
"""

from __future__ import annotations

import errno
import socket

from interlock.errors import NodeError

BACKLOG = 4096


def split_address(address: str) -> tuple[str, int]:
    """`127.0.0.1:8080` or `[::1]:8080` taken apart. Raises `NodeError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise NodeError(f"{address!r} is not of the form HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen(addresses: list[str], workers: int) -> list[list[socket.socket]]:
    """Sockets by worker, each a list in the order of `addresses`.

    Raises `NodeError` if an address is taken, not ours or not permitted; nothing stays open then.
    """
    made: list[list[socket.socket]] = [[] for _ in range(workers)]
    try:
        for address in addresses:
            family, where = _resolve(address)
            where = _probe(address, family, where)
            for own in made:
                own.append(_bound(address, family, where, reuse_port=True))
        for own in made:
            for sock in own:
                sock.listen(BACKLOG)
    except BaseException:
        close(made)
        raise
    return made


def listen_alone(address: str) -> socket.socket:
    """One socket that nobody shares, for the admin listener. Raises `NodeError`."""
    family, where = _resolve(address)
    sock = _bound(address, family, where, reuse_port=False)
    sock.listen(128)
    return sock


def close(sockets: list[list[socket.socket]]) -> None:
    """Close them all; what is queued on them is reset."""
    for own in sockets:
        for sock in own:
            sock.close()


def _resolve(address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as problem:
        raise NodeError(f"cannot listen on {address}: {problem.strerror or problem}") from None
    family, _, _, _, where = found[0]
    return family, (str(where[0]), int(where[1]))


def _probe(address: str, family: socket.AddressFamily, where: tuple[str, int]) -> tuple[str, int]:
    """Bind alone. Gives where, with the port the kernel chose if it was 0."""
    with _bound(address, family, where, reuse_port=False) as sock:
        name = sock.getsockname()
        return str(name[0]), int(name[1])


def _bound(address: str, family: socket.AddressFamily, where: tuple[str, int], *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except OSError as problem:
        sock.close()
        raise NodeError(f"cannot listen on {address}: {_why(problem)}") from None
    return sock


def _why(problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return "another process listens there"
    if problem.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if problem.errno == errno.EACCES:
        return "not permitted (ports below 1024 need CAP_NET_BIND_SERVICE)"
    return problem.strerror or str(problem)
