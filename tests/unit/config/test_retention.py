"""`record: {retention: ...}`: periods by class, frameworks, what is refused and where, and what a node's class is."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import plan
from interlock.control.check import check_file
from interlock.model.retention import CLASSES, DAY
from tests.unit.config.files import SMALL, faults, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    return tmp_path


def kept(text: str) -> str:
    return f"{SMALL}record:\n  retention: {text}\n"


def days(text: str, folder: Path) -> dict[str, int]:
    retention = read(kept(text), folder).record.retention
    assert retention is not None
    return {name: retention.by_class[number] // DAY for name, number in CLASSES.items()}


def test_left_out_everything_is_kept(folder: Path) -> None:
    config = read(SMALL, folder)
    assert config.record.retention is None
    assert config.retention_class == 0


def test_classes_have_their_own_period_and_the_others_the_standard_one(folder: Path) -> None:
    assert days("{standard: 400d, phi: 2192d}", folder) == {
        "standard": 400,
        "phi": 2192,
        "pan": 400,
        "pii": 400,
        "financial": 400,
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("pci-dss-4.0.1", 366), ("hipaa", 2192), ("[pci-dss-4.0.1]", 366), ("[pci-dss-4.0.1, hipaa]", 2192)],
)
def test_a_framework_stands_for_what_it_asks(folder: Path, text: str, wanted: int) -> None:
    assert set(days(text, folder).values()) == {wanted}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gdpr", "gdpr names no period"),
        ("[hipaa, gdpr]", "gdpr names no period"),
        ("sox", "`sox` is no framework"),
        ("[]", "is empty"),
        ("400d", "`400d` is no framework"),
        ("{phi: 400d}", "standard"),
        ("{standard: 6d}", "is 6d; it can be from 7d to 36500d"),
        ("{standard: 400}", "without its unit"),
        ("{standard: 400d, phi: 1y}", "is not a duration"),
        ("{standard: 400d, secret: 7d}", "secret"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(folder: Path, text: str, said: str) -> None:
    (found,) = faults(kept(text), folder)
    assert said in str(found)
    assert f":{SMALL.count(chr(10)) + 2}:" in str(found)


def test_a_node_is_of_the_class_that_is_kept_longest(folder: Path) -> None:
    def class_of(data: str, text: str) -> int:
        whole = kept(text).replace("[http://127.0.0.1:9000]", f"[http://127.0.0.1:9000], data: {data}")
        return read(whole, folder).retention_class

    assert class_of("[phi]", "{standard: 400d, phi: 2192d}") == CLASSES["phi"]
    assert class_of("[pii, phi]", "{standard: 400d, phi: 2192d, pii: 30d}") == CLASSES["phi"]
    assert class_of("[pii]", "{standard: 400d, pii: 30d}") == CLASSES["standard"]
    assert class_of("[pii]", "{standard: 400d, phi: 2192d}") == CLASSES["standard"]


def test_less_than_a_framework_of_the_file_asks_is_a_warning(folder: Path) -> None:
    file = folder / "interlock.yaml"
    file.write_text(kept("{standard: 400d, phi: 30d}") + "frameworks: [hipaa, pci-dss-4.0.1, gdpr]\n")
    said = [str(problem) for problem in check_file(file)[1]]
    assert any("standard is kept for 400d, and hipaa asks for 2192d" in one for one in said)
    assert any("phi is kept for 30d, and pci-dss-4.0.1 asks for 366d" in one for one in said)
    assert len([one for one in said if "is kept for" in one]) == 3


def test_a_reload_says_what_changes(folder: Path) -> None:
    (change,) = plan(read(kept("{standard: 400d}"), folder), read(kept("hipaa"), folder))
    assert str(change).startswith("~ record: retention:")
    assert not change.restart
