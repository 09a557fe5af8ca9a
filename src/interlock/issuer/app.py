"""Every endpoint of the authorization server, and what a request to it comes to.

A path is served only as it stands here. An endpoint that waits for the disk is marked `slow`: who serves runs it
beside the event loop. What goes wrong is answered in the words of the standards, and put on the record with its
reason; a fault of ours is an opaque error (RFC 6749 section 5.2 has no code for it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from interlock.errors import InterlockError, RecordUnavailable, StateError
from interlock.issuer import device_page, metadata
from interlock.issuer.asked import GrantType
from interlock.issuer.authorize import authorize, decide, go_on
from interlock.issuer.client_auth import claimed
from interlock.issuer.device import PAGE, device_authorization
from interlock.issuer.errors import NotYet, OAuthError
from interlock.issuer.grants.authorization_code import authorization_code
from interlock.issuer.grants.client_credentials import client_credentials
from interlock.issuer.grants.device_code import device_code
from interlock.issuer.grants.jwt_bearer import jwt_bearer
from interlock.issuer.grants.refresh_token import refresh_token
from interlock.issuer.grants.token_exchange import token_exchange
from interlock.issuer.http import Request, Response, error_response, json_response
from interlock.issuer.introspection import introspect
from interlock.issuer.logout import confirmed, logout
from interlock.issuer.means import Answer
from interlock.issuer.par import push
from interlock.issuer.people import PATHS
from interlock.issuer.registration_endpoint import BELOW, manage, register
from interlock.issuer.revocation import revoke
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
from interlock.issuer.signals import api as signals
from interlock.issuer.token import token
from interlock.issuer.userinfo import userinfo
from interlock.model import Event

log = logging.getLogger("interlock.issuer")

GRANTS: Final[dict[str, GrantType]] = {
    "client_credentials": client_credentials,
    "authorization_code": authorization_code,
    "refresh_token": refresh_token,
    "urn:ietf:params:oauth:grant-type:device_code": device_code,
    "urn:ietf:params:oauth:grant-type:token-exchange": token_exchange,
    "urn:ietf:params:oauth:grant-type:jwt-bearer": jwt_bearer,
}
QUICK: Final = frozenset({"client_credentials"})  # need no disk
JWT: Final = "eyJ"  # what each begins with: verified without the disk
CACHED: Final = (("cache-control", "public, max-age=300"),)
UNAVAILABLE: Final = OAuthError("temporarily_unavailable", "try again in a moment", status=503)


def _token(issuer: Issuer, request: Request) -> Response:
    return token(issuer, request, GRANTS)


def _token_is_slow(request: Request) -> bool:
    return _given(request, "grant_type") not in QUICK


def _quick(_request: Request) -> bool:
    return False


def _introspect_is_slow(request: Request) -> bool:
    return not _given(request, "token").startswith(JWT)


def _given(request: Request, name: str) -> str:
    """A parameter as the endpoint will read it, and not as it might look: what waits MUST NOT wait beside others."""
    try:
        return request.form.get(name, "")
    except OAuthError:
        return ""


def _of_people(issuer: Issuer, request: Request) -> Answer:
    return issuer.people.handle(request)


def _jwks(issuer: Issuer, _request: Request) -> Response:
    return json_response(issuer.keys.jwks, fields=CACHED, kind="application/jwk-set+json")


def _server_metadata(issuer: Issuer, _request: Request) -> Response:
    return json_response(metadata.server_metadata(issuer, tuple(GRANTS), frozenset(ENDPOINTS)), fields=CACHED)


def _resource_metadata(issuer: Issuer, _request: Request) -> Response:
    return json_response(metadata.resource_metadata(issuer, issuer.settings.audiences[0]), fields=CACHED)


def _always(_request: Request) -> bool:
    return True


class Endpoint:
    """One path of the issuer."""

    def __init__(
        self,
        handle: Callable[[Issuer, Request], Answer],
        methods: tuple[str, ...],
        slow: Callable[[Request], bool] = _always,
        *,
        page: bool = False,
        guarded: bool = False,
    ) -> None:
        """`page`: a person sees it; `guarded`: the gateway has judged the token, for exactly these methods."""
        self.handle = handle
        self.methods = methods
        self.slow = slow
        self.page = page
        self.guarded = guarded


ENDPOINTS: Final[dict[str, Endpoint]] = {
    TOKEN: Endpoint(_token, ("POST",), _token_is_slow),
    INTROSPECT: Endpoint(introspect, ("POST",), _introspect_is_slow),
    REVOKE: Endpoint(revoke, ("POST",)),
    PAR: Endpoint(push, ("POST",)),
    USERINFO: Endpoint(userinfo, ("GET", "POST"), guarded=True),
    AUTHORIZE: Endpoint(authorize, ("GET", "POST"), page=True),
    f"{AUTHORIZE}/continue": Endpoint(go_on, ("GET",), page=True),
    f"{AUTHORIZE}/consent": Endpoint(decide, ("POST",), page=True),
    END_SESSION: Endpoint(logout, ("GET", "POST"), page=True),
    DEVICE: Endpoint(device_authorization, ("POST",)),
    PAGE: Endpoint(device_page.page, ("GET", "POST"), page=True),
    f"{PAGE}/continue": Endpoint(device_page.page, ("GET",), page=True),
    device_page.CONSENT: Endpoint(device_page.decide, ("POST",), page=True),
    f"{END_SESSION}/confirm": Endpoint(confirmed, ("POST",), page=True),
    **{path: Endpoint(_of_people, methods, page=True) for path, methods in PATHS.items()},
    REGISTER: Endpoint(register, ("POST",)),
    JWKS: Endpoint(_jwks, ("GET",), _quick),
    metadata.WELL_KNOWN_OAUTH: Endpoint(_server_metadata, ("GET",), _quick),
    metadata.WELL_KNOWN_OPENID: Endpoint(_server_metadata, ("GET",), _quick),
    metadata.WELL_KNOWN_RESOURCE: Endpoint(_resource_metadata, ("GET",), _quick),
    signals.WELL_KNOWN: Endpoint(signals.metadata, ("GET",), _quick),
    signals.STREAMS: Endpoint(signals.manage, ("GET", "POST", "PATCH", "PUT", "DELETE"), guarded=True),
    signals.STATUS: Endpoint(signals.status, ("GET", "POST"), guarded=True),
    signals.ADD_SUBJECT: Endpoint(signals.add_subject, ("POST",)),
    signals.REMOVE_SUBJECT: Endpoint(signals.remove_subject, ("POST",)),
    signals.VERIFY: Endpoint(signals.verify, ("POST",)),
    signals.POLL: Endpoint(signals.poll, ("POST",)),
}
# What pages of other origins may read: nothing of it depends on who asks.
OPEN: Final = frozenset({JWKS, metadata.WELL_KNOWN_OAUTH, metadata.WELL_KNOWN_OPENID, metadata.WELL_KNOWN_RESOURCE})


REGISTERED: Final = Endpoint(manage, ("GET", "PUT", "DELETE"))  # each client's own registration


def endpoint_of(path: str) -> Endpoint | None:
    """What serves a path."""
    if path.startswith(BELOW) and "/" not in path[len(BELOW) :]:
        return REGISTERED
    return ENDPOINTS.get(path)


def handle(issuer: Issuer, request: Request) -> Answer:
    """The answer to one request, or the promise of one; raises nothing but `NotYet`: ask again then."""
    endpoint = endpoint_of(request.path)
    if endpoint is None:
        return json_response({"error": "not_found"}, 404)
    asked = "GET" if request.method == "HEAD" and not endpoint.guarded else request.method
    if asked not in endpoint.methods:
        return json_response({"error": "invalid_request"}, 405, (("allow", ", ".join(endpoint.methods)),))
    try:
        answer = endpoint.handle(issuer, request)
        nonce = request.proved.get("nonce")  # for the next proof (RFC 9449 section 8.2)
        return answer.with_fields(("dpop-nonce", nonce)) if nonce and isinstance(answer, Response) else answer
    except NotYet:
        raise
    except OAuthError as problem:
        said = refused(issuer, request, problem)
        return issuer.people.problem(request, problem) if endpoint.page and said.status < 500 else said
    except (RecordUnavailable, StateError) as problem:
        log.error("%s: %s", request.path, problem)
        return error_response(UNAVAILABLE)
    except InterlockError as problem:
        log.error("%s: %s", request.path, problem)
        return json_response({"error": "server_error"}, 500)
    except Exception:
        log.exception("%s failed inside", request.path)
        return json_response({"error": "server_error"}, 500)


def refused(issuer: Issuer, request: Request, problem: OAuthError) -> Response:
    """Put a refusal on the record, then answer it."""
    try:
        issuer.record.note(
            Event.TOKEN_REFUSED,
            {
                "endpoint": request.path,
                "error": problem.error,
                "why": (problem.note or problem.description)[:500],
                "client": _claimed_client(issuer, request),
                "call": request.call,
            },
        )
    except InterlockError:
        return error_response(UNAVAILABLE)
    return error_response(problem)


def _claimed_client(issuer: Issuer, request: Request) -> str:
    """Whom of our clients the caller says it is, for the record; not verified. What it says else may be a secret."""
    name = claimed(request)
    return name if issuer.registry.get(name, request.begun) is not None else ""
