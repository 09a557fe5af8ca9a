"""What a client may be: the rules that hold however it is registered (RFC 7591, RFC 9700, OAuth 2.1)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from interlock.errors import KeyMaterialError, UsageError
from interlock.issuer.client_auth import CERTIFICATES, METHODS
from interlock.jose import KeySet
from interlock.store.clients import Client

OFFERED = frozenset(
    {
        "client_credentials",
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    }
)
URIS = 32
LONGEST = 2048


def check(client: Client) -> None:
    """`UsageError` for a client that could not be used, or not safely."""
    if client.method not in METHODS:
        raise UsageError(f"{client.method!r} is no way to authenticate (there are {', '.join(METHODS)})")
    for grant in client.grant_types:
        if grant not in OFFERED:
            raise UsageError(f"{grant!r} is not a grant type (there are {', '.join(sorted(OFFERED))})")
    if client.public and "client_credentials" in client.grant_types:
        raise UsageError("a client without a credential cannot have tokens of its own (client_credentials)")
    if "authorization_code" in client.grant_types and not client.redirect_uris:
        raise UsageError("the authorization_code grant needs a redirect URI")
    if "authorization_code" not in client.grant_types and client.redirect_uris:
        raise UsageError("redirect URIs have a meaning for the authorization_code grant only")
    for uri in (*client.redirect_uris, *client.post_logout_redirect_uris):
        check_redirect(uri, public=client.public)
    if len(client.redirect_uris) > URIS:
        raise UsageError(f"a client has at most {URIS} redirect URIs")
    _check_credentials(client)


def _check_credentials(client: Client) -> None:
    if client.method == "private_key_jwt" and not client.jwks:
        raise UsageError("private_key_jwt needs the client's public keys (jwks)")
    if client.jwks is not None:
        for key in client.jwks.get("keys", ()):
            if isinstance(key, dict) and ({"d", "k", "p", "q"} & set(key)):
                raise UsageError("the client's jwks holds a private or symmetric key; register public keys only")
        try:
            keys = KeySet.parse(msgspec.json.encode(client.jwks).decode())
        except KeyMaterialError as problem:
            raise UsageError(f"the client's jwks: {problem}") from None
        if not keys.keys:
            raise UsageError(f"none of the client's keys can be used: {keys.set_aside or 'there is none'}")
    names = [
        name
        for name in (client.tls_client_auth_san_uri, client.tls_client_auth_san_dns, client.tls_client_auth_subject_dn)
        if name
    ]
    if client.method == "tls_client_auth" and len(names) != 1:
        raise UsageError("tls_client_auth needs exactly one name of the certificate (RFC 8705, 2.1.2)")
    if client.method == "self_signed_tls_client_auth" and not client.certificates:
        raise UsageError("self_signed_tls_client_auth needs the client's certificate")
    if client.method not in CERTIFICATES and (names or client.certificates):
        raise UsageError(f"a certificate has no meaning for {client.method}")
    for pem in client.certificates:
        fingerprint(pem)


def fingerprint(pem: str) -> bytes:
    """SHA-256 of a certificate in PEM; `UsageError` if it is none."""
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii")).fingerprint(SHA256())
    except ValueError:
        raise UsageError("a certificate cannot be read: it must be in PEM") from None


def check_redirect(uri: str, *, public: bool) -> None:
    """A redirect URI is absolute, without a fragment, and https, loopback, or of a native app's own scheme
    (RFC 8252 section 7.1, OAuth 2.1 section 2.3.1): `com.example.app:/callback`."""
    parts = urlsplit(uri)
    if not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri or len(uri) > LONGEST:
        raise UsageError(f"{uri[:80]!r} is not a URI")
    if not parts.scheme or "#" in uri or "@" in parts.netloc or "*" in uri:
        raise UsageError(f"{uri!r}: a redirect URI is absolute, and has no fragment, user name or `*`")
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    if public and "." in parts.scheme and not parts.netloc:
        return
    raise UsageError(f"{uri!r}: a redirect URI is https, or http on loopback, or of a public client's own scheme")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
