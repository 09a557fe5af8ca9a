"""Nonces: good for a while, at the node that made them, and never a second time."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.jose.dpop_nonce import LIFE, PERIOD, Nonces

KEY = b"n" * 32
NOW = 12_345 * PERIOD + 7


def test_a_nonce_is_good_for_its_life_and_not_longer() -> None:
    nonces = Nonces(KEY)
    nonce = nonces.issue(NOW)
    end = nonces.ends(nonce, NOW)
    assert end == 12_345 * PERIOD + LIFE
    assert nonces.ends(nonce, end - 1) == end
    assert nonces.ends(nonce, end) == 0
    assert nonces.ends(nonce, end + 1000 * LIFE) == 0


def test_it_is_the_same_for_all_processes_and_all_who_ask_in_its_period() -> None:
    assert Nonces(KEY).issue(NOW) == Nonces(KEY).issue(NOW + PERIOD - 8)
    assert Nonces(KEY).issue(NOW) != Nonces(KEY).issue(NOW + PERIOD)
    assert Nonces(KEY).ends(Nonces(KEY).issue(NOW), NOW)


def test_another_start_of_the_node_knows_nothing_of_it() -> None:
    assert Nonces(b"m" * 32).ends(Nonces(KEY).issue(NOW), NOW) == 0


def test_none_is_good_before_it_was_made() -> None:
    assert Nonces(KEY).ends(Nonces(KEY).issue(NOW + PERIOD), NOW) == 0


@pytest.mark.parametrize("nonce", ["", "x", "\u00e9" * 30, "A" * 30, "A" * 29, "A" * 31, " " * 30, "A" * 1_000_000])
def test_what_we_did_not_make(nonce: str) -> None:
    assert Nonces(KEY).ends(nonce, NOW) == 0


@given(st.integers(0, 21), st.integers(1, 255))
def test_no_octet_of_it_can_be_changed(at: int, flip: int) -> None:
    """A nonce for another period cannot be made from one that was given."""
    nonce = bytearray(base64.urlsafe_b64decode(Nonces(KEY).issue(NOW) + "=="))
    nonce[at] ^= flip
    made = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()
    assert Nonces(KEY).ends(made, NOW) == 0


def test_one_that_ends_soon_is_renewed() -> None:
    nonces = Nonces(KEY)
    end = nonces.ends(nonces.issue(NOW), NOW)
    assert nonces.renewed(end, NOW) == ""
    later = end - LIFE // 2 + 1
    assert nonces.renewed(end, later) == nonces.issue(later) != nonces.issue(NOW)


def test_its_key_is_not_shown_and_not_short() -> None:
    assert "nnn" not in repr(Nonces(KEY))
    with pytest.raises(ValueError):
        Nonces(b"short")
