"""One caller is one caller, however the address is written."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from interlock.addresses import NETWORK, SITE, block, unmapped, within


@pytest.mark.parametrize(
    ("address", "network", "site"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("", "unknown", "unknown"),
        ("not an address", "unknown", "unknown"),
    ],
)
def test_what_is_counted_as_one(address: str, network: str, site: str) -> None:
    assert block(address, NETWORK) == network
    assert block(address, SITE) == site


@pytest.mark.parametrize("mapped", ["::ffff:192.0.2.7", "::FFFF:c000:207", "::ffff:192.0.2.7%eth0"])
def test_a_mapped_address_is_no_way_around_a_network(mapped: str) -> None:
    assert str(unmapped(mapped)) == "192.0.2.7"
    assert within(mapped, [ip_network("192.0.2.0/24")])
    assert not within(mapped, [ip_network("::/0")])


def test_what_is_no_address_lies_nowhere() -> None:
    assert not within("", [ip_network("0.0.0.0/0"), ip_network("::/0")])
    with pytest.raises(ValueError, match="does not appear"):
        unmapped("localhost")
