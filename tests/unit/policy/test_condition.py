"""Conditions: what they see, what is refused before anybody calls, and that failing refuses."""

from __future__ import annotations

import time
from typing import Any

import pytest

from interlock.model import ANONYMOUS, Reason
from interlock.policy import CallFacts, ConditionInvalid, check_condition
from interlock.policy.condition import compile_condition
from tests.unit.policy.callers import NINE_ON_TUESDAY, caller, facts

HOUR = 3_600_000_000_000


def decide(text: str, who: Any = None, call: CallFacts | None = None) -> Reason | None:
    refusal = compile_condition(text)(who or caller(), call or facts())
    return refusal.reason if refusal is not None else None


@pytest.mark.parametrize(
    "text",
    [
        "request.hour >= 8 && request.hour < 18",
        "request.weekday == 2",
        "request.method == 'GET'",
        "request.path.startsWith('/accounts/')",
        "request.host == 'api.example.com'",
        "request.source == '192.0.2.7'",
        "request.params.account_id == '7'",
        "request['params']['account_id'] == '7'",
        "principal == 'user:login.example.com/alice'",
        "'teller' in roles",
        "'ledger' in scopes && methods == ['jwt']",
        "claims.department == 'north' && claims.level > 2",
        "claims.groups.exists(g, g == 'b')",
        "has(claims.department) && !has(claims.missing)",
        "request.path.matches('^/accounts/[0-9]+$')",
        "true // say why",
    ],
)
def test_what_a_condition_can_see(text: str) -> None:
    check_condition(text)
    assert decide(text) is None


@pytest.mark.parametrize("text", ["request.hour >= 10", "'auditor' in roles", "claims.level == '3'", "false"])
def test_what_does_not_hold(text: str) -> None:
    check_condition(text)
    assert decide(text) is Reason.CONDITION_FALSE


@pytest.mark.parametrize(
    "text",
    [
        "claims.missing == 'x'",
        "claims.department > 5",
        "claims.department",
        "claims.level",
        "request.params.missing == 'x'",
        "claims.groups[9] == 'a'",
        "1 / (claims.level - 3) == 1",
        "int(claims.department) == 1",
        "claims.department.matches('(')",
        "roles",
        "claims.level + 9223372036854775807 > 0",
    ],
)
def test_what_cannot_be_evaluated_refuses(text: str) -> None:
    assert decide(text) is Reason.CONDITION_ERROR


@pytest.mark.parametrize("value", [1, "true", [True], {"a": True}, None, 1.0])
def test_only_true_is_true(value: Any) -> None:
    assert decide("claims.flag", caller(claims={"flag": value})) is Reason.CONDITION_ERROR


@pytest.mark.parametrize("offset", range(48))
def test_hours_and_weekdays_are_utc(offset: int) -> None:
    call = facts(now_ns=NINE_ON_TUESDAY + offset * HOUR)
    when = time.gmtime(call.now_ns // 1_000_000_000)
    assert decide(f"request.hour == {when.tm_hour} && request.weekday == {when.tm_wday + 1}", call=call) is None


def test_claims_of_nobody_are_empty() -> None:
    assert decide("!has(claims.sub) && roles == []", ANONYMOUS) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1:1"),
        ("request.hour >=", "1:16"),
        ("request.hour >= 8)", "1:18"),
        ("hour >= 8", "'hour'"),
        ("request.hours >= 8", "request.hours"),
        ("request . hours >= 8", "request.hours"),
        ("shell('rm')", "'shell'"),
        ("principal.lowerAscii() == 'x'", "'lowerAscii'"),
        ("x" * 2049, "longer"),
        ("request", "not true or false"),
        ("'true'", "not true or false"),
        ("1 + 1", "not true or false"),
        ("claims.a.all(x, claims.b.all(y, x == y))", "loop within a loop"),
        ("claims.a.all(x, // )\nclaims.b.all(y, true))", "loop within a loop"),
        ("claims.a.map(x, claims.b.filter(y, y == x)).size() > 0", "loop within a loop"),
        ("claims.a . all ( x , claims.b.exists(y, y == x))", "loop within a loop"),
        ("(" * 25 + "true" + ")" * 25, "brackets"),
        ("[" * 25 + "]" * 25 + " == []", "brackets"),
    ],
)
def test_faults_are_found_before_anybody_calls(text: str, says: str) -> None:
    for check in (check_condition, compile_condition):
        if "true or false" in says and check is compile_condition:
            continue  # what a call makes of it, only a call knows
        with pytest.raises(ConditionInvalid, match=says.replace("(", "\\(")):
            check(text)


@pytest.mark.parametrize(
    "text",
    [
        "claims.a.all(x, x > 0) && claims.b.all(y, y > 0)",
        "principal == 'x.all(a, y.all(b, true))'",
        'principal == "it\'s request.nonsense"',
        "claims.a.all(principal, principal == 'x')",
        "claims.missing.deep.down == 1",
        "type(claims.level) == int",
    ],
)
def test_what_only_looks_like_a_fault(text: str) -> None:
    check_condition(text)


def test_a_panic_in_the_evaluator_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluator is native code; what it raises when it panics is no `Exception`."""

    class Panic(BaseException):
        pass

    class Program:
        def variables(self) -> list[str]:
            return []

        def functions(self) -> list[str]:
            return []

        def execute(self, _context: object) -> bool:
            raise Panic

    import cel

    monkeypatch.setattr(cel, "compile", lambda _text: Program())
    assert decide("true") is Reason.CONDITION_ERROR


def test_the_error_of_a_condition_is_for_the_record() -> None:
    refusal = compile_condition("claims.missing == 'x'")(caller(), facts())
    assert refusal is not None
    assert "missing" in refusal.note
    assert refusal.headers == ()
