"""Recovery codes."""

from __future__ import annotations

import pytest

from interlock.issuer.recovery import COUNT, LENGTH, hashed, make
from interlock.keys import FactorKey

KEY = FactorKey(b"k" * 32)


def test_they_are_many_and_hard_to_guess() -> None:
    codes = make() + make()
    assert len(set(codes)) == 2 * COUNT
    assert LENGTH * 5 >= 80  # bits
    assert all(len(code.replace("-", "")) == LENGTH for code in codes)


def test_one_code_however_it_is_typed() -> None:
    code = "0123a-bcdef-ghjkm-npqrs"
    found = hashed(KEY, "a1", code)
    assert found is not None
    assert len(found) == 32
    for typed in (code.upper(), code.replace("-", ""), f" {code} ", code.replace("-", " "), "oI23a-bcdef-ghjkm-npqrs"):
        assert hashed(KEY, "a1", typed) == found


def test_the_same_code_of_somebody_else_is_another() -> None:
    (code, *_) = make()
    assert hashed(KEY, "a1", code) != hashed(KEY, "a2", code)
    assert hashed(FactorKey(b"o" * 32), "a1", code) != hashed(KEY, "a1", code)


@pytest.mark.parametrize("typed", ["", "0123a", "u" * 20, "0" * 21, "\u0660" * 20, "0" * 19 + "\0", "x" * 100_000])
def test_what_is_no_code(typed: str) -> None:
    assert hashed(KEY, "a1", typed) is None
