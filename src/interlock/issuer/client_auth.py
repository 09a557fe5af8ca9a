"""Who is the client that asks (RFC 6749 section 2.3, RFC 7521 section 4.2, RFC 8705 section 2).

A client is authenticated by the one method it is registered with; only between the two ways to send a secret it
may choose. What is presented beside that is refused, never ignored. Nobody is told whether a client exists.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from cryptography import x509
from cryptography.x509.oid import NameOID

from interlock.clock import SECOND
from interlock.identity import claims as claim
from interlock.identity.bundle import in_date
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request
from interlock.issuer.registry import Known
from interlock.issuer.service import PAR, TOKEN, Issuer
from interlock.jose import KeySet, TokenRefused, claims_set, split, verify_compact
from interlock.store.clients import Client

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SECRETS = ("client_secret_basic", "client_secret_post")
CERTIFICATES = ("tls_client_auth", "self_signed_tls_client_auth")
METHODS = (*SECRETS, "private_key_jwt", *CERTIFICATES, "none")
FAPI2_METHODS = ("private_key_jwt", *CERTIFICATES)  # FAPI 2.0 Security Profile section 5.3.2.1
ALGORITHMS = frozenset({"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "EdDSA", "Ed25519"})
FAPI2_ALGORITHMS = frozenset({"PS256", "ES256", "EdDSA", "Ed25519"})  # section 5.4.1
CHALLENGE = (("www-authenticate", 'Basic realm="interlock"'),)
LONGEST_ASSERTION = 3600 * SECOND  # of life that is left; libraries of others say an hour
# What an assertion may call itself (RFC 8725 section 3.11): a client signs other things, too.
TYPES = ("", "JWT", "client-authentication+jwt")
LEEWAY = 10  # seconds; FAPI 2.0 section 5.3.2.1 asks for 10 and allows 60


def authenticate(issuer: Issuer, request: Request) -> Known:
    """The client of a request to the token endpoint or one like it; raises `OAuthError` (invalid_client).

    A request that waited is looked at anew: its credential may be what was revoked meanwhile.
    """
    known = _authenticated(issuer, request)
    request.client = known.client.client_id
    return known


def _authenticated(issuer: Issuer, request: Request) -> Known:
    form = request.form
    basic = request.headers.get("authorization", "")
    presented = [
        name
        for name, there in (
            ("basic", bool(basic)),
            ("post", "client_secret" in form),
            ("assertion", "client_assertion" in form or "client_assertion_type" in form),
        )
        if there
    ]
    if len(presented) > 1:
        raise OAuthError("invalid_request", "the client authenticates in more than one way")
    if presented == ["basic"]:
        client_id, secret = _basic(basic)
        if form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "client_id is another than that of the Authorization header")
        return _by_secret(issuer, client_id, secret, request, basic=True)
    if presented == ["post"]:
        return _by_secret(issuer, form.get("client_id", ""), form["client_secret"], request, basic=False)
    if presented == ["assertion"]:
        return _by_assertion(issuer, request)
    known = issuer.registry.get(form.get("client_id", ""), request.begun)
    if known is None:
        raise _refused(request, "no such client, or nothing presented")
    method = known.client.method
    if method == "none" and issuer.settings.profile is None:
        return known
    if method in CERTIFICATES and request.certificate:
        _check_certificate(issuer, known, request)
        return known
    raise _refused(request, f"{method} was not presented")


def _by_secret(issuer: Issuer, client_id: str, secret: str, request: Request, *, basic: bool) -> Known:
    known = issuer.registry.get(client_id, request.begun)
    holds = issuer.registry.secret_holds(known, secret, request.now)
    if known is None or not holds or known.client.method not in SECRETS:
        raise _refused(request, "the secret is not this client's", basic=basic)
    if issuer.settings.profile is not None:
        raise _refused(request, "a secret is no authentication under the fapi2 profile", basic=basic)
    return known


def _by_assertion(issuer: Issuer, request: Request) -> Known:
    """RFC 7523 section 3: signed by the client, for us, short-lived, once."""
    form = request.form
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}")
    now = request.now
    try:
        compact = split(form.get("client_assertion", "").encode("ascii", "replace"))
        claims = claims_set(compact)
        client_id = claims.get("sub")
        known = issuer.registry.get(client_id, request.begun) if isinstance(client_id, str) else None
        if known is None or known.client.method != "private_key_jwt":
            raise _refused(request, "no such client by assertion")
        verify_compact(compact, keys_of(issuer, known), _algorithms(issuer, known))
        claim.check_type(compact.header, TYPES)
        not_before, expires = claim.validity(claims, LEEWAY)
        token_id = claim.token_id(claims)
    except TokenRefused as problem:
        raise _refused(request, f"assertion: {problem.reason} {problem.note}") from None
    if claims.get("iss") != client_id or form.get("client_id", client_id) != client_id:
        raise _refused(request, "the assertion is of another client")
    # A signed request travels through browsers, and may have the same `typ`, `aud` and `iss` (RFC 9101 section 10.8).
    if "response_type" in claims or "redirect_uri" in claims:
        raise _refused(request, "the assertion is a request for authorization")
    audience = claims.get("aud")
    # One audience, and that the issuer's own: with several, or an endpoint's, another server could have asked for it
    # (RFC 7523bis). Endpoints are still taken where no profile forbids it, since many libraries send them.
    accepted = {issuer.url} if issuer.settings.profile else {issuer.url, issuer.endpoint(TOKEN), issuer.endpoint(PAR)}
    if isinstance(audience, list) and len(audience) == 1 and not issuer.settings.profile:
        audience = audience[0]  # FAPI 2.0 section 5.3.2.1 takes a string alone
    if not isinstance(audience, str) or audience not in accepted:
        raise _refused(request, "the assertion is for another audience")
    if not not_before <= now < expires or expires - now > LONGEST_ASSERTION + LEEWAY * SECOND:
        raise _refused(request, "the assertion is expired, not yet valid, or lives too long")
    if not token_id:
        raise _refused(request, "the assertion has no jti")
    name = hashlib.sha256(f"assertion\0{client_id}\0{token_id}".encode()).digest()
    if request.proved.get("assertion") != name:  # else it was used by this very request, which had to wait
        since = issued(claims, expires)
        if not issuer.replays.claim(name, since, expires, now, ahead=LEEWAY * SECOND, of=known.client):
            raise _refused(request, "the assertion was used before")
        request.proved["assertion"] = name
    return known


def issued(claims: Mapping[str, Any], expires: int) -> int:
    """From when something that is good once may have been used (wall ns): it says so, or it is as old as it may be."""
    stated = [claims[name] for name in ("iat", "nbf") if isinstance(claims.get(name), int | float)]
    return int(min(stated) * SECOND) if stated else expires - LONGEST_ASSERTION


def claimed(request: Request) -> str:
    """Whom a request says it is from, unverified; empty if it does not say."""
    try:
        stated = request.form.get("client_id")
        if stated is None and (header := request.headers.get("authorization")):
            return _basic(header)[0]
        if stated is None and (assertion := request.form.get("client_assertion")):
            stated = claims_set(split(assertion.encode("ascii", "replace"))).get("sub")
    except (OAuthError, TokenRefused):
        return ""
    return stated if isinstance(stated, str) else ""


def keys_of(issuer: Issuer, known: Known) -> KeySet:
    """What a client's JWTs are verified with; EdDSA means Ed25519 under FAPI 2.0 (section 5.4.1)."""
    if issuer.settings.profile is None:
        return known.keys
    return KeySet([key for key in known.keys.keys if "Ed448" not in key.algorithms], known.keys.set_aside)


