"""The JSON Schema (2020-12) of the file, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import core_schema

from interlock.config.model import Config
from interlock.config.units import show_duration, show_size


def schema() -> dict[str, Any]:
    """The schema as plain JSON values. It knows forms, not whether names refer to something."""
    made = Config.model_json_schema(mode="validation", by_alias=True, schema_generator=_Generator)
    return {"$schema": _Generator.schema_dialect, **made, "title": "interlock.yaml"}


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
