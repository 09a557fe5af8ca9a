"""The types of the file's values: how text becomes bytes, nanoseconds, rates, addresses, paths, names.

Each says for editors (JSON Schema) what is written and for programs what is read. Faults are raised as
`Fault`, with a hint where there is one. Nothing here may look at the machine: no file is opened, no name resolved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from interlock.config.hosts import (
    Address,
    parse_address,
    parse_host,
    parse_https,
    parse_network,
    parse_origin,
    parse_upstream,
)
from interlock.config.patterns import Pattern, parse_pattern
from interlock.config.secrets import SecretRef, parse_secret
from interlock.config.units import (
    Rate,
    parse_duration,
    parse_percentage,
    parse_rate,
    parse_size,
    show_duration,
    show_size,
)
from interlock.model import Principal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_GRANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}")
RESERVED = frozenset({"public", "none", "interlock"})


class Section(BaseModel):
    """A mapping of the file: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # built once, with the whole file


def fault(message: str, hint: str = "") -> PydanticCustomError:
    """What a field raises; braces in the message are taken as they are."""
    return PydanticCustomError("interlock", "{message}", {"message": message, "hint": hint})


def told(parse: Callable[..., Any]) -> Callable[..., Any]:
    """The parser, with its `ValueError` as a fault of the field."""

    def parsed(value: Any) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise fault(str(error)) from None

    return parsed


def words(value: Any) -> Any:
    """One word stands for a list of one."""
    return [value] if isinstance(value, str) else value


def bounded(low: str, high: str, *, of: Callable[[object], int], show: Callable[[int], str]) -> AfterValidator:
    least, most = of(low), of(high)

    def check(value: int) -> int:
        if not least <= value <= most:
            raise fault(f"is {show(value)}; it can be from {show(least)} to {show(most)}")
        return value

    return AfterValidator(check)


def duration(low: str, high: str) -> AfterValidator:
    """Bounds of a `Duration`, both included."""
    return bounded(low, high, of=parse_duration, show=show_duration)


def size(low: str, high: str) -> AfterValidator:
    """Bounds of a `Size`, both included."""
    return bounded(low, high, of=parse_size, show=show_size)


def _name(what: str, form: re.Pattern[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not form.fullmatch(value):
            raise fault(f"`{value}` is not a name of {what}", "letters, digits and . _ - (in permissions also : and /)")
        if value in RESERVED:
            raise fault(f"`{value}` has a meaning of its own and cannot name {what}")
        return value

    return check


def _role(value: str) -> str:
    value = _name("a role", _GRANT)(value)
    if value.startswith("interlock:"):
        raise fault(f"`{value}`: roles that begin with interlock: are the product's own")
    return value


def resolved_path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise fault("is not the name of a file")
    if "${" in value:
        raise fault("holds a reference; only secrets are given by reference")
    return Path(os.path.normpath(folder_of(info) / value))


def folder_of(info: ValidationInfo) -> Path:
    """The folder that relative paths are of: the file's."""
    return Path((info.context or {}).get("folder", Path.cwd()))


def _secret(value: Any, info: ValidationInfo) -> SecretRef:
    if isinstance(value, SecretRef):
        return value
    try:
        return parse_secret(value, folder_of(info))
    except ValueError as error:
        raise fault(str(error)) from None


def _pattern(value: Any) -> Pattern:
    if isinstance(value, Pattern):
        return value
    if not isinstance(value, str):
        raise fault("is not a pattern; write it as in `GET /accounts/{id}`", "quote it if it holds `: ` or a comma")
    return parse_pattern(value)


_SizeText = Annotated[str, Field(pattern=r"^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$", examples=["10MiB"])] | int
_DurationText = Annotated[str, Field(pattern=r"^[0-9]+ ?(ms|s|m|h|d)$", examples=["30s"])]
_RateText = Annotated[
    str,
    Field(
        pattern=r"^[0-9]+/[smhd]( +burst +[0-9]+)? +per +(principal|key|address|route)$",
        examples=["50/s burst 100 per principal"],
    ),
]
_SecretText = Annotated[str, Field(pattern=r"^\$\{(env|file):[^{}]+\}$", examples=["${env:INTERLOCK_KEK}"])]


def _rates(value: Any) -> Any:
    """`none`, one rate or a list of them."""
    if isinstance(value, str):
        return [] if value.strip() == "none" else [value]
    if value is None or value == []:
        raise fault("is empty", "say `limit: none` for no limit")
    return value


def _rate(value: Any) -> Rate:
    if isinstance(value, Rate):
        return value
    if value == "none":
        raise ValueError("`none` stands alone, not in a list")
    return parse_rate(value)


def _failures(value: Any) -> Rate:
    rate = value if isinstance(value, Rate) else parse_rate(value, "address")
    if rate.per != "address":
        raise ValueError("counts per address; leave `per` out")
    if "burst" in str(value):
        raise ValueError("has no burst: all of the count may come at once")
    return rate


def _principal_text(value: str) -> str:
    return str(Principal.parse(value))


IN_BYTES = BeforeValidator(told(parse_size), json_schema_input_type=_SizeText)
IN_NANOSECONDS = BeforeValidator(told(parse_duration), json_schema_input_type=_DurationText)
Size = Annotated[int, IN_BYTES]
Duration = Annotated[int, IN_NANOSECONDS]
"""Nanoseconds."""
Percentage = Annotated[
    float,
    BeforeValidator(told(parse_percentage), json_schema_input_type=Annotated[str, Field(pattern=r"^[0-9.]+ ?%$")]),
]
OneRate = Annotated[Rate, PlainValidator(told(_rate), json_schema_input_type=_RateText)]
Rates = Annotated[
    tuple[OneRate, ...], BeforeValidator(_rates, json_schema_input_type=Literal["none"] | _RateText | list[_RateText])
]
FailureRate = Annotated[
    Rate, PlainValidator(told(_failures), json_schema_input_type=Annotated[str, Field(pattern=r"^[0-9]+/[smhd].*$")])
]
Secret = Annotated[SecretRef, PlainValidator(_secret, json_schema_input_type=_SecretText)]
FilePath = Annotated[Path, PlainValidator(resolved_path, json_schema_input_type=str)]
ListenAddress = Annotated[Address, PlainValidator(told(parse_address), json_schema_input_type=str)]
Network = Annotated[str, BeforeValidator(told(parse_network))]
Host = Annotated[str, AfterValidator(told(parse_host))]
Origin = Annotated[str, BeforeValidator(told(parse_origin))]
Upstream = Annotated[str, BeforeValidator(told(parse_upstream))]
HttpsUrl = Annotated[str, BeforeValidator(told(parse_https))]
PrincipalText = Annotated[str, AfterValidator(told(_principal_text))]
OnePattern = Annotated[Pattern, PlainValidator(told(_pattern), json_schema_input_type=str)]
Patterns = Annotated[
    tuple[OnePattern, ...],
    BeforeValidator(words, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
Name = Annotated[str, AfterValidator(_name("a part of the configuration", _NAME))]
Role = Annotated[str, AfterValidator(_role)]
Permission = Annotated[str, AfterValidator(_name("a permission", _GRANT))]
Words = Annotated[tuple[str, ...], BeforeValidator(words, json_schema_input_type=str | list[str])]
