"""docs/configuration.md names every key of the file and everything that a condition can see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from interlock.config import Config
from interlock.config.changes import RESTART
from interlock.model import LONGEST_CONDITION
from interlock.policy.condition import _VARIABLES, REQUEST

TEXT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
CODE = re.findall(r"```.*?```|`[^`\n]+`", TEXT, re.DOTALL)
NAMED = {word for code in CODE for word in re.findall(r"[a-z_][a-z_0-9]*", code)}


def keys(annotation: Any, seen: set[type[BaseModel]]) -> set[str]:
    """`Section.key` for every key that can stand within a value of a type."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return {key for part in get_args(annotation) for key in keys(part, seen)}
    if annotation in seen:
        return set()
    seen.add(annotation)
    found = set()
    for name, field in annotation.model_fields.items():
        found.add(f"{annotation.__name__}.{field.alias or name}")
        found |= keys(field.annotation, seen)
    return found


def test_every_key_is_named() -> None:
    everything = keys(Config, set())
    assert {"Config.version", "Listener.hosts", "Zone.from", "Allow.when"} <= everything
    assert {key for key in everything if key.split(".")[1] not in NAMED} == set()


def test_all_that_a_condition_sees_is_named() -> None:
    (condition,) = re.findall(r"`when` is a CEL.*?characters", TEXT, re.DOTALL)
    assert {name for name in REQUEST | set(_VARIABLES) if f"`{name}`" not in condition} == set()
    assert str(LONGEST_CONDITION) in condition


def test_what_needs_a_restart_is_named() -> None:
    (paragraph,) = re.findall(r"A reload takes up everything but.*?restart", TEXT, re.DOTALL)
    assert set(re.findall(r"`([a-z_]+)`", paragraph)) == RESTART
