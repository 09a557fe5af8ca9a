"""Names: no second spelling is another person, or another count of failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.issuer.names import canonical, spelling


@pytest.mark.parametrize(
    "typed",
    ["alice", "ALICE", " Alice\n", "\uff21\uff2c\uff29\uff23\uff25", "ali\u217de", "\U0001d4d0lice", "ALI\u212de"],
)
def test_one_person_however_it_is_typed(typed: str) -> None:
    assert canonical(typed) == "alice"
    assert spelling(typed) == "alice"


def test_signs_that_fold_into_ascii() -> None:
    assert canonical("\u212aarl") == "karl"  # the Kelvin sign
    assert canonical("ro\u017fe") == "rose"  # the long s
    assert canonical("a@Example.COM") == "a@example.com"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "\u0430lice",
        "al ice",
        "alice/admin",
        "alice\0",
        "a\u0300lice",
        ".alice",
        "a" * 65,
        "ali\u0131ce",
        "\u200balice",
    ],
)
def test_what_can_be_nobody(typed: str) -> None:
    assert canonical(typed) is None
    assert isinstance(spelling(typed), str)


@given(st.text(max_size=80))
def test_bringing_a_name_to_its_form_twice_is_the_same_as_once(text: str) -> None:
    once = canonical(text)
    assert once is None or canonical(once) == once
    assert spelling(spelling(text)) == spelling(text) or once is None


@given(st.text(alphabet="abcXYZ09._-@+", min_size=1, max_size=20))
def test_case_never_makes_another_count(text: str) -> None:
    assert spelling(text.upper()) == spelling(text.lower()) == spelling(text)
