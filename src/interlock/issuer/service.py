"""What every endpoint of the authorization server works with.

One `Issuer` lives in the control process. It opens no file and no socket: who runs it hands it the state, the
keys, a recorder and the means to make others forget a credential. Endpoints are plain functions
`(Issuer, Request) -> Response`; those that wait for the disk are marked so and run beside the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interlock.clock import SECOND, Clock
from interlock.config import OwnIssuer
from interlock.identity import TokenVerifier
from interlock.issuer.codes import Codes
from interlock.issuer.details import validate
from interlock.issuer.device_requests import DeviceRequests
from interlock.issuer.errors import NotYet, OAuthError
from interlock.issuer.http import Request
from interlock.issuer.needs import Notes, People, Proofs, References, Replays, Revoker
from interlock.issuer.registry import Registry
from interlock.issuer.signing import Keys
from interlock.jose import FAPI2_ALGORITHMS, Malformed, TokenRefused, claims_set, normal_url, split, verify_compact
from interlock.store.clients import Client, Clients, Grant
from interlock.store.registrations import Registrations

if TYPE_CHECKING:
    from interlock.issuer.signals.api import Transmitter

TOKEN, AUTHORIZE, PAR, REVOKE, INTROSPECT, JWKS, USERINFO, END_SESSION, DEVICE, REGISTER = (
    "/oauth/token",
    "/oauth/authorize",
    "/oauth/par",
    "/oauth/revoke",
    "/oauth/introspect",
    "/oauth/jwks",
    "/oauth/userinfo",
    "/oauth/logout",
    "/oauth/device_authorization",
    "/oauth/register",
)


class Issuer:
    """One authorization server. `keys` and `settings` may be replaced while it runs."""

    def __init__(
        self,
        settings: OwnIssuer,
        keys: Keys,
        *,
        clients: Clients,
        lookup_key: bytes,
        record: Notes,
        replays: Replays,
        revoker: Revoker,
        tokens: TokenVerifier,
        earliest: Callable[[str, str], int],
        vouched: Callable[[bytes, int], bool],
        people: People,
        proofs: Proofs,
        clock: Clock,
    ) -> None:
        """`tokens`: verifies the issuer's own tokens; `earliest(principal, client_id)`: see `may_date`;
        `vouched(certificate in DER, now)`: whether it was issued by somebody who may name clients."""
        self.settings = settings
        self.keys = keys
        self.clients = clients
        self.registry = Registry(clients, lookup_key)
        self.lookup_key = lookup_key
        self.record = record
        self.replays = replays
        self.revoker = revoker
        self.tokens = tokens
        self.clock = clock
        self.codes = Codes()
        self.devices = DeviceRequests()
        self.vouched = vouched
        self.people = people
        self._proofs = proofs
        self._earliest = earliest
        # Of outside issuers, as the file names them: whose tokens are exchanged, and whose stand for a credential.
        self.exchanged: TokenVerifier | None = None
        self.asserted: TokenVerifier | None = None
        self.signals: Transmitter | None = None  # None: nobody is told of anything
        self.references: References | None = None  # None: opaque tokens are not offered
        self.registrations: Registrations | None = None  # None: clients do not register themselves

    @property
    def url(self) -> str:
        """The issuer identifier (RFC 8414 section 2)."""
        return self.settings.url

    def endpoint(self, path: str) -> str:
        """The URL of one of the paths above."""
        return self.url + path

    @property
    def proof_algorithms(self) -> tuple[str, ...]:
        offered = self._proofs.algorithms
        return offered if self.settings.profile is None else tuple(name for name in offered if name in FAPI2_ALGORITHMS)

    def proof_of_possession(self, request: Request) -> bytes:
        """Thumbprint of the key that a request proves to have; empty if it proves nothing. Raises `OAuthError`.

        `use_proof` MUST follow before a token is made on its strength.
        """
        proof = request.headers.get("dpop")
        if proof is None:
            return b""
        shown = request.proved.get("proof")
        if shown is None:
            if self.settings.profile is not None:
                _check_strong(proof)
            shown = self._proofs.verify(
                proof,
                request.method,
                self._called(request.path, proof),
                request.now,
                nonce_required=self.settings.dpop.nonce == "required",
            )
            request.proved |= {"proof": shown, "nonce": shown.nonce}
        key: bytes = shown.proof.key
        return key

    def _called(self, path: str, proof: str) -> str:
        """The URL that a proof has to be for: the endpoint's, or its other one of `mtls_url` if it names that host."""
        other = self.settings.mtls_url
        if other is not None:
            try:
                named = claims_set(split(proof.encode("ascii", "replace"))).get("htu")
                if isinstance(named, str) and normal_url(named)[:2] == normal_url(other)[:2]:
                    return other + path
            except (TokenRefused, Malformed):
                pass  # which is for `verify` to say
        return self.endpoint(path)

    def use_proof(self, request: Request) -> None:
        """Use up the proof that a request came with, if it has one; once for each request. Raises `OAuthError`.

        Room for used proofs is shared by all. So this comes when the client is authenticated and all else was found
        good, just before something is given or spent: nobody's failing try takes any (RFC 9449 section 11.1).
        """
        shown = request.proved.get("proof")
        if shown is not None and not request.proved.get("used"):
            self._proofs.use(shown, request.now, of=request.client)
            request.proved["used"] = True

    def hinted(self, id_token: str) -> dict[str, Any]:
        """The claims of an ID token of ours, however old (OpenID Connect Core section 3.1.2.1); none: it is not one."""
        try:
            compact = split(id_token.encode("ascii", "replace"))
            verify_compact(compact, self.keys.verifiers, ("ES256", "EdDSA"))
            claims = claims_set(compact)
        except TokenRefused:
            return {}
        # An access token has another type.
        return claims if compact.header.get("typ") == "JWT" and claims.get("iss") == self.url else {}

    def details(self, client: Client, text: str | None) -> tuple[dict[str, Any], ...]:
        """`authorization_details` (RFC 9396) of a request, as far as they are offered. Raises `OAuthError`."""
        return validate(self, client, text)

    def may_date(self, principal: str, client_id: str, now: int) -> None:
        """Whether a credential for them can be dated `now`; raises `NotYet` for the rest of a revocation's second.

        After a revocation, what was issued in that second or before is refused everywhere; a token is dated by whole
        seconds, so the next one waits until the clock has left that second. To be asked before anything is spent.
        """
        earliest = self._earliest(principal, client_id) * SECOND
        if now < earliest:
            raise NotYet(min(1.0, (earliest - now) / SECOND + 0.001))

    def withdrawn(self, grant: Grant, client_id: str = "") -> bool:
        """Whether what somebody gave was revoked since it was given.

        For what is not in the state, where a revocation would find it: a code, a device's request, and a grant that is
        written in the moment of the revocation. `client_id`: whose revocation counts, too.
        """
        return grant.created // SECOND < self._earliest(grant.principal, client_id)


def _check_strong(proof: str) -> None:
    """FAPI 2.0 Security Profile section 5.4.1, before anything else of a proof is looked at. Raises `OAuthError`."""
    try:
        header = split(proof.encode("ascii", "replace")).header
    except TokenRefused:
        header = {}
    jwk = header.get("jwk")
    if header.get("alg") not in FAPI2_ALGORITHMS or (isinstance(jwk, dict) and jwk.get("crv") == "Ed448"):
        raise OAuthError("invalid_dpop_proof", f"a proof is signed with {', '.join(FAPI2_ALGORITHMS)} here")
