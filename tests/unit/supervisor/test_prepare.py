"""What needs the KEK runs in a child; only its result comes back."""

from __future__ import annotations

import os
import signal

import pytest

from interlock.errors import ConfigError, ConfigProblem, KeyMaterialError, NodeError
from interlock.supervisor.prepare import Prepared, in_child

PREPARED = Prepared(b"l" * 32, "digest", ["made a key"])


def test_the_result_comes_back_and_the_rest_does_not() -> None:
    seen: list[int] = []

    def body() -> Prepared:
        seen.append(os.getpid())
        return PREPARED

    assert in_child(body, Prepared) == PREPARED
    assert seen == []


def test_what_it_raises_is_raised_here() -> None:
    def wrong_kek() -> Prepared:
        raise KeyMaterialError("key 'lookup': sealed under another KEK")

    with pytest.raises(KeyMaterialError, match="another KEK"):
        in_child(wrong_kek, Prepared)


def test_a_faulty_file_keeps_each_fault_and_its_place() -> None:
    def faulty() -> Prepared:
        raise ConfigError(
            [ConfigProblem("a.yaml", 3, "routes[0].when", "no", "yes"), ConfigProblem("b", None, "", "x")]
        )

    with pytest.raises(ConfigError) as caught:
        in_child(faulty, Prepared)
    assert [str(problem) for problem in caught.value.problems] == ["a.yaml:3: routes[0].when: no (yes)", "b: x"]


def test_what_nobody_foresaw_is_an_error_too(capfd: pytest.CaptureFixture[str]) -> None:
    def bug() -> Prepared:
        raise ZeroDivisionError

    with pytest.raises(NodeError, match="ZeroDivisionError"):
        in_child(bug, Prepared)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_child_that_is_killed_is_noticed() -> None:
    def killed() -> Prepared:
        os.kill(os.getpid(), signal.SIGKILL)
        return PREPARED

    with pytest.raises(NodeError, match="SIGKILL"):
        in_child(killed, Prepared)


def test_keys_are_not_in_its_repr() -> None:
    assert "llll" not in repr(PREPARED)
