"""The limit layer: whom it counts, what it tells the caller, and that it never fails open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interlock.limits import Verdict, compile_limits
from interlock.model import ANONYMOUS, Identity, Principal, Reason
from interlock.snapshot import CounterTable, LimitSpec
from interlock.snapshot.counters import Cell
from tests.unit.identity import fakes

S = 1_000_000_000
NOW = 1_700_000_000 * S


def caller(name: str, key: bytes = b"") -> Identity:
    principal = Principal("user", "iss", name)
    return Identity(
        principal,
        str(principal),
        ("api_key",),
        handles=(key.ljust(32, b"\0"),) if key else (),
        limit_key=name.encode().ljust(16, b"\0"),
    )


ALICE, BOB = caller("alice", b"key 1"), caller("bob", b"key 2")
ALICE_TOO = caller("alice", b"key 3")


@pytest.fixture
def table(tmp_path: Path) -> CounterTable:
    return CounterTable.create(tmp_path / "counters", 4096)


def compiled(table: CounterTable, *specs: LimitSpec, route: str = "GET /a"):  # type: ignore[no-untyped-def]
    limit = compile_limits(specs, table, route)
    assert limit is not None
    return limit


def passes(limit, identity: Identity, address: bytes = b"net", tries: int = 20) -> int:  # type: ignore[no-untyped-def]
    return sum(not limit(identity, address, NOW).refused for _ in range(tries))


def test_no_limits_no_layer(table: CounterTable) -> None:
    assert compile_limits([], table, "GET /a") is None


@pytest.mark.parametrize(
    ("per", "alice", "alice_too", "bob_elsewhere"),
    [("principal", 3, 0, 3), ("key", 3, 3, 3), ("address", 3, 0, 3), ("route", 3, 0, 0)],
)
def test_whom_it_counts(table: CounterTable, per: str, alice: int, alice_too: int, bob_elsewhere: int) -> None:
    limit = compiled(table, LimitSpec(1, S, 3, per))
    assert passes(limit, ALICE, b"net 1") == alice
    assert passes(limit, ALICE_TOO, b"net 1") == alice_too
    assert passes(limit, BOB, b"net 2") == bob_elsewhere


@pytest.mark.parametrize("way", ["jwt+api_key", "api_key+jwt"])
def test_a_key_is_counted_as_one_whatever_tokens_come_with_it(table: CounterTable, way: str) -> None:
    """Else who holds it has as many calls as there are tokens to be had."""
    desk = fakes.Desk()
    _, key = desk.directory.mint(principal="user:login.example.com/alice")
    route = desk.route(way)
    limit = compiled(table, LimitSpec(1, S, 3, "key"))
    tokens = [fakes.token(jti=f"t{number}") for number in range(3)]
    assert sum(passes(limit, fakes.identity(route(one, key, None, fakes.SOURCE, fakes.NOW))) for one in tokens) == 3


def test_routes_are_counted_apart_and_the_same_route_together(table: CounterTable) -> None:
    spec = LimitSpec(1, S, 3, "principal")
    assert passes(compiled(table, spec), ALICE) == 3
    assert passes(compiled(table, spec), ALICE) == 0, "compiled anew, as by a reload or another worker"
    assert passes(compiled(table, spec, route="GET /b"), ALICE) == 3
    assert passes(compiled(table, LimitSpec(1, S, 4, "principal")), ALICE) == 4, "a changed limit begins anew"


def test_more_kinds_of_limits_than_are_remembered_count_each_for_itself(table: CounterTable) -> None:
    """A route per limit, each of another size, asked in turn twice: what is remembered of a kind is never another's."""
    limits = [compiled(table, LimitSpec(1, S, size, "principal"), route="GET /a") for size in range(1, 301)]
    for size, limit in enumerate(limits, 1):
        assert passes(limit, ALICE, tries=size + 1) == size
        assert passes(limit, BOB, tries=2) == min(size, 2)
    assert not any(passes(limit, ALICE, tries=1) for limit in limits)


def test_two_equal_limits_are_two(table: CounterTable) -> None:
    spec = LimitSpec(1, S, 3, "principal")
    assert passes(compiled(table, spec, spec), ALICE) == 3


def test_anonymous_callers_share_a_principal_not_an_address(table: CounterTable) -> None:
    limit = compiled(table, LimitSpec(1, S, 3, "address"))
    assert [passes(limit, ANONYMOUS, b"%d" % n) for n in range(3)] == [3, 3, 3]
    for per in ("principal", "key"):
        limit = compiled(table, LimitSpec(1, S, 3, per))
        assert [passes(limit, ANONYMOUS, b"%d" % n) for n in range(3)] == [3, 0, 0]


