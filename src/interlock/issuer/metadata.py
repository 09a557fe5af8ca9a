"""What clients read to know the issuer: RFC 8414, OpenID Connect Discovery 1.0, RFC 9728. Nothing of a request's."""

from __future__ import annotations

from typing import Any

from interlock.issuer import client_auth
from interlock.issuer.service import (
    AUTHORIZE,
    DEVICE,
    END_SESSION,
    INTROSPECT,
    JWKS,
    PAR,
    REGISTER,
    REVOKE,
    TOKEN,
    USERINFO,
    Issuer,
)

# What programs call, and may call where they are asked for their certificate (RFC 8705 section 5).
FOR_PROGRAMS = (
    "token_endpoint",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "device_authorization_endpoint",
    "registration_endpoint",
)
WELL_KNOWN_OAUTH = "/.well-known/oauth-authorization-server"  # before the issuer's path (RFC 8414 section 3.1)
WELL_KNOWN_OPENID = "/.well-known/openid-configuration"  # after it
WELL_KNOWN_RESOURCE = "/.well-known/oauth-protected-resource"


def server_metadata(issuer: Issuer, grants: tuple[str, ...], offered: frozenset[str]) -> dict[str, Any]:
    """Both documents in one: each has the other's names, too. `offered`: the paths that are served."""
    settings = issuer.settings
    fapi2 = settings.profile is not None
    methods = client_auth.FAPI2_METHODS if fapi2 else client_auth.METHODS
    algorithms = sorted(client_auth.FAPI2_ALGORITHMS if fapi2 else client_auth.ALGORITHMS)
    found: dict[str, Any] = {
        "issuer": issuer.url,
        "token_endpoint": issuer.endpoint(TOKEN),
        "jwks_uri": issuer.endpoint(JWKS),
        "scopes_supported": ["openid", "offline_access", *settings.scopes],
        "grant_types_supported": list(grants),
        "token_endpoint_auth_methods_supported": list(methods),
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "tls_client_certificate_bound_access_tokens": True,
        "dpop_signing_alg_values_supported": sorted(issuer.proof_algorithms),
        "protected_resources": list(settings.audiences),
    }
    if settings.details:
        found["authorization_details_types_supported"] = sorted(settings.details)
    for path, name in (
        (AUTHORIZE, "authorization_endpoint"),
        (PAR, "pushed_authorization_request_endpoint"),
        (REVOKE, "revocation_endpoint"),
        (INTROSPECT, "introspection_endpoint"),
        (USERINFO, "userinfo_endpoint"),
        (END_SESSION, "end_session_endpoint"),
        (DEVICE, "device_authorization_endpoint"),
        (REGISTER, "registration_endpoint"),
    ):
        if path in offered and (path != REGISTER or settings.registration != "off"):
            found[name] = issuer.endpoint(path)
    for path, name in ((REVOKE, "revocation"), (INTROSPECT, "introspection")):
        if path in offered:
            found[f"{name}_endpoint_auth_methods_supported"] = [
                method for method in methods if method != "none" or path == REVOKE
            ]
            found[f"{name}_endpoint_auth_signing_alg_values_supported"] = algorithms
    if AUTHORIZE in offered:
        found |= {
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in issuer.keys.published}),
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid"],
            "claims_parameter_supported": False,
            "request_uri_parameter_supported": False,
            "acr_values_supported": list(issuer.people.acr_values),
            "prompt_values_supported": ["none", "login", "consent"],
        }
    if PAR in offered:
        found |= {
            "require_pushed_authorization_requests": fapi2,
            "request_parameter_supported": True,
            "request_object_signing_alg_values_supported": algorithms,
        }
    if settings.mtls_url is not None:
        found["mtls_endpoint_aliases"] = {
            name: settings.mtls_url + found[name].removeprefix(issuer.url) for name in FOR_PROGRAMS if name in found
        }
    return _stated(found)


def resource_metadata(issuer: Issuer, resource: str) -> dict[str, Any]:
    """What the gateway says of the APIs behind it (RFC 9728 section 2)."""
    return _stated(
        {
            "resource": resource,
            "authorization_servers": [issuer.url],
            "scopes_supported": list(issuer.settings.scopes),
            "bearer_methods_supported": ["header"],
            "tls_client_certificate_bound_access_tokens": True,
            "dpop_signing_alg_values_supported": sorted(issuer.proof_algorithms),
        }
    )


def _stated(found: dict[str, Any]) -> dict[str, Any]:
    """Lists without elements are left out (RFC 8414 section 3.2, RFC 9728 section 3.2)."""
    return {name: value for name, value in found.items() if value != []}
