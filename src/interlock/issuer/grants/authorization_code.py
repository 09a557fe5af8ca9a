"""A client brings the code that somebody's browser was given for it (OAuth 2.1 section 4.1.3)."""

from __future__ import annotations

import hashlib
import hmac
import re

import msgspec

from interlock.clock import SECOND
from interlock.issuer import id_token, refresh_tokens
from interlock.issuer.access import of_grant
from interlock.issuer.asked import Asked, Given
from interlock.issuer.errors import OAuthError
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer
from interlock.jose.signing import encode_base64url
from interlock.store.clients import Grant

CODE_LIVES = 60 * SECOND
COPIED = "copied"  # in place of a grant: the code came again before anything was given for it
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 section 4.1


class Code(msgspec.Struct, frozen=True):
    """What a code stands for."""

    grant: Grant  # not kept yet
    redirect_uri: str
    challenge: str  # S256
    offline: bool = False  # a refresh token goes with it

    def __repr__(self) -> str:
        return f"Code(client_id={self.grant.client_id!r})"


def authorization_code(issuer: Issuer, asked: Asked) -> Given:
    form = asked.form
    text = form.get("code")
    if text is None:
        raise OAuthError("invalid_request", "code is missing")
    code = issuer.codes.authorization.get(text, asked.now)
    if code is None:
        _used_again(issuer, text, asked)
        raise OAuthError("invalid_grant", "the code is not good", note="unknown or expired")
    assert isinstance(code, Code)
    grant = code.grant
    # What follows is checked before the code is spent, so that a thief's failing try costs its owner nothing.
    if grant.client_id != asked.client.client_id:
        raise OAuthError("invalid_grant", "the code is not good", note="it was given to another client")
    if form.get("redirect_uri", code.redirect_uri) != code.redirect_uri:
        raise OAuthError("invalid_grant", "the code is not good", note="another redirect_uri")
    verifier = form.get("code_verifier", "")
    if not _VERIFIER.fullmatch(verifier):
        raise OAuthError("invalid_grant", "code_verifier is missing or malformed")
    challenge = encode_base64url(hashlib.sha256(verifier.encode("ascii")).digest())
    if not hmac.compare_digest(challenge, code.challenge):
        raise OAuthError("invalid_grant", "the code is not good", note="code_verifier does not fit")
    if grant.jkt and not hmac.compare_digest(grant.jkt, asked.jkt):
        raise OAuthError("invalid_dpop_proof", "the code is bound to another key")  # RFC 9449 section 10
    # Also one that is to outlive the session does not begin after it; looked at again once it is written.
    if not issuer.people.stands(msgspec.structs.replace(grant, offline=False), asked.now):
        raise OAuthError("invalid_grant", "the code is not good", note="the session has ended")
    if issuer.withdrawn(grant, grant.client_id):
        raise OAuthError("invalid_grant", "the code is not good", note="revoked since it was given")
    issuer.may_date(grant.principal, grant.client_id, asked.now)
    issuer.use_proof(asked.request)
    if issuer.codes.authorization.take(text, asked.now) is None:
        _used_again(issuer, text, asked)
        raise OAuthError("invalid_grant", "the code is not good", note="used in the same moment")
    grant = msgspec.structs.replace(grant, jkt=asked.jkt, certificate=asked.certificate)
    refresh = code.offline and "refresh_token" in asked.client.grant_types
    grant, refresh_text = refresh_tokens.begin(issuer, grant, asked.now, refresh=refresh)
    if issuer.codes.authorization.settle(text, grant.id) is not None:
        refresh_tokens.revoke_family(issuer, grant, asked.now, "authorization code used again")
        raise OAuthError("invalid_grant", "the code is not good", note="used again meanwhile")
    identity = ""
    with refresh_tokens.begun(issuer, grant):
        access = mint(issuer, asked.client, of_grant(grant), asked.now, by="authorization_code")
        if "openid" in grant.scopes:
            identity = id_token.mint(issuer, grant, asked.now, access_token=access.text)
    return Given(access, grant.scopes, refresh_text, identity, details=grant.details)


def _used_again(issuer: Issuer, text: str, asked: Asked) -> None:
    """A code that comes twice was copied: what was given for it ends (RFC 6749 section 4.1.2).

    Whoever was first may still be at it, and finds what is left here. A request that was copied whole, with its
    proof, is refused by that and ends nothing.
    """
    codes = issuer.codes.authorization
    first = codes.outcome(text)
    if not codes.was_taken(text) or first == COPIED:
        return
    if first is not None:
        grant = issuer.clients.grant(first)
        if grant is None or grant.revoked:
            return
    issuer.use_proof(asked.request)
    grant_id = issuer.codes.authorization.settle(text, COPIED)
    if grant_id is not None and grant_id != COPIED:
        grant = issuer.clients.grant(grant_id)
        if grant is not None and not grant.revoked:
            refresh_tokens.revoke_family(issuer, grant, asked.now, "authorization code used again")
