"""Routes are found by specificity, and what is found does not depend on how many there are."""

from __future__ import annotations

import gc
import sys
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from interlock.gateway.router import Match, NotAllowed, Router
from interlock.snapshot import PatternSpec


def pattern(path: str, methods: list[str] | None = None, host: str = "") -> PatternSpec:
    segments = path[1:].split("/")
    prefix = segments[-1] == "*"
    if prefix or segments == [""]:
        segments.pop()
    return PatternSpec(methods, host, segments, prefix)


def router(*patterns: PatternSpec) -> Router:
    return Router.build(enumerate(patterns))


def find(routes: Router, path: str, method: str = "GET", host: str = "api.example") -> int | None:
    found = routes.match(method, host, tuple(path[1:].split("/")) if path != "/" else ())
    assert not isinstance(found, NotAllowed)
    return None if found is None else found.route


def test_literals_and_parameters() -> None:
    routes = router(pattern("/"), pattern("/a"), pattern("/a/{x}"), pattern("/a/{x}/b/{y}"))
    assert find(routes, "/") == 0
    assert find(routes, "/a") == 1
    assert routes.match("GET", "h", ("a", "7", "b", "8")) == Match(3, {"x": "7", "y": "8"}, named=False)
    assert find(routes, "/b") is None
    assert find(routes, "/a/7/c/8") is None


def test_trailing_slash_is_another_path() -> None:
    routes = router(pattern("/a"), pattern("/b/"))
    assert find(routes, "/a/") is None
    assert find(routes, "/b/") == 1
    assert find(routes, "/b") is None


def test_parameter_is_never_empty() -> None:
    routes = router(pattern("/a/{x}"), pattern("/b/{x}/*"))
    assert find(routes, "/a/") is None
    assert find(routes, "/b/") is None


def test_prefix_holds_the_folder_and_all_beneath() -> None:
    routes = router(pattern("/a/*"), pattern("/a/b/*"), pattern("/a/b/c"))
    assert [find(routes, path) for path in ("/a", "/a/", "/a/x", "/a/b", "/a/b/", "/a/b/x/y", "/a/b/c", "/ab")] == [
        *(0, 0, 0, 1, 1, 1, 2, None)
    ]


def test_catch_all() -> None:
    routes = router(pattern("/*"))
    assert [find(routes, path) for path in ("/", "/a", "/a/b/c/")] == [0, 0, 0]


def test_literal_before_parameter() -> None:
    routes = router(pattern("/{x}/{y}"), pattern("/a/{y}"), pattern("/a/b"))
    assert [find(routes, path) for path in ("/a/b", "/a/c", "/c/b")] == [2, 1, 0]


def test_a_literal_is_compared_as_it_is() -> None:
    routes = router(pattern("/admin"))
    assert find(routes, "/Admin") is None
    assert find(routes, "/admin ") is None


def test_hosts() -> None:
    routes = router(
        pattern("/a"),
        pattern("/a", host="api.example"),
        pattern("/a", host="*.example"),
        pattern("/a", host="*.eu.example"),
        pattern("/b", host="[::1]"),
    )
    hosts = ("api.example", "x.example", "x.eu.example", "y.x.eu.example", "eu.example", "example", "other")
    assert [find(routes, "/a", host=host) for host in hosts] == [1, 2, 3, 3, 2, 0, 0]
    assert find(routes, "/b", host="[::1]") == 4
    assert find(routes, "/a", host=".example") == 0


def test_a_host_without_the_path_leaves_it_to_wider_ones() -> None:
    routes = router(pattern("/a", host="api.example"), pattern("/b"))
    assert find(routes, "/b") == 1


def test_methods() -> None:
    routes = router(pattern("/a", ["GET"]), pattern("/a", ["POST", "PUT"]), pattern("/{x}", ["DELETE"]), pattern("/b"))
    assert find(routes, "/a", "GET") == 0
    assert find(routes, "/a", "PUT") == 1
    assert find(routes, "/a", "DELETE") == 2
    assert find(routes, "/b", "PATCH") == 3
    assert routes.match("PATCH", "h", ("a",)) == NotAllowed(b"DELETE, GET, POST, PUT")
    assert routes.match("HEAD", "h", ("c",)) == NotAllowed(b"DELETE")


