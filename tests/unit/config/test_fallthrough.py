"""A guarded route that names methods MUST NOT leave the others to a public route that is less specific."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.config import Pattern, find_conflicts, parse_pattern
from interlock.config.fallthrough import find_fall_throughs
from interlock.config.patterns import METHODS
from interlock.gateway.router import Match, Router
from interlock.snapshot import PatternSpec
from tests.unit.config.files import faults, with_routes

GUARDED = "authenticate: [jwt], allow: a:read, service: up, limit: none"
PUBLIC = "allow: public, service: up, limit: none"


def left(guarded: list[str], public: list[str]) -> list[tuple[int, int, str]]:
    patterns = [parse_pattern(text) for text in [*guarded, *public]]
    marks = [False] * len(guarded) + [True] * len(public)
    return [
        (one.guarded, one.public - len(guarded), ",".join(one.methods)) for one in find_fall_throughs(patterns, marks)
    ]


@pytest.mark.parametrize(
    ("guarded", "public", "methods"),
    [
        ("GET,POST /admin/*", "/*", "HEAD,PUT,PATCH,DELETE,OPTIONS"),
        ("GET /a", "GET,POST /*", "POST"),
        ("GET /a/{id}", "POST /a/*", "POST"),
        ("GET /a/b", "POST /a/{x}", "POST"),
        ("GET /a", "PUT /a/*", "PUT"),
        ("api.example.com GET /a", "POST /a", "POST"),
        ("api.example.com GET /a", "*.example.com POST /*", "POST"),
        ("*.example.com GET /a", "*.com POST /a", "POST"),
        ("api.example.com GET /*", "POST /a", "POST"),
    ],
)
def test_what_falls_through(guarded: str, public: str, methods: str) -> None:
    assert left([guarded], [public]) == [(0, 0, methods)]


@pytest.mark.parametrize(
    ("guarded", "public"),
    [
        (["/admin/*"], ["/*"]),  # takes every method
        (["GET /a"], ["GET /*"]),  # the public route has no other methods
        (["GET /a"], ["POST /a"]),  # side by side, on purpose
        (["GET /{x}"], ["POST /{y}"]),
        (["GET /a"], ["/b/*"]),
        (["GET /a/"], ["POST /a/{x}"]),  # a parameter is never empty
        (["GET /a"], ["api.example.com POST /*"]),  # more specific by its host
        (["api.example.com GET /a"], ["www.example.com POST /*"]),
        (["GET /a/*"], ["POST /a"]),  # the public route is the more specific one
        (["GET /admin/*", "/admin/*"], ["/*"]),
        (["GET /admin/*", "HEAD,POST,PUT,PATCH,DELETE,OPTIONS /admin/*"], ["/*"]),
        (["GET /admin/x", "/admin/*"], ["/*"]),
        (["GET /a"], ["POST /a", "GET,POST /*"]),  # the rest is public in so many words
        (["api.example.com GET /a", "api.example.com /*"], ["/*"]),
    ],
)
def test_what_does_not(guarded: list[str], public: list[str]) -> None:
    assert left(guarded, public) == []


def test_a_file_is_told_line_and_remedy(tmp_path: Path) -> None:
    text = with_routes(f"match: '/*', {PUBLIC}", f"match: 'GET,POST /admin/*', {GUARDED}")
    (tmp_path / "jwks.json").write_text("{}")
    (fault,) = faults(text, tmp_path)
    line = next(number for number, words in enumerate(text.splitlines(), 1) if "/admin" in words)
    assert fault.line == line
    assert "DELETE" in fault.message
    assert f"line {line - 1}" in fault.message
    assert "leave the methods out" in fault.hint
    mended = with_routes(
        f"match: '/*', {PUBLIC}",
        f"match: 'GET,POST /admin/*', {GUARDED}",
        f"match: 'HEAD,PUT,PATCH,DELETE,OPTIONS /admin/*', {GUARDED}",
    )
    assert faults(mended, tmp_path) == []


SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}"]), max_size=2)
PATHS = [path for length in range(4) for path in product(("a", "b", "zz"), repeat=length)]
HOSTS = ("h.example.com", "other.example.com", "else.where")


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    path = "/".join(f"{{x{i}}}" if text == "{x}" else text for i, text in enumerate(draw(SEGMENTS)))
    end = draw(st.sampled_from(["", "/*"]))
    methods = draw(st.sampled_from(["", "GET ", "GET,POST ", "PUT "]))
    host = draw(st.sampled_from(["", "", "h.example.com ", "*.example.com "]))
    return parse_pattern(f"{methods}{host}/{path}{end}".replace("//", "/"))


def holds(pattern: Pattern, host: str, path: tuple[str, ...]) -> bool:
    """Whether a pattern takes a call but for its method."""
    if pattern.host.startswith("*") and not host.endswith(pattern.host[1:]):
        return False
    if pattern.host and not pattern.host.startswith("*") and pattern.host != host:
        return False
    if len(path) != len(pattern.segments) and not (pattern.prefix and len(path) > len(pattern.segments)):
        return False
    return all(
        not isinstance(mine, str) or mine == theirs for mine, theirs in zip(pattern.segments, path, strict=False)
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(patterns(), st.booleans()), min_size=2, max_size=5))
def test_in_a_file_without_findings_no_call_falls_through(given_: list[tuple[Pattern, bool]]) -> None:
    """Held against the gateway's own router."""
    all_ = [pattern for pattern, _ in given_]
    public = [mark for _, mark in given_]
    if find_conflicts(all_) or find_fall_throughs(all_, public):
        return
    router = Router.build(
        (
            number,
            PatternSpec(
                None if one.methods is None else sorted(one.methods),
                one.host,
                one.texts(),
                one.prefix,
            ),
        )
        for number, one in enumerate(all_)
    )
    for host, path, method in product(HOSTS, PATHS, METHODS):
        found = router.match(method, host, path)
        if not isinstance(found, Match) or not public[found.route]:
            continue
        taker = all_[found.route]
        for number, one in enumerate(all_):
            if not public[number] and holds(one, host, path):
                assert not less_specific(taker, one), f"{method} {host} {path}: {taker.text} before {one.text}"


def less_specific(one: Pattern, other: Pattern) -> bool:
    """By its host, or by its paths: they hold all of the other's and more, or some of them."""
    rank = [0 if not pattern.host else 1 if pattern.host.startswith("*") else 2 for pattern in (one, other)]
    mine = {path for path in PATHS if holds(one, one.host.replace("*", "h") or HOSTS[0], path)}
    theirs = {path for path in PATHS if holds(other, other.host.replace("*", "h") or HOSTS[0], path)}
    if rank[0] != rank[1]:
        return rank[0] < rank[1] and (mine >= theirs or mine <= theirs)
    return mine > theirs


def test_the_work_does_not_grow_with_the_square() -> None:
    guarded = [f"GET /r{number}/{{x}}" for number in range(5000)]
    public = [f"POST /r{number}/*" for number in range(5000)]
    assert len(left(guarded, public)) == 5000
