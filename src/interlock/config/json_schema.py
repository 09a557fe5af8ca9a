"""The JSON Schema (2020-12) of the file, for editors. What stands under a key in our source is what they show of it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import core_schema

from interlock.config.fields import Section
from interlock.config.model import Config
from interlock.config.units import show_duration, show_size


def schema() -> dict[str, Any]:
    """The schema as plain JSON values. It knows forms, not whether names refer to something."""
    made = Config.model_json_schema(mode="validation", by_alias=True, schema_generator=_Generator)
    sections = {section.__name__: section for section in _sections(Section)}
    for name, section in {**made["$defs"], Config.__name__: made}.items():
        for key, text in _said_of(sections[name]).items() if name in sections else ():
            section["properties"][key].setdefault("description", text)
    return {"$schema": _Generator.schema_dialect, **made, "title": "interlock.yaml"}


def _sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for below in section.__subclasses__():
        yield from _sections(below)


def _said_of(section: type[Section]) -> dict[str, str]:
    """What the source says under each of its keys. Read when it is asked for: pydantic would read it at each start."""
    said = {}
    for kind in reversed(section.mro()):
        if not issubclass(kind, Section):
            continue
        (found,) = ast.parse(dedent(inspect.getsource(kind))).body
        assert isinstance(found, ast.ClassDef)
        for field, under in pairwise(found.body):
            match field, under:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(value=str(text))):
                    said[section.model_fields[name].alias or name] = inspect.cleandoc(text)
    return said


class _Generator(GenerateJsonSchema):
    """Defaults as they would be written, and no titles made from the names of keys."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - declared so by pydantic
        "skipped-choice",
        "non-serializable-default",
    }

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = self.generate_inner(schema["schema"])
        default = _written(schema.get("default"), made)
        return made if default is None else {**made, "default": default}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _written(default: Any, made: JsonSchemaValue) -> str | int | bool | None:
    """A default that is a plain value, in the form of the file."""
    if isinstance(default, bool) or (isinstance(default, int) and made.get("type") == "integer"):
        return default
    if isinstance(default, int) and made.get("type") == "string":
        return show_duration(default)
    if isinstance(default, int) and default and "anyOf" in made:
        return show_size(default)
    if isinstance(default, str) and default and "type" in made:
        return str(default)
    return None
