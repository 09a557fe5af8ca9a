"""A device fetches what somebody allowed it elsewhere (RFC 8628 section 3.4), once."""

from __future__ import annotations

import hmac

import msgspec

from interlock.issuer import id_token, refresh_tokens
from interlock.issuer.access import of_grant
from interlock.issuer.asked import Asked, Given
from interlock.issuer.device_requests import DENIED, TAKEN, WAITING
from interlock.issuer.errors import OAuthError
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer


def device_code(issuer: Issuer, asked: Asked) -> Given:
    text = asked.form.get("device_code")
    if text is None:
        raise OAuthError("invalid_request", "device_code is missing")
    devices = issuer.devices
    found = devices.poll(text, asked.client.client_id, asked.now)
    if found is None or found.state == TAKEN:
        raise OAuthError("invalid_grant", "the code is not good", note="unknown, another client's, or used")
    if asked.now >= found.request.expires:
        raise OAuthError("expired_token", "the code has expired: begin again")
    if found.state == DENIED:
        raise OAuthError("access_denied", "the person did not allow it")
    if found.state == WAITING:
        if found.slow_down:
            raise OAuthError("slow_down", "ask five seconds later than before")
        raise OAuthError("authorization_pending", "nobody has answered yet")
    grant = found.grant
    assert grant is not None
    # What follows is checked before the code is spent, so that a failing try costs nothing.
    if found.request.jkt and not hmac.compare_digest(found.request.jkt, asked.jkt):
        raise OAuthError("invalid_dpop_proof", "the code is bound to another key")
    # Also one that is to outlive the session does not begin after it; looked at again once it is written.
    if not issuer.people.stands(msgspec.structs.replace(grant, offline=False), asked.now):
        raise OAuthError("invalid_grant", "the code is not good", note="the session has ended")
    if issuer.withdrawn(grant, grant.client_id):
        raise OAuthError("invalid_grant", "the code is not good", note="revoked since it was allowed")
    issuer.may_date(grant.principal, grant.client_id, asked.now)
    issuer.use_proof(asked.request)
    if not devices.take(text, asked.now):
        raise OAuthError("invalid_grant", "the code is not good", note="used in the same moment")
    grant = msgspec.structs.replace(grant, jkt=asked.jkt, certificate=asked.certificate)
    refresh = "refresh_token" in asked.client.grant_types and (grant.offline or "openid" not in grant.scopes)
    grant, refresh_text = refresh_tokens.begin(issuer, grant, asked.now, refresh=refresh)
    identity = ""
    with refresh_tokens.begun(issuer, grant):
        access = mint(issuer, asked.client, of_grant(grant), asked.now, by="device_code")
        if "openid" in grant.scopes:
            identity = id_token.mint(issuer, grant, asked.now, access_token=access.text)
    return Given(access, grant.scopes, refresh_text, identity, details=grant.details)
