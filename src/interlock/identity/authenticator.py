"""Step 2 of a call, compiled per route: what must be shown, what was shown, and that it belongs together.

In this order:

 1. Whatever is presented is verified; one that is invalid refuses the call, whatever else is presented.
    A certificate is presented where the route asks for one (browsers and meshes show it everywhere).
 2. A token that is bound to a certificate (`cnf.x5t#S256`, RFC 8705) holds only on a connection that
    showed it, whether or not the route asks for certificates. One that is bound to a key (`cnf.jkt`, RFC 9449)
    holds only by the scheme DPoP, with a proof for this very call; by that scheme nothing else holds. A proof
    beside any other credential makes that no better, but MUST be good all the same (1). It is used up when that
    credential was found good: room for used proofs is shared by all, and nobody without one may fill it.
 3. The first alternative of the route's list that is wholly presented applies. `jwt+dpop` is presented by a token
    that is bound to a key, and by no other.
 4. Its credentials name one principal, or the token is bound to that very certificate.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Final

from interlock.identity.apikey import ApiKeyVerifier
from interlock.identity.certificate import CertificateVerifier
from interlock.identity.challenge import Challenge
from interlock.identity.dpop import Possession, ProofGuard, Shown
from interlock.identity.token import TokenVerifier
from interlock.model import Identity, PeerCertificate, Pending, Reason, Refusal

METHODS: Final = ("jwt", "api_key", "mtls")
DPOP: Final = "dpop"  # beside "jwt": the token is bound to a key, whose possession was proved by then
NO_PROOFS: Final = "no proofs are taken here"
MERGED: Final = 4096  # combined identities kept per way to authenticate

# bearer token, API key, peer certificate, source address, wall ns, what there is of DPoP
Authenticate = Callable[
    [bytes | None, bytes | None, PeerCertificate | None, str, int, Possession | None], Identity | Refusal | Pending
]


def compile_authenticator(
    alternatives: Sequence[Sequence[str]],
    *,
    jwt: TokenVerifier,
    keys: ApiKeyVerifier,
    certificates: CertificateVerifier,
    trust: str,
    proofs: ProofGuard | None = None,
) -> Authenticate:
    """One function for a route that asks for any of `alternatives`, each meaning all of its methods.

    Without `proofs` no proof of possession holds, and nothing that needs one.
    `ValueError` for a route that asks for nothing, or for what is not known: public routes have no
    authenticator at all.
    """
    slow = _Authenticator(alternatives, jwt, keys, certificates, trust, proofs).authenticate
    tokens = jwt.entries
    api_keys = keys.entries
    directory = keys.directory
    takes_token = ["jwt"] in [list(one) for one in alternatives]
    takes_key = ["api_key"] in [list(one) for one in alternatives]
    takes_certificate = any("mtls" in one for one in alternatives)

    def authenticate(
        bearer: bytes | None,
        api_key: bytes | None,
        peer: PeerCertificate | None,
        address: str,
        now: int,
        possession: Possession | None = None,
    ) -> Identity | Refusal | Pending:
        # What was verified before, presented alone: the same checks as below, on the remembered result.
        if possession is None and (peer is None or not takes_certificate):
            if bearer is not None:
                if api_key is None and takes_token:
                    token = tokens.get(bearer)
                    if (
                        token is not None
                        and token.not_before <= now < token.until
                        and token.epoch == directory.epoch
                        and not token.bound
                    ):
                        return token.identity
            elif api_key is not None and takes_key:
                key = api_keys.get(api_key)
                if (
                    key is not None
                    and key.not_before <= now < key.until
                    and key.epoch == directory.epoch
                    and not key.networks
                ):
                    return key.identity
        return slow(bearer, api_key, peer, address, now, possession)

    return authenticate


class _Authenticator:
    """The whole of it, for everything but the plainest cases."""

    def __init__(
        self,
        alternatives: Sequence[Sequence[str]],
        jwt: TokenVerifier,
        keys: ApiKeyVerifier,
        certificates: CertificateVerifier,
        trust: str,
        proofs: ProofGuard | None,
    ) -> None:
        # Each with whether it asks for a token that is bound to a key.
        self._alternatives = [
            (tuple([method for method in one if method != DPOP]), DPOP in one) for one in alternatives
        ]
        methods = {method for one, _ in self._alternatives for method in one}
        if not methods or not methods <= set(METHODS):
            raise ValueError(f"{alternatives!r} is not a list of ways to authenticate")
        for one, bound in self._alternatives:
            if not one or (bound and "jwt" not in one):
                raise ValueError(f"{alternatives!r} is not a list of ways to authenticate")
        self._takes_certificate = "mtls" in methods
        self._jwt = jwt
        self._keys = keys
        self._certificates = certificates
        self._trust = trust
        self._proofs = proofs
        takes_bearer = any("jwt" in one and not bound for one, bound in self._alternatives)
        self._challenge = Challenge(methods, takes_bearer)
        self._merged: dict[tuple[Identity, ...], Identity] = {}

    def authenticate(
        self,
        bearer: bytes | None,
        api_key: bytes | None,
        peer: PeerCertificate | None,
        address: str,
        now: int,
        possession: Possession | None,
    ) -> Identity | Refusal | Pending:
        challenge = self._challenge
        shown: dict[str, Identity] = {}
        beside: Shown | None = None  # a proof that came beside something else than a token
        # 1. and 2.
        presented = bearer if possession is None or possession.token is None else possession.token
        if presented is not None:
            by_dpop = presented is not bearer
            token = self._jwt.verify(presented, now)
            if isinstance(token, Pending):
                return token
            if isinstance(token, Refusal):
                return challenge.put(token, bearer=True, dpop=by_dpop)
            if token.bound_to and not _holds(token, peer):
                return challenge.put(Refusal(Reason.TOKEN_BINDING, (), token.text), bearer=True, dpop=by_dpop)
            if token.bound_key or possession is not None:
                refusal = self._possessed(token, presented, possession, now)
                if refusal is not None:
                    return challenge.put(refusal, dpop=True)
            shown["jwt"] = token
        elif possession is not None and not possession.proven:
            looked_at = self._look_at(possession, now)
            if isinstance(looked_at, Refusal):
                return challenge.put(looked_at, dpop=True)
            beside = looked_at
        if api_key is not None:
            key = self._keys.verify(api_key, address, now)
            if isinstance(key, Refusal):
                return challenge.put(key)
            shown["api_key"] = key
        if peer is not None and self._takes_certificate:
            certificate = self._certificates.verify(peer, self._trust, now)
            if isinstance(certificate, Refusal):
                return challenge.put(certificate)
            shown["mtls"] = certificate
        # 3.
        for alternative, bound in self._alternatives:
            if all(method in shown for method in alternative) and (not bound or shown["jwt"].bound_key):
                # 4.
                together = self._together(tuple(shown[method] for method in alternative))
                if beside is None or possession is None or isinstance(together, Refusal):
                    return together
                refusal = self._accepted(possession, beside, now)
                return together if refusal is None else challenge.put(refusal, dpop=True)
        return challenge.missing(f"presented: {', '.join(shown)}" if shown else "")

    def _possessed(self, token: Identity, presented: bytes, possession: Possession | None, now: int) -> Refusal | None:
        """Whether a token came as it is bound: by the scheme DPoP with a proof, or by another with none needed."""
        key = token.bound_key
        by_scheme = possession is not None and possession.token is not None
        if by_scheme and not key:
            return Refusal(Reason.TOKEN_BINDING, (), f"{token.text}: the scheme DPoP, for a token bound to no key")
        if key and not by_scheme:  # RFC 9449 section 7.2: no downgrade
            return Refusal(Reason.DPOP_MISSING, (), f"{token.text}: a token bound to a key, as a bearer token")
        assert possession is not None
        if possession.proof is None:
            return Refusal(Reason.DPOP_MISSING, (), f"{token.text}: no proof")
        issuer = self._jwt.issuer(token.issuer)  # says what proofs for its tokens have to be
        if self._proofs is None:
            return Refusal(Reason.DPOP_UNAVAILABLE, (), NO_PROOFS)
        return self._proofs.prove(
            possession,
            now,
            access_token=presented,
            key=key,
            nonce_required=issuer is not None and issuer.spec.dpop_nonce,
            fapi2=issuer is not None and issuer.spec.dpop_fapi2,
        )

    def _look_at(self, possession: Possession, now: int) -> Shown | Refusal:
        if self._proofs is None:
            return Refusal(Reason.DPOP_UNAVAILABLE, (), NO_PROOFS)
        return self._proofs.look_at(possession, now)

    def _accepted(self, possession: Possession, beside: Shown, now: int) -> Refusal | None:
        assert self._proofs is not None
        return self._proofs.accept(possession, beside, now)

    def _together(self, parts: tuple[Identity, ...]) -> Identity | Refusal:
        if len(parts) == 1:
            return parts[0]
        merged = self._merged.get(parts)
        if merged is None:
            if not _one_principal(parts):
                names = " and ".join(part.text for part in parts)
                return self._challenge.put(Refusal(Reason.CREDENTIAL_MISMATCH, (), names))
            merged = _merge(parts)
            if len(self._merged) >= MERGED:
                self._merged.clear()
            self._merged[parts] = merged
        return merged


def _holds(token: Identity, peer: PeerCertificate | None) -> bool:
    return peer is not None and hmac.compare_digest(token.bound_to, peer.fingerprint)


def _one_principal(parts: tuple[Identity, ...]) -> bool:
    """All name the same principal; a certificate that the token is bound to needs no name of its own."""
    bound_to = next((part.bound_to for part in parts if part.bound_to), None)
    naming = [part for part in parts if not part.certificate or part.certificate != bound_to]
    return len({part.principal for part in naming}) == 1


def _merge(parts: tuple[Identity, ...]) -> Identity:
    """One identity: the principal's own roles from every part that names it, the rest from the first that has it.

    What a token says, and that its handle comes first, does not depend on the order in which a route names the parts.
    """
    first = next((part for part in parts if "mtls" not in part.methods), parts[0])
    token = next((part for part in parts if "jwt" in part.methods), first)
    same = [part for part in parts if part.principal == first.principal]
    ends = [part.expires for part in parts if part.expires]
    return Identity(
        principal=first.principal,
        text=first.text,
        methods=tuple(method for part in parts for method in part.methods),
        roles=frozenset().union(*(part.roles for part in same)),
        permissions=frozenset().union(*(part.permissions for part in same)),
        scopes=frozenset().union(*(part.scopes for part in same)),
        claims=token.claims,
        issuer=next((part.issuer for part in parts if part.issuer), ""),
        trust=next((part.trust for part in parts if part.trust), ""),
        not_before=max(part.not_before for part in parts),
        expires=min(ends) if ends else 0,
        networks=tuple(network for part in parts for network in part.networks),
        handles=token.handles + tuple(handle for part in parts if part is not token for handle in part.handles),
        certificate=next((part.certificate for part in parts if part.certificate), b""),
        bound_to=next((part.bound_to for part in parts if part.bound_to), b""),
        bound_key=next((part.bound_key for part in parts if part.bound_key), b""),
        limit_key=first.limit_key,
        credential=first.credential,
        issued=min(part.issued for part in parts),
        auth_time=token.auth_time,
        acr=token.acr,
        amr=token.amr,
        api_key=next((part.handles[0] for part in parts if "api_key" in part.methods), b""),
    )
