"""Conditions of a route, in CEL (the Common Expression Language), compiled once.

    request    method, path, host, source, params (of the path template), hour (0 to 23, UTC), weekday (1: Monday)
    principal  "kind:authority/name"
    methods, roles, scopes    lists of strings
    claims     of the token; empty for other credentials

A condition sees what callers wrote, so its cost is bounded by its shape: its length, and no loop in a loop.
One that fails to evaluate, or gives anything but true or false, refuses the call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interlock.clock import SECOND
from interlock.errors import InterlockError
from interlock.model import ANONYMOUS, LONGEST_CONDITION, Identity, Reason, Refusal
from interlock.policy.facts import CallFacts

if TYPE_CHECKING:
    from cel import Program

DEEPEST = 24  # brackets within brackets
REQUEST = frozenset({"method", "path", "host", "source", "params", "hour", "weekday"})

_HOUR = 3600 * SECOND
_DAY = 24 * _HOUR
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0 here

# What the evaluator knows. It finds an unknown name only when it gets there, on somebody's call.
_FUNCTIONS = frozenset(
    {"size", "startsWith", "endsWith", "contains", "matches", "string", "int", "uint", "double", "bytes", "type", "dyn"}
    | {"timestamp", "duration", "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds", "has", "all", "exists", "exists_one", "map", "filter"}
)
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_LOOP = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*(\w+)\s*,")
_LITERAL = re.compile(r"""[rR]?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|//[^\n]*""", re.DOTALL)
_REQUEST_MEMBER = re.compile(r"\brequest\s*\.\s*(\w+)")

Condition = Callable[[Identity, CallFacts | None], Refusal | None]


class ConditionInvalid(InterlockError):
    """A condition that could never be evaluated; the message says why and where."""


_VARIABLES: dict[str, Callable[[Identity, CallFacts], Any]] = {
    "request": lambda _identity, facts: {
        "method": facts.method,
        "path": facts.path,
        "host": facts.host,
        "source": facts.source,
        "params": dict(facts.params),
        "hour": facts.now_ns // _HOUR % 24,
        "weekday": (facts.now_ns // _DAY + _EPOCH_WEEKDAY) % 7 + 1,
    },
    "principal": lambda identity, _facts: identity.text,
    "methods": lambda identity, _facts: list(identity.methods),
    "roles": lambda identity, _facts: sorted(identity.roles),
    "scopes": lambda identity, _facts: sorted(identity.scopes),
    "claims": lambda identity, _facts: dict(identity.claims),
}

_SAMPLE = CallFacts(method="GET", path="/", host="example.com", source="192.0.2.1", params={}, now_ns=0)


def check_condition(text: str) -> None:
    """Raise `ConditionInvalid` for a condition that cannot be compiled, or that names what is not there."""
    program = _compile(text)
    try:
        result = program.execute(_bind(_names(program, text), ANONYMOUS, _SAMPLE))
    except Exception:  # noqa: BLE001,RUF100 - whatever a sample lacks, a call may have
        return
    if not isinstance(result, bool):
        raise ConditionInvalid(f"gives {type(result).__name__}, not true or false")


def compile_condition(text: str) -> Condition:
    """A check that gives a refusal or None; raises `ConditionInvalid`."""
    program = _compile(text)
    names = _names(program, text)
    false = Refusal(Reason.CONDITION_FALSE)

    def holds(identity: Identity, facts: CallFacts | None) -> Refusal | None:
        if facts is None:
            return Refusal(Reason.CONDITION_ERROR, (), "the call's facts are missing")
        try:
            result = program.execute(_bind(names, identity, facts))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever the evaluator raises refuses; a panic in it is no Exception
            return Refusal(Reason.CONDITION_ERROR, (), f"{type(error).__name__}: {error!s:.120}")
        if result is True:
            return None
        if result is False:
            return false
        return Refusal(Reason.CONDITION_ERROR, (), f"gives {type(result).__name__}")

    return holds


def _compile(text: str) -> Program:
    if len(text) > LONGEST_CONDITION:
        raise ConditionInvalid(f"longer than {LONGEST_CONDITION} characters")
    plain = _plain(text)
    _check_shape(plain)
    import cel  # a quarter of a second, and most routes have no condition

    try:
        program = cel.compile(text)
    except Exception as error:
        raise ConditionInvalid(_first_line(str(error))) from error
    for function in program.functions():
        if function[0].isalpha() and function not in _FUNCTIONS:
            raise ConditionInvalid(f"there is no function {function!r}")
    _names(program, text)
    for member in _REQUEST_MEMBER.findall(plain):
        if member not in REQUEST:
            raise ConditionInvalid(f"there is no request.{member}; there are {', '.join(sorted(REQUEST))}")
    return program


def _names(program: Program, text: str) -> tuple[str, ...]:
    """The variables to bind; a loop's own variable is none of ours, unless it has the name of one."""
    own = set(_LOOP.findall(_plain(text)))
    used = set(program.variables())
    unknown = used - own - _TYPES - set(_VARIABLES)
    if unknown:
        raise ConditionInvalid(f"there is no {sorted(unknown)[0]!r}; there are {', '.join(sorted(_VARIABLES))}")
    return tuple(name for name in _VARIABLES if name in used)


def _bind(names: tuple[str, ...], identity: Identity, facts: CallFacts) -> dict[str, Any]:
    return {name: _VARIABLES[name](identity, facts) for name in names}


def _check_shape(plain: str) -> None:
    loops = {match.end() for match in _LOOP.finditer(plain)}
    inside: list[bool] = []  # for each open bracket: is it a loop's
    starts = {plain.rindex("(", 0, end): end for end in loops}
    for at, character in enumerate(plain):
        if character in "([{":
            loop = at in starts
            if loop and any(inside):
                raise ConditionInvalid("a loop within a loop: its cost would grow with what callers send")
            inside.append(loop)
            if len(inside) > DEEPEST:
                raise ConditionInvalid(f"more than {DEEPEST} brackets within brackets")
        elif character in ")]}" and inside:
            inside.pop()


def _plain(text: str) -> str:
    """The condition with its literals emptied and its comments gone, so that brackets are brackets."""
    return _LITERAL.sub(lambda found: "" if found.group().startswith("//") else "''", text)


def _first_line(message: str) -> str:
    """The parser's own message, without the text it repeats."""
    found = re.search(r"ERROR: (<input>:\d+:\d+: .*)", message)
    return (found.group(1).removeprefix("<input>:") if found else message.splitlines()[0])[:300]
