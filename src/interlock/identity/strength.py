"""How strongly and how lately a caller was authenticated, against what a route asks: at every call, since time passes.

What a token says of the sign-in behind it (`auth_time`, `acr`: OpenID Connect Core 1.0 section 2) is compared anew
each time, also for a token that was verified before; what it does not say does not hold. Whoever falls short is told
what to ask the issuer for (RFC 9470 section 3), so that the person signs in again and comes back with another token.

A risk, from 1 to 100, is what others have found out (`interlock.snapshot.changes.Risk`). One of the credential or the
sign-in is left behind by signing in anew, so that is what is asked for; one of the principal, client or issuer is not,
so there is nothing to ask for.
"""

from __future__ import annotations

from collections.abc import Callable

from interlock.clock import SECOND
from interlock.identity import claims as claim
from interlock.identity.directory import KeyDirectory
from interlock.identity.dpop import ALGS
from interlock.identity.handles import family_handle, session_handle
from interlock.model import Identity, Reason, Refusal
from interlock.snapshot import StrengthSpec

# The verified identity and wall ns: why it is not enough, or None.
Strength = Callable[[Identity, int], Refusal | None]

_DESCRIPTION = b"the sign-in is not enough for this"


def compile_strength(spec: StrengthSpec, directory: KeyDirectory) -> Strength:
    """One function for a route."""
    max_age, threshold = spec.max_age_s, spec.risk
    accepted = frozenset(spec.accepted)
    challenges = _Challenges(spec)

    def judge(identity: Identity, now: int) -> Refusal | None:
        if max_age:
            since = identity.auth_time
            if not since:
                return challenges.put(identity, "the token does not say when they signed in")
            if now // SECOND - since > max_age:
                return challenges.put(identity, "they signed in too long ago")
        if accepted and identity.acr not in accepted:
            return challenges.put(identity, f"acr {identity.acr!r:.120}")
        if threshold:
            risky = [handle for handle in identity.handles if directory.risk(handle) >= threshold]
            if risky:
                note = f"risk {max(map(directory.risk, risky))}"
                if "jwt" in identity.methods and _left_behind(identity).issuperset(risky):
                    return challenges.put(identity, note)
                return Refusal(Reason.RISK_TOO_HIGH, (), note)
        return None

    return judge


def _left_behind(identity: Identity) -> set[bytes]:
    """The handles of a token that one of a new sign-in would not have."""
    claims, issuer = identity.claims, identity.issuer
    found = {identity.handles[0]}
    if session := claim.session(claims):
        found.add(session_handle(issuer, session))
    if family := claim.family(claims):
        found.add(family_handle(issuer, family))
    return found


def another_sign_in(identity: Identity, note: str) -> Refusal:
    """For a token that is not where it was: a new one will be first seen where it is used."""
    return _MOVED.put(identity, note)


class _Challenges:
    """What is told to who falls short, by the scheme their token came with."""

    def __init__(self, spec: StrengthSpec, reason: Reason = Reason.AUTHENTICATION_INSUFFICIENT) -> None:
        self._reason = reason
        said = b'realm="interlock", error="insufficient_user_authentication", error_description="%b"' % _DESCRIPTION
        if spec.acr:
            said += b', acr_values="%b"' % " ".join(spec.acr).encode("ascii")
        if spec.max_age_s:
            said += b', max_age="%d"' % spec.max_age_s
        self._bearer = ((b"www-authenticate", b"Bearer " + said),)
        self._dpop = ((b"www-authenticate", b'DPoP %b, algs="%b"' % (said, ALGS.encode("ascii"))),)

    def put(self, identity: Identity, note: str) -> Refusal:
        headers = self._dpop if identity.bound_key else self._bearer
        return Refusal(self._reason, headers, note)


_MOVED = _Challenges(StrengthSpec(), Reason.CREDENTIAL_MOVED)
