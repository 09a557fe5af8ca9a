"""What the gateway guards before anything of signals is looked at, and what `status` says of them."""

from __future__ import annotations

from interlock.clock import SECOND
from interlock.control.compile import compile_node, compile_routes
from interlock.control.signals.status import SIGNALS_REPORT, SignalsStatus, SourceStatus, StreamStatus, problems_of
from interlock.snapshot import RouteSpec
from interlock.snapshot.spec import ISSUER_SERVICE
from tests.unit.control.signals.conftest import Bench

PUSHED = """
identity:
  issuers:
    - {issuer: https://login.example.com, audience: sp, algorithms: [RS256], jwks: https://login.example.com/jwks,
       signals: {push: true}}
"""


def routes(bench: Bench) -> dict[str, RouteSpec]:
    return {route.id: route for route in compile_routes(bench.config)}


def test_streams_are_managed_with_a_token_of_the_scope(bench: Bench) -> None:
    route = routes(bench)["interlock issuer: signals"]
    assert not route.public
    assert route.authenticate == [["jwt"]]
    assert route.scope == "ssf.manage"
    assert route.limits
    paths = {"/".join(pattern.segments) for pattern in route.patterns}
    assert "oauth/ssf/streams" in paths
    assert "oauth/ssf/poll" in paths
    assert "oauth/ssf/events" not in paths


def test_what_others_send_is_limited_by_address_in_all_and_in_size(bench: Bench) -> None:
    route = routes(bench)["interlock: signals of others"]
    assert route.public
    assert {limit.per for limit in route.limits} == {"address", "route"}
    assert route.body_limit == 16 * 1024
    assert [pattern.methods for pattern in route.patterns] == [["POST"]]


def test_without_the_sections_there_are_no_such_routes(bench: Bench) -> None:
    bench.configure("issuer: {url: https://id.example.com}\n")
    assert not [name for name in routes(bench) if "signals" in name]
    bench.configure("")
    assert not [name for name in routes(bench) if "interlock" in name]


def test_signals_of_others_come_in_also_without_an_issuer_of_ours(bench: Bench) -> None:
    bench.configure(PUSHED)
    assert sorted(routes(bench)) == ["GET /a", "interlock: signals of others"]
    assert ISSUER_SERVICE in compile_node(bench.config, bench.paths, 1).services


def test_status_is_written_and_read(bench: Bench) -> None:
    run = bench.paths.run
    assert SIGNALS_REPORT.read(run) is None
    found = SignalsStatus(
        [
            StreamStatus("abcdefgh-1", "shop", "push", "https://x/", "enabled", error="it answered 500"),
            StreamStatus("b", "bank", "poll", "", "enabled", waiting=3, oldest_ns=1),
            StreamStatus("c", "club", "push", "", "paused", reason="why", paused_by="node", lost=2),
            StreamStatus("d", "desk", "push", "", "paused", reason="mine", paused_by="receiver"),
        ],
        [
            SourceStatus("https://i", "poll", error="it answered 401"),
            SourceStatus("https://j", "push", status="paused"),
        ],
    )
    SIGNALS_REPORT.write(run, found)
    assert SIGNALS_REPORT.read(run) == found
    problems = problems_of(found, 100 * SECOND)
    assert len(problems) == 6
    assert "it answered 500" in problems[0]
    assert "3 wait" in problems[1]
    assert "2 were lost" in problems[2]
    assert "why" in problems[3]
    assert not any("desk" in problem for problem in problems)
    SIGNALS_REPORT.write(run, None)
    assert SIGNALS_REPORT.read(run) is None