def _algorithms(issuer: Issuer, known: Known) -> frozenset[str]:
    allowed = FAPI2_ALGORITHMS if issuer.settings.profile else ALGORITHMS
    stated = known.client.token_endpoint_auth_signing_alg
    return allowed & {stated} if stated else allowed


def certificate_thumbprint(request: Request) -> bytes:
    """SHA-256 of the client's certificate (RFC 8705 section 3.1); empty if it showed none."""
    return hashlib.sha256(request.certificate).digest() if request.certificate else b""


def _check_certificate(issuer: Issuer, known: Known, request: Request) -> None:
    """RFC 8705 section 2. The connection has proved possession; who issued it was verified where it is asked for."""
    client = known.client
    if client.method == "self_signed_tls_client_auth":
        shown = certificate_thumbprint(request)
        held = False
        for one in known.certificates:
            held |= hmac.compare_digest(one, shown)
        if not held:
            raise _refused(request, "the certificate is not one of this client's")
    elif not issuer.vouched(request.certificate, request.now):
        raise _refused(request, "the certificate was issued by nobody who is trusted")
    try:
        certificate = x509.load_der_x509_certificate(request.certificate)
        valid = in_date(certificate, request.now)
        named = client.method != "tls_client_auth" or _names(client, certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise _refused(request, "the certificate cannot be read") from None
    if not valid:
        raise _refused(request, "the certificate is expired or not yet valid")
    if not named:
        raise _refused(request, "the certificate has another name than this client's")


def _names(client: Client, certificate: x509.Certificate) -> bool:
    """RFC 8705 section 2.1.2: exactly one kind of name is registered."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    if client.tls_client_auth_san_uri:
        return names is not None and client.tls_client_auth_san_uri in names.get_values_for_type(
            x509.UniformResourceIdentifier
        )
    if client.tls_client_auth_san_dns:
        return names is not None and client.tls_client_auth_san_dns in names.get_values_for_type(x509.DNSName)
    wanted = client.tls_client_auth_subject_dn
    return bool(wanted) and distinguished_name(wanted) == certificate.subject


def distinguished_name(text: str) -> x509.Name:
    """A subject as RFC 4514 writes it; `ValueError`."""
    return x509.Name.from_rfc4514_string(text, {"E": NameOID.EMAIL_ADDRESS})


def _basic(header: str) -> tuple[str, str]:
    """RFC 6749 section 2.3.1: both halves are form-encoded before RFC 7617 takes them."""
    scheme, _, value = header.partition(" ")
    try:
        decoded = base64.b64decode(value.strip(" "), validate=True)
        text = decoded.decode("utf-8") if base64.b64encode(decoded).decode("ascii") == value.strip(" ") else ""
        client_id, colon, secret = text.partition(":")
        client_id, secret = unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise OAuthError(
            "invalid_client", "the Authorization header is no Basic credential", status=401, fields=CHALLENGE
        )
    return client_id, secret


def _refused(request: Request, note: str, *, basic: bool = False) -> OAuthError:
    """RFC 6749 section 5.2: 401, with the scheme that was used."""
    fields = CHALLENGE if basic else ()
    return OAuthError("invalid_client", "the client is not authenticated", status=401, fields=fields, note=note)