def test_a_refused_call_spends_nothing(table: CounterTable) -> None:
    route = LimitSpec(1, S, 10, "route")
    limit = compiled(table, LimitSpec(1, S, 2, "principal"), route)
    assert passes(limit, ALICE, tries=50) == 2
    assert passes(limit, BOB, tries=50) == 2
    others = [caller(f"n{number}") for number in range(20)]
    assert sum(passes(limit, other, tries=1) for other in others) == 6


def header(verdict: Verdict, name: str) -> str:
    found = [line for line in verdict.fields if line.startswith(name.encode() + b": ")]
    assert len(found) == 1
    assert found[0].endswith(b"\r\n")
    return found[0][len(name) + 2 : -2].decode()


def test_what_an_allowed_caller_is_told(table: CounterTable) -> None:
    limit = compiled(table, LimitSpec(50, S, 100, "principal"))
    verdict = limit(ALICE, b"", NOW)
    assert not verdict.refused
    assert verdict.refusal is None
    assert header(verdict, "RateLimit-Policy") == '"principal";q=100;w=2'
    assert header(verdict, "RateLimit") == '"principal";r=99;t=1'
    for _ in range(98):
        limit(ALICE, b"", NOW)
    assert header(limit(ALICE, b"", NOW), "RateLimit") == '"principal";r=0;t=2'


def test_what_a_refused_caller_is_told(table: CounterTable) -> None:
    limit = compiled(table, LimitSpec(1, 60 * S, 1, "principal"), LimitSpec(1000, S, 0, "route"))
    limit(ALICE, b"", NOW)
    verdict = limit(ALICE, b"", NOW + S // 2)
    assert verdict.refusal is not None
    assert verdict.refusal.reason is Reason.RATE_LIMITED
    headers = dict(verdict.refusal.headers)
    assert headers == {
        b"Retry-After": b"60",
        b"RateLimit-Policy": b'"principal";q=1;w=60, "route";q=1000;w=1',
        b"RateLimit": b'"principal";r=0;t=60, "route";r=1000;t=0',
    }
    assert verdict.retry_after == 60
    assert verdict.refusal.note == "limit per principal"
    assert not limit(ALICE, b"", NOW + 60 * S).refused, "what Retry-After promises holds"


def test_retry_after_is_never_nothing(table: CounterTable) -> None:
    limit = compiled(table, LimitSpec(1000, S, 1, "principal"))
    limit(ALICE, b"", NOW)
    assert limit(ALICE, b"", NOW).retry_after == 1


def test_fields_are_structured_fields(table: CounterTable) -> None:
    limit = compiled(table, *[LimitSpec(5, S, 0, per) for per in ("key", "address", "key", "route")])
    item = r'"[a-z0-9-]+"(;[a-z]=[0-9]+)+'
    verdict = limit(ALICE, b"a", NOW)
    for name in ("RateLimit-Policy", "RateLimit"):
        assert re.fullmatch(f"{item}(, {item})*", header(verdict, name))
    assert re.findall(r'"([^"]+)"', header(verdict, "RateLimit")) == ["key-1", "address", "key-2", "route"]


@pytest.mark.parametrize("several", [False, True])
def test_what_cannot_be_counted_is_refused(table: CounterTable, several: bool) -> None:
    specs = [LimitSpec(1, S, 5, "principal")] + [LimitSpec(1, S, 5, "route")] * several
    limit = compiled(table, *specs)
    limit(ALICE, b"", NOW)
    (alice,) = [cell for (_, subject), cell in table._cells.items() if subject == ALICE.limit_key]
    for number in range(31):
        assert table.spend(Cell(alice.bucket, 10**6 + number), S, 5 * S, NOW)[0]
    table._cells[next(key for key, cell in table._cells.items() if cell is alice)] = Cell(alice.bucket, 77)
    verdict = limit(ALICE, b"", NOW)
    assert verdict.refusal is not None
    assert verdict.refusal.reason is Reason.LIMIT_UNAVAILABLE
    assert verdict.refusal.reason.status == 503


@pytest.mark.parametrize("spec", [LimitSpec(1, S, 1, "galaxy"), LimitSpec(0, S, 1, "route")])
def test_limits_without_sense_do_not_compile(table: CounterTable, spec: LimitSpec) -> None:
    with pytest.raises(ValueError):
        compile_limits([spec], table, "GET /a")
