"""The rule, written out slowly, against what finds conflicts quickly."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.config import Param, Pattern, find_conflicts, parse_pattern

VALUES = ("a", "b", "zz")  # "zz" is in no pattern: it stands for every other segment
PATHS = [
    path
    for length in range(5)
    for path in product((*VALUES, ""), repeat=length)
    if "" not in path[:-1] and path != ("",)
]


def matches(pattern: Pattern, path: tuple[str, ...]) -> bool:
    if len(path) != len(pattern.segments) and not (pattern.prefix and len(path) > len(pattern.segments)):
        return False
    return all(
        bool(given_) if isinstance(segment, Param) else segment == given_
        for segment, given_ in zip(pattern.segments, path, strict=False)
    )


def in_conflict(one: Pattern, other: Pattern) -> bool:
    if one.host != other.host:
        return False
    if one.methods is not None and other.methods is not None and not one.methods & other.methods:
        return False
    first = {path for path in PATHS if matches(one, path)}
    second = {path for path in PATHS if matches(other, path)}
    return bool(first & second) and (first == second or not (first < second or second < first))


def conflicting(*texts: str) -> list[tuple[int, int]]:
    return [(conflict.first, conflict.second) for conflict in find_conflicts([parse_pattern(text) for text in texts])]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /a", "GET /a"),
        ("GET /a", "/a"),
        ("GET,POST /a", "POST,PUT /a"),
        ("GET /{x}", "GET /{y}"),
        ("/a/{x}", "/{y}/b"),
        ("/a/*", "/{x}"),
        ("/a/*", "/{x}/b"),
        ("/{x}/b/*", "/a/{y}/b"),
        ("/{x}/b/*", "/a/*"),
        ("api.example.com /a", "API.example.com /a"),
        ("/a/", "/a/"),
        ("/{x}/", "/a/*"),
    ],
)
def test_in_conflict(one: str, other: str) -> None:
    assert conflicting(one, other) == [(0, 1)]
    assert in_conflict(parse_pattern(one), parse_pattern(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GET /a", "POST /a"),
        ("/a", "/b"),
        ("/a", "/{x}"),
        ("/a", "/*"),
        ("/{x}", "/*"),
        ("/a/*", "/*"),
        ("/a/b", "/a/*"),
        ("/a", "/a/"),
        ("/{x}/", "/a/{y}"),
        ("/a/{x}", "/b/{y}"),
        ("api.example.com /a", "/a"),
        ("api.example.com /a", "*.example.com /a"),
        ("GET /a/{x}", "POST /{y}/b"),
    ],
)
def test_not_in_conflict(one: str, other: str) -> None:
    assert conflicting(one, other) == []
    assert not in_conflict(parse_pattern(one), parse_pattern(other))


def test_the_example_is_a_path_that_both_match() -> None:
    (conflict,) = find_conflicts([parse_pattern("/a/{x}/{z}"), parse_pattern("/{y}/b/*")])
    assert conflict.example == "/a/b/x"


SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}"]), max_size=3)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    segments = [f"{{x{i}}}" if text == "{x}" else text for i, text in enumerate(draw(SEGMENTS))]
    end = draw(st.sampled_from(["", "*", "/"])) if segments else draw(st.sampled_from(["", "*"]))
    path = "/" + "/".join(segments) + {"": "", "*": "/*", "/": "/"}[end]
    methods = draw(st.sampled_from(["", "GET ", "GET,POST ", "PUT "]))
    host = draw(st.sampled_from(["", "", "h.example "]))
    return parse_pattern(methods + host + path.replace("//", "/"))


@settings(max_examples=300, deadline=None)
@given(st.lists(patterns(), min_size=2, max_size=6))
def test_conflicts_are_found_if_and_only_if_the_rule_has_them(given_: list[Pattern]) -> None:
    found = {(conflict.first, conflict.second) for conflict in find_conflicts(given_)}
    real = {(i, j) for j in range(len(given_)) for i in range(j) if in_conflict(given_[i], given_[j])}
    assert found <= real
    assert bool(found) == bool(real)


def test_every_pattern_that_repeats_another_is_found() -> None:
    texts = [f"GET /r{number}/{{id}}" for number in range(50)]
    assert conflicting(*texts, *texts) == [(number, number + 50) for number in range(50)]


def test_the_work_does_not_grow_with_the_square() -> None:
    """Two shapes that meet nowhere by method, everywhere by path: 25 million pairs if compared one by one."""
    texts = [f"GET /r{i}/{{x}}" for i in range(5000)] + [f"POST /{{x}}/r{i}" for i in range(5000)]
    asked = 0

    class Counted(frozenset[str]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            return super().__iter__()

    made = [parse_pattern(text) for text in texts]
    counted = [Pattern(Counted(one.methods or ()), one.host, one.segments, one.prefix) for one in made]
    assert find_conflicts(counted) == []
    assert asked <= 5 * len(texts)
