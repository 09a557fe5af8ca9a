"""What pydantic found, as faults with file, line, key and a way to mend them.

A fault MUST NOT repeat a value that may be a secret: messages speak of values only where they are names.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from interlock.config.model import Config
from interlock.config.nearest import did_you_mean, nearest
from interlock.config.tree import Map, Seq, Where, dotted, line_of
from interlock.errors import ConfigProblem

_HINTS = {
    "allow": "name a permission, or say `allow: public`",
    "limit": "name a rate as in `50/s burst 100 per principal`, or say `limit: none`",
    "tls": "`off`, `auto`, or a certificate and its key",
    "version": "begin the file with `version: 1`",
    "algorithms": "name what the issuer signs with, as in [RS256]",
    "audience": "name what its tokens are for",
    "principal": "san-uri, san-dns or subject-cn",
}
_KINDS = {
    "missing": "is missing",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text",
    "string_too_short": "is empty",
    "too_short": "is empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


def problems_of(error: ValidationError, tree: Map, file: str) -> list[ConfigProblem]:
    """Every fault of a validation, in the order of the file."""
    found = []
    for detail in error.errors(include_url=False, include_context=True):
        where = _in_file(detail["loc"], tree, detail["type"])
        message, hint = _words(detail, where, tree)
        found.append(ConfigProblem(file, line_of(tree, where), dotted(where), message, hint))
    return found


def _in_file(loc: Where, tree: Any, kind: str) -> Where:
    """pydantic's place without what is not in the file: tags of unions, items of a list made from one word."""
    where: list[int | str] = []
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if part == "[key]":
            continue
        if isinstance(tree, Map) and part in tree:
            tree = tree[str(part)]
        elif isinstance(tree, Seq) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        elif not (last and kind == "missing"):
            continue
        where.append(part)
    return tuple(where)


def _value(tree: Any, where: Where) -> Any:
    for part in where:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _words(detail: Mapping[str, Any], where: Where, tree: Map) -> tuple[str, str]:
    """Message and hint."""
    kind = detail["type"]
    context = detail.get("ctx", {})
    name = str(where[-1]) if where else ""
    if kind == "interlock":
        return context["message"], context["hint"]
    if kind == "extra_forbidden":
        return "is not a key that belongs here", did_you_mean(name, _keys_at(detail["loc"][:-1]))
    value = _value(tree, where)
    if kind != "missing" and value is None:
        return "is empty", _HINTS.get(name, "")
    if kind == "literal_error":
        expected = str(context.get("expected", "")).replace("'", "")
        return f"must be {expected}", nearest(str(value), expected.replace(" or ", ", ").split(", "))
    if kind == "string_type" and isinstance(value, int | float):
        return "must be text", f'quote it: "{str(value).lower() if isinstance(value, bool) else value}"'
    if kind in _KINDS:
        return _KINDS[kind], _HINTS.get(name, "")
    if kind == "string_pattern_mismatch":
        return "has characters that it cannot have", ""
    return str(detail["msg"]).replace("Input should be", "must be").replace("String should have", "must have"), ""


def _keys_at(loc: Where) -> list[str]:
    """The keys that the model knows at a place."""
    annotation: Any = Config
    for part in loc:
        annotation = _within(annotation, part)
    section = _section(annotation)
    return [] if section is None else [field.alias or name for name, field in section.model_fields.items()]


def _within(annotation: Any, part: int | str) -> Any:
    """The type of what stands at `part` of a value of a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part == (field.alias or name):
                return field.annotation
        return None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return arguments[1]
    if origin in (tuple, list):
        return arguments[0]
    if origin in (Union, types.UnionType) or hasattr(annotation, "__metadata__"):
        section = _section(annotation)
        if section is not None and part in [field.alias or name for name, field in section.model_fields.items()]:
            return _within(section, part)
        inner = [argument for argument in arguments if get_origin(argument) in (dict, tuple, list)]
        return _within(inner[0], part) if inner else annotation
    return None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The one section that a type holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, tuple, list):
        return None
    for argument in get_args(annotation):
        section = _section(argument)
        if section is not None:
            return section
    return None
