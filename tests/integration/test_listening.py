"""The listening sockets: exclusive against others, shared among our own workers."""

from __future__ import annotations

import socket

import pytest

from interlock.errors import NodeError
from interlock.supervisor.sockets import close, listen, split_address

pytestmark = pytest.mark.integration


def test_each_worker_gets_its_own_socket_on_the_same_port() -> None:
    made = listen(["127.0.0.1:0"], 3)
    try:
        names = {own[0].getsockname() for own in made}
        assert len(names) == 1
        assert len({own[0].fileno() for own in made}) == 3
        with socket.create_connection(names.pop(), timeout=5):
            pass
    finally:
        close(made)


@pytest.mark.parametrize("reuse", [False, True])
def test_a_port_that_anybody_has_is_refused(reuse: bool) -> None:
    with socket.socket() as other:
        if reuse:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(NodeError, match="another process listens there"):
            listen([f"127.0.0.1:{other.getsockname()[1]}"], 2)


def test_when_one_address_fails_none_stays_open() -> None:
    with socket.socket() as other, socket.socket() as free:
        other.bind(("127.0.0.1", 0))
        other.listen()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with pytest.raises(NodeError):
            listen([f"127.0.0.1:{port}", f"127.0.0.1:{other.getsockname()[1]}"], 2)
        close(listen([f"127.0.0.1:{port}"], 1))


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(NodeError, match="no such address"):
        listen(["192.0.2.1:8080"], 1)


@pytest.mark.parametrize("address", ["8080", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(NodeError, match="HOST:PORT"):
        split_address(address)


def test_an_ipv6_address() -> None:
    assert split_address("[::1]:8443") == ("::1", 8443)