def test_no_routes() -> None:
    assert router().match("GET", "api.example", ("a",)) is None


@pytest.mark.parametrize("count", [1, 1000])
def test_every_one_of_many_is_found(count: int) -> None:
    routes = Router.build(
        (number, pattern(f"/service{number}/items/{{item}}", ["GET"], host=f"h{number % 7}.example"))
        for number in range(count)
    )
    for number in range(count):
        found = routes.match("GET", f"h{number % 7}.example", (f"service{number}", "items", "x"))
        assert found == Match(number, {"item": "x"}, named=True)


# -- against a model that looks at every route

ALPHABET = ("a", "b")
PATHS = [path for length in range(5) for path in product(ALPHABET, repeat=length)]


def holds(spec: PatternSpec, path: tuple[str, ...]) -> bool:
    if len(path) != len(spec.segments) and not (spec.prefix and len(path) > len(spec.segments)):
        return False
    return all(segment.startswith("{") or segment == part for segment, part in zip(spec.segments, path, strict=False))


def covered(spec: PatternSpec) -> frozenset[tuple[str, ...]]:
    return frozenset(path for path in PATHS if holds(spec, path))


specs = st.builds(
    PatternSpec,
    st.sampled_from((None, ["GET"], ["POST"], ["GET", "POST"])),
    st.sampled_from(("", "api.example", "*.example")),
    st.lists(st.sampled_from(("a", "b", "{x}")), max_size=3).map(
        lambda segments: [f"{{p{at}}}" if segment == "{x}" else segment for at, segment in enumerate(segments)]
    ),
    st.booleans(),
)


def conflict(one: PatternSpec, other: PatternSpec) -> bool:
    if one.host != other.host:
        return False
    if one.methods is not None and other.methods is not None and not set(one.methods) & set(other.methods):
        return False
    first, second = covered(one), covered(other)
    return bool(first & second) and (first == second or not (first < second or second < first))


@settings(max_examples=400, deadline=None)
@given(st.lists(specs, max_size=7), st.sampled_from(PATHS), st.sampled_from(("GET", "POST", "PUT")))
def test_agrees_with_looking_at_every_route(patterns: list[PatternSpec], path: tuple[str, ...], method: str) -> None:
    """The route found is the one of the most specific host and then the smallest set of paths."""
    assume(not any(conflict(one, other) for at, one in enumerate(patterns) for other in patterns[:at]))
    found = router(*patterns).match(method, "api.example", path)
    on_path = [(at, spec) for at, spec in enumerate(patterns) if holds(spec, path)]
    fitting = [(at, spec) for at, spec in on_path if spec.methods is None or method in spec.methods]
    if fitting:
        hosts = ("api.example", "*.example", "")
        best = min(fitting, key=lambda entry: (hosts.index(entry[1].host), len(covered(entry[1]))))
        assert isinstance(found, Match)
        assert found.route == best[0]
        assert all(value in ALPHABET for value in found.params.values())
    elif on_path:
        assert isinstance(found, NotAllowed)
        assert found.allow.decode().split(", ") == sorted({m for _, spec in on_path for m in spec.methods or ()})
    else:
        assert found is None


def test_the_garbage_collector_passes_over_patterns() -> None:
    """It holds up every call while it looks through what there is of them."""
    routes = router(*[pattern(f"/r{number}/{{id}}", ["GET"]) for number in range(1000)])
    assert routes._any is not None
    (shape,) = routes._any.exact[2]
    assert len(shape.table) == 1000
    assert not any(map(gc.is_tracked, [*shape.table, *shape.table.values()]))
    assert sys.version_info >= (3, 14) or not gc.is_tracked(shape.table)  # 3.14 tracks every dict
