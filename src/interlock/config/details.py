"""The part of the issuer's section about `authorization_details` (RFC 9396): the types, and what is in them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from interlock.config.fields import Section, fault

DEEPEST = 4  # objects within objects

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$")]
TypeName = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,128}$")]
Kind = Literal["text", "number", "boolean", "texts", "object"]


def _field(value: Any) -> Any:
    """A kind alone stands for a field that may be left out."""
    return {"kind": value} if isinstance(value, str) else value


class DetailField(Section):
    """One member of an object of authorization details."""

    kind: Kind
    """`text`, `number`, `boolean`, `texts` (a list of them) or `object`."""
    required: bool = False
    """Whether it must be there."""
    values: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Of `text` and `texts`: what may be said; left out: anything."""
    fields: dict[
        FieldName, Annotated[DetailField, BeforeValidator(_field, json_schema_input_type=Kind | DetailField)]
    ] = Field(default_factory=dict)
    """Of `object`: what may be in it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.values and self.kind not in ("text", "texts"):
            raise fault(f"`values` has a meaning for text and texts, not for {self.kind}")
        if bool(self.fields) != (self.kind == "object"):
            raise fault("an object says with `fields` what may be in it, and nothing else does")
        if self.depth > DEEPEST:
            raise fault(f"objects are nested more than {DEEPEST} deep")
        return self

    @property
    def depth(self) -> int:
        return 1 + max((field.depth for field in self.fields.values()), default=0)


class DetailType(Section):
    """One type of authorization details."""

    about: str = ""
    """What it means to the person who is asked."""
    fields: dict[
        FieldName, Annotated[DetailField, BeforeValidator(_field, json_schema_input_type=Kind | DetailField)]
    ] = Field(default_factory=dict)
    """What may be in it beside `type`; anything else is refused. `locations` must be APIs the client may ask for."""

    @model_validator(mode="after")
    def _typed(self) -> Self:
        if "type" in self.fields:
            raise fault("`type` is in each of them anyway")
        return self
