"""What a client may be: the rules that hold however it is registered (RFC 7591, RFC 9700, OAuth 2.1)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from interlock.errors import KeyMaterialError, UsageError
from interlock.issuer.client_auth import ALGORITHMS, FAPI2_METHODS, METHODS, distinguished_name
from interlock.jose import KeySet
from interlock.store.clients import Client

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
OFFERED = frozenset(
    {
        "client_credentials",
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        EXCHANGE,
        JWT_BEARER,
    }
)
URIS = 32
LONGEST = 2048
MANY = 256  # of anything else
# RFC 3986, without what a redirect URI may not have: a fragment, and `*`, which some take for a pattern.
_URI = re.compile(r"(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()+,;=]|%[0-9A-Fa-f]{2})+")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")  # RFC 6749 section 3.3


def check(client: Client, *, fapi2: bool = False) -> None:
    """`UsageError` for a client that could not be used, or not safely. `fapi2`: under that profile."""
    if fapi2 and client.method not in FAPI2_METHODS:
        raise UsageError(f"under the fapi2 profile a client authenticates by {', '.join(FAPI2_METHODS)}")
    if client.method not in METHODS:
        raise UsageError(f"{client.method!r} is no way to authenticate (there are {', '.join(METHODS)})")
    for grant in client.grant_types:
        if grant not in OFFERED:
            raise UsageError(f"{grant!r} is not a grant type (there are {', '.join(sorted(OFFERED))})")
    if client.public and "client_credentials" in client.grant_types:
        raise UsageError("a client without a credential cannot have tokens of its own (client_credentials)")
    if client.public and EXCHANGE in client.grant_types:
        raise UsageError("a client without a credential exchanges nothing (token-exchange)")
    if JWT_BEARER in client.grant_types and not (client.assertion_issuer and client.assertion_subjects):
        raise UsageError("the jwt-bearer grant needs an issuer and whom it names (assertion issuer and subject)")
    if bool(client.assertion_issuer) != bool(client.assertion_subjects):
        raise UsageError("an assertion's issuer and whom it names belong together")
    if "authorization_code" in client.grant_types and not client.redirect_uris:
        raise UsageError("the authorization_code grant needs a redirect URI")
    if "authorization_code" not in client.grant_types and client.redirect_uris:
        raise UsageError("redirect URIs have a meaning for the authorization_code grant only")
    for uris in (client.redirect_uris, client.post_logout_redirect_uris):
        if len(uris) > URIS:
            raise UsageError(f"a client has at most {URIS} redirect URIs")
        for uri in uris:
            check_redirect(uri, public=client.public)
    if client.backchannel_logout_uri and not _is_web(_split(client.backchannel_logout_uri)):
        raise UsageError(f"{client.backchannel_logout_uri!r:.80}: a back-channel is https, or http on loopback")
    for scope in client.scopes:
        if not _SCOPE.fullmatch(scope):
            raise UsageError(f"{scope!r:.80} is not a scope")
    if len(client.scopes) > MANY or len(client.resources) > MANY:
        raise UsageError(f"a client has at most {MANY} scopes and resources")
    _check_credentials(client)
    _check_certificates(client)


def _check_credentials(client: Client) -> None:
    if client.method == "private_key_jwt" and not client.jwks:
        raise UsageError("private_key_jwt needs the client's public keys (jwks)")
    for stated in (client.token_endpoint_auth_signing_alg, client.request_object_signing_alg):
        if stated and stated not in ALGORITHMS:
            raise UsageError(f"{stated!r:.80} is no algorithm that clients sign with ({', '.join(sorted(ALGORITHMS))})")
    if client.jwks is not None:
        members = client.jwks.get("keys")
        if not isinstance(members, list):
            raise UsageError("the client's jwks is not a JWK Set: it has no list of keys")
        if any(isinstance(key, dict) and ({"d", "k", "p", "q"} & set(key)) for key in members):
            raise UsageError("the client's jwks holds a private or symmetric key; register public keys only")
        try:
            keys = KeySet.parse(msgspec.json.encode(client.jwks).decode())
        except KeyMaterialError as problem:
            raise UsageError(f"the client's jwks: {problem}") from None
        if not keys.keys:
            raise UsageError(f"none of the client's keys can be used: {keys.set_aside or 'there is none'}")


def _check_certificates(client: Client) -> None:
    names = [
        name
        for name in (client.tls_client_auth_san_uri, client.tls_client_auth_san_dns, client.tls_client_auth_subject_dn)
        if name
    ]
    if client.method == "tls_client_auth" and len(names) != 1:
        raise UsageError("tls_client_auth needs exactly one name of the certificate (RFC 8705, 2.1.2)")
    if client.method == "self_signed_tls_client_auth" and not client.certificates:
        raise UsageError("self_signed_tls_client_auth needs the client's certificate")
    if client.method != "tls_client_auth" and names:
        raise UsageError(f"the name of a certificate has no meaning for {client.method}")
    bound = client.tls_client_certificate_bound_access_tokens and client.method != "tls_client_auth"
    if client.certificates and client.method != "self_signed_tls_client_auth" and not bound:
        raise UsageError(f"a self-signed certificate has no meaning for {client.method}")
    if client.tls_client_auth_subject_dn:
        try:
            distinguished_name(client.tls_client_auth_subject_dn)
        except ValueError:
            raise UsageError("the subject of a certificate is written as in CN=billing,O=Example (RFC 4514)") from None
    if len(client.certificates) > URIS:
        raise UsageError(f"a client has at most {URIS} certificates")
    for pem in client.certificates:
        self_signed(pem)


def self_signed(pem: str) -> str:
    """A certificate in PEM, and nothing else that came with it; `UsageError` if it is none that can stand alone."""
    if "PRIVATE KEY" in pem:
        raise UsageError("there is a private key with the certificate: register the certificate only")
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError:
        raise UsageError("a certificate cannot be read: it must be in PEM") from None
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        raise UsageError("the certificate is not self-signed (RFC 8705, 2.2)") from None
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def check_redirect(uri: str, *, public: bool) -> None:
    """A redirect URI is absolute, without a fragment, and https, loopback, or of a native app's own scheme
    (RFC 8252 section 7.1, OAuth 2.1 section 2.3.1): `com.example.app:/callback`."""
    parts = _split(uri)
    if _is_web(parts):
        return
    if public and "." in parts.scheme and not parts.netloc:
        return
    raise UsageError(f"{uri!r:.80}: a redirect URI is https, or http on loopback, or of a public client's own scheme")


def _split(uri: str) -> SplitResult:
    """The parts of an absolute URI that every reader takes apart in the same way."""
    if len(uri) > LONGEST or not _URI.fullmatch(uri):
        raise UsageError(f"{uri!r:.80} is not a URI without a fragment and `*`")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise UsageError(f"{uri!r:.80} is not a URI") from None
    if not parts.scheme or not uri.lower().startswith(f"{parts.scheme}:"):
        raise UsageError(f"{uri!r:.80} is not absolute")
    if "@" in parts.netloc or "%" in parts.netloc or port == 0 or parts.netloc.endswith(":"):
        raise UsageError(f"{uri!r:.80}: the host may have a port, and no user name")
    return parts


def _is_web(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    return (parts.scheme == "https" and bool(host)) or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
