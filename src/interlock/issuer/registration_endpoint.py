"""Dynamic client registration and its management (RFC 7591, RFC 7592): a client says itself what it is.

    POST   /oauth/register              with an initial access token, which an operator has made
    GET, PUT, DELETE  /oauth/register/ID    with the client's registration access token; PUT gives another one

What a client says of itself is believed only where it can do no harm. It has no roles, and its own tokens no scopes,
until an operator gives it some; its scopes are for what people allow. Its name is shown to people as unverified. Its
principal is `service:interlock/registered/ID`, which nobody else has or can come to have. What only an operator may say
(exchange, assertions of others, opaque tokens, the URI of a back-channel) is not offered.

Nothing is ever fetched for a client: `jwks_uri` is refused, since an address that a stranger names could be one that
only this node can reach; keys are registered themselves (`jwks`). Software statements are refused, since nobody here
vouches for their issuers. What else is not known is ignored, as RFC 7591 section 2 wants it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from interlock.clock import SECOND
from interlock.errors import InterlockError, UsageError
from interlock.identity.marks import LONGEST
from interlock.issuer.client_auth import FAPI2_METHODS, METHODS
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import NO_STORE, Request, Response, json_response
from interlock.issuer.registration import check, check_redirect
from interlock.issuer.service import REGISTER, Issuer
from interlock.keys import lookup_hash
from interlock.model import Event, Principal
from interlock.model.principal import OWN_AUTHORITY
from interlock.store.clients import UNMANAGED, Client, Secret

BELOW: Final = REGISTER + "/"
GRANTS: Final = frozenset(
    {"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"}
)
INITIAL: Final = "ili_"  # what an initial access token begins with
REGISTRATION: Final = "ilt_"  # and a registration access token
MOST: Final = 1000  # clients that registered themselves
LARGEST: Final = 64 * 1024  # bytes of a request
NAME: Final = 100  # characters
# What a client was told, and must not send back (RFC 7592 section 2.2).
TOLD: Final = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)


class Metadata(msgspec.Struct, frozen=True):
    """What a client may say of itself; names and defaults of RFC 7591 section 2, RFC 8705, RFC 9449, RFC 9396."""

    redirect_uris: tuple[str, ...] = ()
    token_endpoint_auth_method: str = "client_secret_basic"  # noqa: S105 - the name of a method
    token_endpoint_auth_signing_alg: str = ""
    grant_types: tuple[str, ...] = ("authorization_code",)
    response_types: tuple[str, ...] | None = None
    client_name: str = ""
    client_uri: str = ""
    scope: str = "openid"
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    software_statement: str | None = None
    post_logout_redirect_uris: tuple[str, ...] = ()
    tls_client_auth_subject_dn: str = ""
    tls_client_auth_san_dns: str = ""
    tls_client_auth_san_uri: str = ""
    tls_client_certificate_bound_access_tokens: bool = False
    dpop_bound_access_tokens: bool = False
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    request_object_signing_alg: str = ""
    authorization_details_types: tuple[str, ...] = ()


# What is kept as the client says it.
OF_BOTH: Final = tuple(
    name
    for name in Metadata.__struct_fields__
    if name in Client.__struct_fields__ and name not in ("client_name", "jwks_uri")
)


def register(issuer: Issuer, request: Request) -> Response:
    """A new client (RFC 7591 section 3); raises `OAuthError`."""
    _check_offered(issuer)
    assert issuer.registrations is not None
    presented = _bearer(request)
    hashed = lookup_hash(issuer.lookup_key, presented.encode("utf-8"))
    initial = issuer.registrations.find(hashed, request.now) if presented.startswith(INITIAL) else None
    if initial is None:
        raise _unauthorized("an initial access token is needed, which an operator makes")
    said = _read(request)
    client_id = f"dyn-{secrets.token_hex(8)}"
    if issuer.registry.self_registered() >= MOST:
        raise OAuthError("temporarily_unavailable", "there are too many clients that registered themselves", status=503)
    client = Client(
        client_id=client_id,
        client_name=client_id,
        principal=str(Principal("service", OWN_AUTHORITY, f"registered/{client_id}")),
        created=request.now,
        registration=UNMANAGED,
    )
    client = _with(issuer, client, said)
    client, secret, access = _with_secrets(issuer, client, request.now)
    if not issuer.registrations.use(hashed, request.now):
        raise _unauthorized("the initial access token was used up")
    try:
        act = issuer.record.act(Event.CLIENT_CREATE, {**_details(client), "initial": initial.id})
        client = msgspec.structs.replace(client, acts=(act,))
        issuer.clients.add(client)
    except InterlockError:
        issuer.registrations.give_back(hashed)
        raise
    return json_response(_described(issuer, client, secret, access), 201)


def manage(issuer: Issuer, request: Request) -> Response:
    """A client looks at, changes or removes its registration (RFC 7592 section 2); raises `OAuthError`."""
    _check_offered(issuer)
    client = _authenticated(issuer, request)
    match request.method:
        case "PUT":
            return _change(issuer, request, client)
        case "DELETE":
            return _remove(issuer, request, client)
        case _:
            return json_response(_described(issuer, client))


def _change(issuer: Issuer, request: Request, client: Client) -> Response:
    sent = request.json
    if sent.get("client_id") != client.client_id:
        raise OAuthError("invalid_request", "client_id is missing, or another's")
    if any(name in sent for name in TOLD):
        raise OAuthError("invalid_request", f"{', '.join(TOLD)} are not for the client to say")
    secret = sent.get("client_secret")
    if secret is not None:
        known = issuer.registry.get(client.client_id)
        if not isinstance(secret, str) or not issuer.registry.secret_holds(known, secret, request.now):
            raise OAuthError("invalid_request", "client_secret is not the client's, and cannot be chosen by it")
    changed = _with(issuer, client, _read(request))
    act = issuer.record.act(Event.CLIENT_CHANGE, {**_details(changed), "what": "registration", "by": "the client"})
    # Nothing of what an operator says, who may be at it in this moment, and may just have revoked its secret.
    fields = {name: getattr(changed, name) for name in (*OF_BOTH, "client_name", "scopes")}
    text = access = ""

    def turn(present: Client) -> Client:
        nonlocal text, access
        if present.registration != client.registration:
            raise _unauthorized("the registration access token was used meanwhile")
        present = msgspec.structs.replace(present, **fields, acts=(*present.acts, act))
        present, text, access = _with_secrets(issuer, present, request.now)
        return present

    changed = issuer.clients.modify(client.client_id, turn)
    return json_response(_described(issuer, changed, text, access))


def _remove(issuer: Issuer, request: Request, client: Client) -> Response:
    """The client, what people allowed it, and every token it has."""
    now = request.now
    issuer.record.act(Event.CLIENT_DISABLE, {**_details(client), "by": "the client"})
    # In this order: what fails here, or is killed, can be asked for again, since the client is there until the end.
    issuer.revoker.client(client.client_id, now + (LONGEST + 60) * SECOND)
    issuer.clients.revoke_grants(now, "the client removed itself", client_id=client.client_id)
    issuer.clients.forget_consents(client_id=client.client_id)
    issuer.clients.remove(client.client_id)
    issuer.registry.drop(client.client_id)
    return Response(204, NO_STORE)


# -- who asks


def _check_offered(issuer: Issuer) -> None:
    if issuer.settings.registration == "off" or issuer.registrations is None:
        raise OAuthError("invalid_request", "clients do not register themselves here", status=404)


def _authenticated(issuer: Issuer, request: Request) -> Client:
    """The client whose registration access token was sent. Nobody learns whether there is such a client."""
    known = issuer.registry.get(request.path.removeprefix(BELOW))
    given = lookup_hash(issuer.lookup_key, _bearer(request).encode("utf-8"))
    expected = (known.client.registration if known is not None else b"") or UNMANAGED
    if known is None or not hmac.compare_digest(given, expected):
        raise _unauthorized("the registration access token is not this client's")
    return known.client


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unauthorized(description: str) -> OAuthError:
    """RFC 6750 section 3.1."""
    fields = (("www-authenticate", 'Bearer realm="interlock", error="invalid_token"'),)
    return OAuthError("invalid_token", description, status=401, fields=fields)


# -- what it says


def _read(request: Request) -> Metadata:
    if len(request.body) > LARGEST:
        raise _refused(f"more than {LARGEST} bytes")
    sent = request.json
    try:
        return msgspec.convert(sent, Metadata)
    except msgspec.ValidationError as problem:
        raise _refused(str(problem)[:200]) from None


def _with(issuer: Issuer, client: Client, said: Metadata) -> Client:
    """The client with what it says of itself; raises `OAuthError` (RFC 7591 section 3.2.2)."""
    if said.software_statement is not None:
        raise OAuthError("unapproved_software_statement", "nobody's software statements are taken here")
    if said.jwks_uri is not None:
        raise _refused("jwks_uri: keys are not fetched from where a client says; register them as jwks")
    methods = FAPI2_METHODS if issuer.settings.profile is not None else METHODS
    unheard = ("self_signed_tls_client_auth", "" if issuer.settings.trust else "tls_client_auth")
    if said.token_endpoint_auth_method not in methods or said.token_endpoint_auth_method in unheard:
        raise _refused(f"token_endpoint_auth_method: {said.token_endpoint_auth_method!r:.80} is not offered")
    if not said.grant_types or not set(said.grant_types) <= GRANTS:
        raise _refused(f"grant_types: of {', '.join(sorted(GRANTS))}; others are given by an operator")
    wanted = ("code",) if "authorization_code" in said.grant_types else ()
    if said.response_types is not None and set(said.response_types) != set(wanted):
        raise _refused("response_types does not fit grant_types: `code` belongs to authorization_code")
    offered = {"openid", "offline_access", *issuer.settings.scopes}
    scopes = tuple(dict.fromkeys(said.scope.split()))
    if not set(scopes) <= offered:
        raise _refused(f"scope: of {' '.join(sorted(offered))}"[:200])
    if not set(said.authorization_details_types) <= set(issuer.settings.details):
        raise _refused("authorization_details_types: names what is not offered")
    name = said.client_name.strip()
    if len(name) > NAME or not name.isprintable():
        raise _refused(f"client_name: at most {NAME} printable characters")
    if wanted and not said.redirect_uris:
        raise OAuthError("invalid_redirect_uri", "the authorization_code grant needs redirect_uris")
    public = said.token_endpoint_auth_method == "none"  # noqa: S105 - the name of a method
    for uri in (*said.redirect_uris, *said.post_logout_redirect_uris):
        try:
            check_redirect(uri, public=public)
        except UsageError as problem:
            raise OAuthError("invalid_redirect_uri", str(problem)[:200]) from None
    if said.client_uri and not (said.client_uri.startswith("https://") and _is_uri(said.client_uri)):
        raise _refused("client_uri: an https URL")
    fields: dict[str, Any] = {field: getattr(said, field) for field in OF_BOTH}
    client = msgspec.structs.replace(client, **fields, client_name=name or client.client_id, scopes=scopes)
    try:
        check(client)
    except UsageError as problem:
        raise _refused(str(problem)[:200]) from None
    return client


def _with_secrets(issuer: Issuer, client: Client, now: int) -> tuple[Client, str, str]:
    """With a new registration access token, and a secret if it needs one and has none: both are shown once."""
    secret, access = "", REGISTRATION + secrets.token_urlsafe(32)
    kept: tuple[Secret, ...] = ()
    if client.method.startswith("client_secret"):
        kept = client.secrets
        if not any(not one.until or now < one.until for one in kept):
            secret = "ils_" + secrets.token_urlsafe(32)
            kept = (Secret(lookup_hash(issuer.lookup_key, secret.encode("ascii")), now),)
    registration = lookup_hash(issuer.lookup_key, access.encode("ascii"))
    return msgspec.structs.replace(client, secrets=kept, registration=registration), secret, access


def _described(issuer: Issuer, client: Client, secret: str = "", access: str = "") -> dict[str, Any]:
    """RFC 7591 section 3.2.1, RFC 7592 section 3."""
    found: dict[str, Any] = {
        "client_id": client.client_id,
        "client_id_issued_at": client.created // SECOND,
        "client_name": client.client_name,
        "token_endpoint_auth_method": client.method,
        "grant_types": list(client.grant_types),
        "response_types": ["code"] if "authorization_code" in client.grant_types else [],
        "scope": " ".join(client.scopes),
        "registration_client_uri": issuer.endpoint(BELOW + client.client_id),
    }
    for field in Metadata.__struct_fields__:
        value = getattr(client, field, None)
        if field not in found and value:
            found[field] = list(value) if isinstance(value, tuple) else value
    if client.method.startswith("client_secret"):
        found["client_secret_expires_at"] = 0
    if secret:
        found["client_secret"] = secret
    if access:
        found["registration_access_token"] = access
    return found


def _details(client: Client) -> Mapping[str, Any]:
    return {
        "client": client.client_id,
        "principal": client.principal,
        "name": client.client_name,
        "grants": list(client.grant_types),
        "method": client.method,
        "redirect_uris": [uri[:200] for uri in client.redirect_uris[:8]],
    }


def _is_uri(text: str) -> bool:
    try:
        check_redirect(text, public=False)
    except UsageError:
        return False
    return True


def _refused(description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description)
