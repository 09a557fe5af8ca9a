"""Who is calling: step 2 of a call, usable without the gateway.

Turns what is presented (token, API key, client certificate) into one verified `Identity` or a refusal
with its reason. Fetching an issuer's keys is a module of its own, `interlock.identity.jwks_fetch`, so that
workers do not load an HTTP client. This package MUST NOT do I/O on the path of a call.
"""

from interlock.identity.apikey import ApiKeyVerifier
from interlock.identity.authenticator import Authenticate, compile_authenticator
from interlock.identity.certificate import CertificateVerifier
from interlock.identity.directory import KeyDirectory
from interlock.identity.dpop import Possession, ProofGuard, Shown, open_guard
from interlock.identity.handles import (
    certificate_handle,
    client_handle,
    family_handle,
    issuer_handle,
    key_handle,
    principal_handle,
    session_handle,
    token_handle,
    unnamed_token,
)
from interlock.identity.issuer import JwtIssuer
from interlock.identity.keyentry import KeyEntry, decode_key_entry, encode_key_entry
from interlock.identity.roles import RoleTable
from interlock.identity.strength import Strength, another_sign_in, compile_strength
from interlock.identity.token import TokenVerifier

__all__ = [
    "ApiKeyVerifier",
    "Authenticate",
    "CertificateVerifier",
    "JwtIssuer",
    "KeyDirectory",
    "KeyEntry",
    "Possession",
    "ProofGuard",
    "RoleTable",
    "Shown",
    "Strength",
    "TokenVerifier",
    "another_sign_in",
    "certificate_handle",
    "client_handle",
    "compile_authenticator",
    "compile_strength",
    "decode_key_entry",
    "encode_key_entry",
    "family_handle",
    "issuer_handle",
    "key_handle",
    "open_guard",
    "principal_handle",
    "session_handle",
    "token_handle",
    "unnamed_token",
]
