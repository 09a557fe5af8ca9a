"""API keys: looked up by a keyed hash, remembered until anything changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.errors import StateError
from interlock.identity import (
    KeyEntry,
    RoleTable,
    decode_key_entry,
    encode_key_entry,
    key_handle,
    principal_handle,
)
from interlock.keys import mint
from interlock.model import Identity, Reason
from tests.unit.identity.fakes import NOW, SOURCE, Desk, identity, reason


def entry(**members: Any) -> bytes:
    made = {"principal": "service:interlock/billing", "roles": [], "networks": [], "not_before": 0, "expires": 0}
    return encode_key_entry(KeyEntry(**{"id": "abcdefghij", **made, **members}))


def test_a_known_key_names_its_bearer() -> None:
    desk = Desk()
    key_id, text = desk.directory.mint()
    who = identity(desk.keys.verify(text, SOURCE, NOW))
    assert who.text == "service:interlock/billing"
    assert who.methods == ("api_key",)
    assert who.permissions == {"accounts:read"}
    assert who.credential == key_id
    assert who.handles == (key_handle(key_id), principal_handle("service:interlock/billing"))


def test_our_own_roles_may_be_reserved_ones() -> None:
    desk = Desk()
    _, text = desk.directory.mint(roles=["interlock:admin"])
    assert identity(desk.keys.verify(text, SOURCE, NOW)).permissions == {"everything"}


def test_an_unknown_key_is_refused() -> None:
    assert reason(Desk().keys.verify(mint()[1].encode(), SOURCE, NOW)) is Reason.KEY_UNKNOWN


@pytest.mark.parametrize("change", [b"", b"x", b"\xff" * 64, b"ilk_", b" "])
def test_what_is_no_key_is_not_even_looked_up(change: bytes) -> None:
    desk = Desk()
    _, text = desk.directory.mint()
    for presented in (change, text + change if change else text[:-1], text.upper(), text[:-1] + b"?"):
        assert reason(desk.keys.verify(presented, SOURCE, NOW)) is Reason.KEY_UNKNOWN
    assert desk.directory.finds == 0


def test_a_typing_error_is_told_by_the_checksum() -> None:
    desk = Desk()
    _, text = desk.directory.mint()
    for position in range(4, len(text)):
        changed = bytearray(text)
        changed[position] = ord("a") if changed[position] != ord("a") else ord("b")
        assert reason(desk.keys.verify(bytes(changed), SOURCE, NOW)) is Reason.KEY_UNKNOWN


def test_dates_are_looked_at_on_every_call() -> None:
    desk = Desk()
    _, text = desk.directory.mint(not_before=NOW, expires=NOW + 10)
    assert reason(desk.keys.verify(text, SOURCE, NOW - 1)) is Reason.KEY_EXPIRED
    assert isinstance(desk.keys.verify(text, SOURCE, NOW), Identity)
    assert isinstance(desk.keys.verify(text, SOURCE, NOW + 9), Identity)
    assert reason(desk.keys.verify(text, SOURCE, NOW + 10)) is Reason.KEY_EXPIRED


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("2001:db8::1%eth0", True),
        ("", False),
        ("unix", False),
    ],
)
def test_networks(address: str, allowed: bool) -> None:
    desk = Desk()
    _, text = desk.directory.mint(networks=["192.0.2.0/24", "2001:db8::/32"])
    for _ in range(2):  # the second answer is the remembered one
        result = desk.keys.verify(text, address, NOW)
        assert isinstance(result, Identity) if allowed else reason(result) is Reason.CREDENTIAL_NETWORK


def test_addresses_remembered_per_key_are_bounded() -> None:
    desk = Desk()
    _, text = desk.directory.mint(networks=["10.0.0.0/8"])
    for number in range(300):
        desk.keys.verify(text, f"10.0.{number // 256}.{number % 256}", NOW)
    assert len(desk.keys.entries[text].allowed) <= 64


@pytest.mark.parametrize("what", ["key", "principal"])
def test_revocation_holds_on_the_next_call(what: str) -> None:
    desk = Desk()
    key_id, text = desk.directory.mint()
    desk.keys.verify(text, SOURCE, NOW)
    desk.directory.revoke(key_handle(key_id) if what == "key" else principal_handle("service:interlock/billing"))
    assert reason(desk.keys.verify(text, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED
    assert reason(desk.keys.verify(text, SOURCE, NOW)) is Reason.CREDENTIAL_REVOKED


def test_a_changed_entry_holds_on_the_next_call() -> None:
    """A rotation shortens the old key's life; the entry that follows replaces the one remembered."""
    desk = Desk()
    _, text = desk.directory.mint()
    desk.keys.verify(text, SOURCE, NOW)
    desk.directory.add(text, entry(expires=NOW + SECOND))
    assert isinstance(desk.keys.verify(text, SOURCE, NOW), Identity)
    assert reason(desk.keys.verify(text, SOURCE, NOW + SECOND)) is Reason.KEY_EXPIRED


def test_an_entry_that_is_gone_is_forgotten() -> None:
    desk = Desk()
    _, text = desk.directory.mint()
    desk.keys.verify(text, SOURCE, NOW)
    desk.directory.keys.clear()
    desk.directory.epoch += 1
    assert reason(desk.keys.verify(text, SOURCE, NOW)) is Reason.KEY_UNKNOWN


def test_a_remembered_key_costs_no_lookup() -> None:
    desk = Desk()
    _, text = desk.directory.mint()
    first = desk.keys.verify(text, SOURCE, NOW)
    finds = desk.directory.finds
    assert desk.keys.verify(text, SOURCE, NOW) is first
    assert desk.directory.finds == finds
    desk.directory.epoch += 1
    assert desk.keys.verify(text, SOURCE, NOW) is first  # same entry, same identity: counters and caches hold
    assert desk.directory.finds == finds + 1


def test_changed_roles_are_applied() -> None:
    desk = Desk()
    _, text = desk.directory.mint()
    desk.keys.verify(text, SOURCE, NOW)
    desk.keys.configure(RoleTable({"teller": ["other"]}))
    assert identity(desk.keys.verify(text, SOURCE, NOW)).permissions == {"other"}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["only"]),
        entry()[:-1],
        entry(principal="nobody"),
        entry(principal="user:a"),
        entry(networks=["not a network"]),
        entry(networks=["10.0.0.1/8"]),
    ],
)
def test_a_damaged_entry_refuses(value: bytes) -> None:
    desk = Desk()
    text = mint()[1].encode()
    desk.directory.add(text, value)
    assert reason(desk.keys.verify(text, SOURCE, NOW)) is Reason.KEY_UNKNOWN


def test_the_entry_on_disk() -> None:
    """Byte by byte, and what a later version adds at the end is ignored."""
    value = encode_key_entry(KeyEntry("id", "user:a/b", ["r"], ["10.0.0.0/8"], 1, 2, 3))
    assert value == b"\x97\xa2id\xa8user:a/b\x91\xa1r\x91\xaa10.0.0.0/8\x01\x02\x03"
    longer = b"\x98" + value[1:] + b"\xc0"
    assert decode_key_entry(longer) == decode_key_entry(value)
    before = b"\x96" + value[1:-1]
    assert decode_key_entry(before).created == 0
    with pytest.raises(StateError):
        decode_key_entry(value[:-1])
