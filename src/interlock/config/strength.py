"""How strongly, how lately and from where a caller of a route must have been authenticated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from interlock.clock import SECOND
from interlock.config.fields import Duration, Section, duration, fault, words

AcrValue = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,256}$")]  # it stands in a quoted list (RFC 9470 section 3)


class Strength(Section):
    """What a route asks of the sign-in behind a call, at every call. All that is named must hold."""

    max_age: Annotated[Duration, duration("1s", "365d")] | None = None
    """How long ago it may be (`auth_time` of the token), in whole seconds."""
    acr: Annotated[tuple[AcrValue, ...], BeforeValidator(words, json_schema_input_type=str | list[str])] = ()
    """How strong it must have been: any of these values of the token's `acr`."""
    risk: Annotated[int, Field(ge=1, le=100)] | None = None
    """The figure at which callers are refused, from 1 to 100."""
    network: Literal["same"] | None = None
    """`same`: a token is good only in the network (/24, /64) in which this node first saw it."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.max_age is None and not self.acr and self.risk is None and self.network is None:
            raise fault("asks for nothing", "name max_age, acr, risk or network")
        return self

    @property
    def max_age_s(self) -> int:
        """In seconds; 0: not asked for."""
        return 0 if self.max_age is None else self.max_age // SECOND

    @property
    def of_tokens(self) -> bool:
        """Whether it asks for what only a token can say."""
        return self.max_age is not None or bool(self.acr) or self.network is not None
