"""How strongly somebody signed in, in the words of the standards.

    proved            amr (RFC 8176)            acr
    pwd               pwd                       urn:interlock:acr:pwd    one factor
    pwd, otp          pwd, otp, mfa             urn:interlock:acr:mfa    two factors
    pwd, recovery     pwd, otp, mfa             urn:interlock:acr:mfa
    pop               pop, user, mfa            urn:interlock:acr:phr    two factors, and no other site can ask for them
    pwd, pop          pwd, pop, user, mfa       urn:interlock:acr:phr
    outside           (nothing)                 urn:interlock:acr:pwd    an outside provider says who it is
    outside-mfa       mfa                       urn:interlock:acr:mfa    and that it asked for more than one factor

`pop` is a passkey, used after the device verified who holds it (WebAuthn user verification). Whether its key is in
hardware is not known without attestation, so neither `hwk` nor `swk` is said. A level includes those before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

PWD, OTP, RECOVERY, POP = "pwd", "otp", "recovery", "pop"
OUTSIDE, OUTSIDE_MFA = "outside", "outside-mfa"
SECOND: Final = frozenset({OTP, RECOVERY, POP, OUTSIDE_MFA})  # what makes a second factor, or includes one
ONE, TWO, RESISTANT = 1, 2, 3

ACR: Final = {
    ONE: "urn:interlock:acr:pwd",
    TWO: "urn:interlock:acr:mfa",
    RESISTANT: "urn:interlock:acr:phr",
}
LEVELS: Final = {name: level for level, name in ACR.items()}


def level_of(proved: Collection[str]) -> int:
    """0: nothing yet."""
    if POP in proved:
        return RESISTANT
    if OUTSIDE_MFA in proved:
        return TWO
    first = PWD in proved or OUTSIDE in proved
    return TWO if first and (OTP in proved or RECOVERY in proved) else ONE if first else 0


def amr_of(proved: Collection[str]) -> tuple[str, ...]:
    """For the claim `amr`."""
    words = [PWD] if PWD in proved else []
    if OTP in proved or RECOVERY in proved:
        words.append(OTP)
    if POP in proved:
        words += [POP, "user"]
    if level_of(proved) >= TWO:
        words.append("mfa")
    return tuple(words)


def proved_of(amr: Collection[str]) -> tuple[str, ...]:
    """What was proved in a sign-in of which this is said."""
    return tuple(word for word in (PWD, OTP, POP) if word in amr)


def acr_of(proved: Collection[str]) -> str:
    """For the claim `acr`."""
    return ACR.get(level_of(proved), "")


def asked_level(acr_values: Iterable[str]) -> int:
    """The least that one of these values is content with; 0: none of them is known here."""
    return min((LEVELS[value] for value in acr_values if value in LEVELS), default=0)


def including(acr_values: Iterable[str]) -> list[str]:
    """These values, and those of ours that include one of them."""
    asked = list(acr_values)
    least = min((LEVELS[value] for value in asked if value in LEVELS), default=RESISTANT + 1)
    return list(dict.fromkeys([*asked, *(name for name, level in LEVELS.items() if level >= least)]))


def answered(acr: str, acr_values: Iterable[str]) -> str:
    """The `acr` for who asked for these values, of somebody who signed in with `acr`.

    The first of the values that is met, since a higher level includes it; otherwise what it is.
    """
    have = LEVELS.get(acr, 0)
    return next((value for value in acr_values if LEVELS.get(value, RESISTANT + 1) <= have), acr)
