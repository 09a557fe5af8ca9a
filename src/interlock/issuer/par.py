"""Pushed authorization requests (RFC 9126): the client says what it wants itself; the browser only carries a name."""

from __future__ import annotations

import hmac

import msgspec

from interlock.addresses import SITE, block
from interlock.clock import SECOND
from interlock.issuer.authorization_request import AuthorizationRequest, Redirected, read
from interlock.issuer.client_auth import authenticate
from interlock.issuer.codes import Full
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response, json_response
from interlock.issuer.jar import open_request
from interlock.issuer.service import Issuer

LIVES = 90 * SECOND  # FAPI 2.0 Security Profile section 5.3.2.2: less than 600 seconds
OF_AUTHENTICATION = frozenset({"client_secret", "client_assertion", "client_assertion_type", "client_id"})


def push(issuer: Issuer, request: Request) -> Response:
    """Take one in; raises `OAuthError`: what is wrong is told to the client alone (section 2.3)."""
    jkt = issuer.proof_of_possession(request)
    known = authenticate(issuer, request)
    client = known.client
    if "authorization_code" not in client.grant_types:
        raise OAuthError("unauthorized_client", "the client may not ask people")
    form = request.form
    if "request_uri" in form:
        raise OAuthError("invalid_request", "request_uri has no meaning here")
    parameters = {name: value for name, value in form.items() if name not in OF_AUTHENTICATION}
    if "request" in form:
        parameters = open_request(issuer, known, form["request"], request.now)
        parameters.pop("client_id", None)
    elif client.require_signed_request_object:
        raise OAuthError("invalid_request", "this client's requests are signed: request is missing")
    if issuer.settings.profile is not None and "redirect_uri" not in parameters:
        raise OAuthError("invalid_request", "redirect_uri is missing")  # FAPI 2.0 section 5.3.2.2
    try:
        asked = read(issuer, client, parameters)
    except Redirected as found:
        raise found.problem from None
    if jkt and asked.jkt and not hmac.compare_digest(jkt, asked.jkt):
        raise OAuthError("invalid_dpop_proof", "dpop_jkt is of another key than the proof")
    if jkt:
        asked = msgspec.structs.replace(asked, jkt=jkt)
    if not client.public:  # of it a proof says no more than `dpop_jkt`, which anybody could send in its name
        issuer.use_proof(request)
    try:
        name = issuer.codes.pushed.put(asked, request.now + LIVES, request.now, place=block(request.source, SITE))
    except Full:
        raise OAuthError("temporarily_unavailable", "try again in a moment", status=503) from None
    return json_response({"request_uri": name, "expires_in": LIVES // SECOND}, 201)


def pushed(issuer: Issuer, name: str, client_id: str, now: int) -> AuthorizationRequest:
    """What was pushed under a name, by that client. It stays until its time: people reload pages (section 7.3)."""
    found = issuer.codes.pushed.get(name, now)
    if not isinstance(found, AuthorizationRequest) or found.client_id != client_id:
        raise OAuthError("invalid_request_uri", "this request has expired: go back to the application and try again")
    return msgspec.structs.replace(found, pushed=name)
