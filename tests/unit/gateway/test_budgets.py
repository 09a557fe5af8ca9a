"""What connections and handshakes one worker has to give, in all and to one network."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.addresses import unmapped
from interlock.gateway.listener import Budgets
from interlock.gateway.peer import network_of
from interlock.snapshot import ConnectionSpec

ONE, TWO, THREE = b"\x7f\0\0\1", b"\x7f\0\0\2", b"\x7f\0\0\3"


def budgets(**settings: Any) -> Budgets:
    return Budgets(msgspec.structs.replace(ConnectionSpec(), **settings))


def test_one_network_takes_no_more_than_its_share() -> None:
    own = budgets(per_worker=100, per_address=3)
    assert [own.connection(ONE) for _ in range(5)] == [True, True, True, False, False]
    assert own.connection(TWO)
    own.release(ONE)
    assert own.connection(ONE)
    assert not own.connection(ONE)
    assert own.connections == 4


def test_all_networks_take_no_more_than_there_is() -> None:
    own = budgets(per_worker=4, per_address=3)
    assert [own.connection(ONE) for _ in range(3)] == [True] * 3
    assert [own.connection(TWO) for _ in range(3)] == [True, False, False]
    assert not own.connection(THREE)
    own.release(ONE)
    assert own.connection(THREE)


def test_a_refused_connection_costs_nothing() -> None:
    own = budgets(per_worker=2, per_address=2)
    for _ in range(10):
        own.connection(ONE)
    assert own.connections == 2
    own.release(ONE)
    own.release(ONE)
    assert own.connections == 0
    assert own.connection(ONE)


def test_one_network_takes_a_quarter_of_the_handshakes() -> None:
    own = budgets(handshakes=8)
    assert [own.handshake(ONE) for _ in range(4)] == [True, True, False, False]
    assert own.handshake(TWO)
    own.shaken(ONE)
    assert own.handshake(ONE)


def test_all_networks_take_no_more_handshakes_than_there_are() -> None:
    own = budgets(handshakes=3)
    assert [own.handshake(bytes([number])) for number in range(5)] == [True, True, True, False, False]
    own.shaken(bytes([0]))
    assert own.handshake(THREE)
    assert own.handshakes == 3


def test_networks_that_are_gone_are_forgotten() -> None:
    """The table of networks holds those that are there, however many have been."""
    own = budgets(per_worker=10, per_address=1, handshakes=10)
    for number in range(10_000):
        network = number.to_bytes(4, "big")
        assert own.connection(network)
        assert own.handshake(network)
        own.shaken(network)
        own.release(network)
    assert own._networks == {}
    assert own._shaking == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_a_network_is_an_address_or_an_ipv6_64(one: str, other: str, same: bool) -> None:
    assert (network_of(unmapped(one)) == network_of(unmapped(other))) is same
