"""How long the record is kept: periods by class of data, or the frameworks that ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from interlock.config.fields import Duration, Section, duration, fault
from interlock.model.retention import CLASSES

# What each framework asks for at least, in days, with the leap days that can be in it.
ASKED: Final[Mapping[str, int]] = {
    "pci-dss-4.0.1": 366,  # 10.5.1: 12 months, of which 3 at hand: all that is kept is at hand
    "hipaa": 2192,  # 45 CFR 164.316(b)(2)(i): 6 years
}
_Named = Literal["pci-dss-4.0.1", "hipaa"]
Period = Annotated[Duration, duration("7d", "36500d")]


class Retention(Section):
    """How long records are kept before they are deleted, by class."""

    standard: Period
    """All that is of no other class."""
    phi: Period | None = None
    """Segments of a node with services that hold `phi` data; left out: as `standard`."""
    pan: Period | None = None
    """The same for `pan`."""
    pii: Period | None = None
    """The same for `pii`."""
    financial: Period | None = None
    """The same for `financial`."""

    @property
    def by_class(self) -> dict[int, int]:
        """Class to ns; every class is in it."""
        return {number: getattr(self, name) or self.standard for name, number in CLASSES.items()}


def _by_framework(value: Any) -> Any:
    """The longest that any of the frameworks asks for."""
    if not isinstance(value, str | list):
        return value
    named = [value] if isinstance(value, str) else value
    for name in named:
        if name == "gdpr":
            raise fault(
                "gdpr names no period: not longer than needed, and that is for you to say",
                "write it as in {standard: 90d}",
            )
        if name not in ASKED:
            raise fault(f"`{name}` is no framework that names a period", f"{', '.join(ASKED)}; or {{standard: 400d}}")
    if not named:
        raise fault("is empty", "write it as in {standard: 400d}; leave it out to keep everything")
    return {"standard": f"{max(ASKED[name] for name in named)}d"}


Kept = Annotated[
    Retention | None, BeforeValidator(_by_framework, json_schema_input_type=_Named | list[_Named] | Retention | None)
]
