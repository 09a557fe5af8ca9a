"""API key material."""

from __future__ import annotations

import re

import pytest

from interlock.keys import lookup_hash, mint, well_formed


def test_the_shape() -> None:
    key_id, text = mint()
    assert re.fullmatch(r"ilk_[a-z2-7]{10}_[A-Za-z0-9_-]{43}[a-z2-7]{6}", text)
    assert text[4:14] == key_id
    assert len(text) == 64
    assert well_formed(text.encode())


def test_no_two_are_alike() -> None:
    keys = [mint() for _ in range(2000)]
    assert len({text for _, text in keys}) == 2000
    assert len({key_id for key_id, _ in keys}) == 2000


def test_keys_that_were_handed_out_stay_good() -> None:
    assert well_formed(b"ilk_aaaaaaaaaa_" + b"A" * 43 + b"mvomao")
    assert lookup_hash(bytes(32), b"x").hex() == "4cbc96099a6467ce002461f10549b4898265ebe6188b45efacc44293516e62c4"


def test_one_changed_character_is_noticed() -> None:
    _, text = mint()
    for at in range(len(text)):
        for other in "aA2_~":
            if other != text[at]:
                assert not well_formed((text[:at] + other + text[at + 1 :]).encode())


@pytest.mark.parametrize("wrong", [b"", b"ilk_", b"\xff" * 64, b"ilk_" + b"a" * 60])
def test_what_is_no_key(wrong: bytes) -> None:
    assert not well_formed(wrong)


def test_white_space_and_length_matter() -> None:
    _, text = mint()
    for wrong in (text + "\n", " " + text, text[:-1], text + "a"):
        assert not well_formed(wrong.encode())


def test_the_hash_depends_on_key_and_text() -> None:
    assert len(lookup_hash(b"k" * 32, b"text")) == 32
    assert lookup_hash(b"k" * 32, b"text") == lookup_hash(b"k" * 32, b"text")
    assert lookup_hash(b"k" * 32, b"text") != lookup_hash(b"l" * 32, b"text")
    assert lookup_hash(b"k" * 32, b"text") != lookup_hash(b"k" * 32, b"texs")
