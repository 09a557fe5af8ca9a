"""Where people may sign in besides here: outside OpenID providers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from interlock.config.fields import HttpsUrl, Secret, Section, words
from interlock.config.issuers import SignatureAlgorithm


class OutsideProvider(Section):
    """One OpenID provider. Its people sign in as those of ours who linked their account to it, and as nobody else."""

    issuer: HttpsUrl
    """Exactly what its ID tokens say in `iss`; its metadata is found there."""
    client_id: Annotated[str, Field(min_length=1, max_length=512)]
    """What we are called there."""
    client_secret: Secret | None = None
    """Left out: we are a public client there, and only PKCE protects the code."""
    title: Annotated[str, Field(min_length=1, max_length=60)]
    """What people call it, as in `Corporate account`."""
    algorithms: Annotated[
        tuple[SignatureAlgorithm, ...],
        BeforeValidator(words, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = ("RS256", "ES256")
    """What its ID tokens may be signed with."""
    trust_mfa: bool = False
    """Whether `mfa` in the `amr` of its ID tokens counts as two factors here; otherwise a sign-in there is one."""
