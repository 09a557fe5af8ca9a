from __future__ import annotations

import json
import re
import warnings
from typing import Any

import pytest

from interlock.config import schema
from interlock.config.document import read_document
from interlock.config.template import template
from tests.unit.config.files import LARGE, SMALL

MADE = schema()


def fits(value: Any, form: dict[str, Any]) -> bool:
    """The keywords that our schema uses, judged as JSON Schema (2020-12) says."""
    if "$ref" in form and not fits(value, MADE["$defs"][form["$ref"].removeprefix("#/$defs/")]):
        return False
    if not all(any(fits(value, one) for one in form[key]) for key in ("anyOf", "oneOf") if key in form):
        return False
    kind = form.get("type")
    kinds = {
        "string": str,
        "integer": int,
        "boolean": bool,
        "object": dict,
        "array": list,
        "null": type(None),
        "number": float,
    }
    if kind is not None and (not isinstance(value, kinds[kind]) or (kind == "integer" and isinstance(value, bool))):
        return False
    if ("const" in form and value != form["const"]) or ("enum" in form and value not in form["enum"]):
        return False
    if isinstance(value, str):
        return re.search(form.get("pattern", ""), value) is not None and len(value) >= form.get("minLength", 0)
    if isinstance(value, list):
        return len(value) >= form.get("minItems", 0) and all(fits(part, form.get("items", {})) for part in value)
    if isinstance(value, dict):
        known = form.get("properties", {})
        other = form.get("additionalProperties", True)
        return (
            set(form.get("required", ())) <= set(value)
            and len(value) >= form.get("minProperties", 0)
            and all(fits(part, known[key]) for key, part in value.items() if key in known)
            and all(
                other is not False and (other is True or fits(part, other))
                for key, part in value.items()
                if key not in known
            )
        )
    return True


@pytest.mark.parametrize("text", [SMALL, LARGE, template("http://127.0.0.1:9000", "127.0.0.1:8080", "off")])
def test_what_is_right_fits(text: str) -> None:
    assert fits(read_document(text.encode()), MADE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("version: 1", "version: 1\nworkerz: 1"),
        ("version: 1", "version: 1\nkeys: {kek: literal}"),
        ("version: 1", "version: 1\ndefaults: {timeout: 30}"),
        ("tls: off", "tls: maybe"),
        ("tls: off", "tls: {certificate: a.pem}"),
        (", limit: 1000000/s per principal", ""),
        ("limit: 1000000/s per principal", "limit: 5/s"),
        ("allow: a:read", "allow: {permision: a}"),
        ("{from: roles", "{form: roles"),
    ],
)
def test_what_is_wrong_in_form_does_not_fit(old: str, new: str) -> None:
    assert not fits(read_document(SMALL.replace(old, new, 1).encode()), MADE)


def test_limit_none_fits() -> None:
    assert fits(read_document(SMALL.replace("1000000/s per principal", "none").encode()), MADE)


def test_the_schema_is_json_and_made_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert json.loads(json.dumps(schema())) == MADE
    assert MADE["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_mapping_refuses_unknown_keys_and_every_reference_leads_somewhere() -> None:
    text = json.dumps(MADE)
    for name in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', text):
        assert name in MADE["$defs"]
    for name, form in MADE["$defs"].items():
        assert form.get("additionalProperties") is False, name


def test_every_default_fits_its_own_form() -> None:
    """What an editor fills in is accepted."""
    for name, form in [("", MADE), *MADE["$defs"].items()]:
        for key, field in form["properties"].items():
            if "default" in field:
                assert fits(field["default"], field), (name, key)
