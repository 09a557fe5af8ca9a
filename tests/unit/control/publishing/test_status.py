"""How publishing is doing, in words: ages, who is missing, and what fails."""

from __future__ import annotations

from pathlib import Path

from interlock.clock import SECOND, ManualClock
from interlock.control.publishing.attempts import Attempts
from interlock.control.publishing.status import PUBLISHING_REPORT, PartyStatus, PublishingStatus, problems_of

NOW = 1_700_000_000 * SECOND


def status(**more: object) -> PublishingStatus:
    made = PublishingStatus(2, 300 * SECOND, NOW)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_a_published_checkpoint_that_is_too_old_is_a_problem() -> None:
    one = status(size=9, signed_ns=NOW, cosigned=["a"], missing=["b"])
    assert problems_of(one, NOW + 300 * SECOND) == []
    (said,) = problems_of(one, NOW + 301 * SECOND)
    assert said == "the published checkpoint is 301 s old: 1 witnesses have cosigned it, 2 must have"


def test_so_is_none_after_that_time() -> None:
    assert problems_of(status(), NOW + 300 * SECOND) == []
    (said,) = problems_of(status(), NOW + 301 * SECOND)
    assert said.startswith("no checkpoint is published")


def test_whatever_fails_is_said() -> None:
    one = status(
        signed_ns=NOW,
        problem="it was set back",
        witnesses=[PartyStatus("w", "u", error="it answered 500"), PartyStatus("v", "u")],
        places=[PartyStatus("file:/x", "file:/x", error="no space")],
    )
    assert problems_of(one, NOW) == [
        "publishing checkpoints: it was set back",
        "witness w: it answered 500",
        "checkpoints do not get to file:/x: no space",
    ]


def test_it_is_written_read_and_taken_away(tmp_path: Path) -> None:
    one = status(signed_ns=NOW, cosigned=["a"], witnesses=[PartyStatus("w", "u", 7)])
    PUBLISHING_REPORT.write(tmp_path, one)
    assert PUBLISHING_REPORT.read(tmp_path) == one
    PUBLISHING_REPORT.write(tmp_path, None)
    PUBLISHING_REPORT.write(tmp_path, None)
    assert PUBLISHING_REPORT.read(tmp_path) is None
    (tmp_path / "publishing.json").write_text("{}")
    assert PUBLISHING_REPORT.read(tmp_path) is None


def test_waits_get_longer_up_to_a_minute_and_end_with_success() -> None:
    clock = ManualClock(NOW)
    attempts = Attempts(PartyStatus("w", "u"), clock, lambda: 1.0)
    waits = []
    for _ in range(9):
        attempts.failed("no")
        waits.append(attempts.waiting)
        clock.advance(attempts.waiting)
        assert attempts.waiting == 0
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert (attempts.status.failures, attempts.status.error, attempts.status.failing_ns) == (9, "no", NOW)
    attempts.succeeded(12)
    assert (attempts.status.error, attempts.status.size, attempts.status.failing_ns) == ("", 12, 0)
    attempts.failed("no")
    assert attempts.waiting == 0.5
