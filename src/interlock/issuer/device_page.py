"""The pages where somebody types the code that a device shows, and decides (RFC 8628 section 3.3).

    sign in -> the code -> do you allow this? -> said

The code is typed by hand; what it leads to is shown before anything is allowed, every time.
"""

from __future__ import annotations

import msgspec

from interlock.issuer import device
from interlock.issuer.authorization_request import AuthorizationRequest
from interlock.issuer.codes import Full
from interlock.issuer.device_requests import LIVES, DeviceRequest
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import Asked
from interlock.issuer.http import Request, Response
from interlock.issuer.registry import Known
from interlock.issuer.service import Issuer
from interlock.issuer.sessions import Session
from interlock.store.clients import Grant

CONSENT = f"{device.PAGE}/consent"
OFFLINE = "offline_access"


class DeviceFlow(msgspec.Struct, frozen=True):
    """Somebody has typed a code, and is asked."""

    user_code: str
    account: str

    def __repr__(self) -> str:
        return f"DeviceFlow(account={self.account!r})"


def page(issuer: Issuer, request: Request) -> Response:
    """Somebody opens it, or comes back from signing in; or sends a code."""
    session = issuer.people.session(request)
    needed = Asked(go="device", since=request.now)
    if session is None or not issuer.people.meets(session, needed, request.now):
        return issuer.people.sign_in(request, needed)
    if request.method != "POST":
        return issuer.people.ask_device(request, session, device.PAGE)
    code = issuer.people.device_code(request, session)
    try:
        asked, known = device.find(issuer, code, account=session.account, source=request.source, now=request.now)
    except OAuthError as problem:
        if problem.status != 400:
            raise
        return issuer.people.ask_device(
            request, session, device.PAGE, error="There is no such code, or it has expired."
        )
    return _ask(issuer, request, session, code, asked, known)


def decide(issuer: Issuer, request: Request) -> Response:
    """The person has read the page and answered."""
    session = issuer.people.session(request)
    if session is None or not issuer.people.meets(session, Asked(go="device"), request.now):
        raise OAuthError("access_denied", "you are not signed in any more: begin again", status=403)
    name, allowed = issuer.people.consented(request, session)
    issuer.may_date(session.principal, "", request.now)  # else it would be taken for what was given before
    flow = issuer.codes.flows.take(name, request.now)
    if not isinstance(flow, DeviceFlow) or flow.account != session.account.id:
        raise OAuthError("invalid_request", "this was answered already, or has expired: begin again at the device")
    if not allowed:
        device.deny(issuer, flow.user_code, request.now)
        return issuer.people.say("Not allowed", "The device gets nothing. You can close this page.")
    asked = issuer.devices.find(flow.user_code, request.now)
    if asked is None:
        raise OAuthError("invalid_request", "this code has expired: begin again at the device")
    device.approve(issuer, flow.user_code, _grant(session, asked, request.now), request.now)
    return issuer.people.say("Connected", "The device goes on by itself. You can close this page.")


def _ask(issuer: Issuer, request: Request, session: Session, code: str, asked: DeviceRequest, known: Known) -> Response:
    flow = DeviceFlow(code, session.account.id)
    try:
        name = issuer.codes.flows.put(flow, min(asked.expires, request.now + LIVES), request.now)
    except Full:
        raise OAuthError("temporarily_unavailable", "too many people are signing in", status=503) from None
    meanings = [(scope, issuer.settings.scopes.get(scope, "")) for scope in asked.scopes]
    shown = AuthorizationRequest(
        client_id=asked.client_id,
        redirect_uri="",
        scopes=asked.scopes,
        audience=asked.audience,
        challenge="",
        details=asked.details,
    )
    return issuer.people.ask_consent(
        request,
        session,
        name,
        known.client,
        meanings,
        shown,
        action=CONSENT,
        saying=f"A device at {asked.source or 'an unknown address'} asks. Is it yours, and did you start it just now?",
    )


def _grant(session: Session, asked: DeviceRequest, now: int) -> Grant:
    return Grant(
        id="",
        client_id=asked.client_id,
        principal=session.principal,
        subject=session.account.id,
        account=session.account.id,
        changed=session.account.changed,
        created=now,
        expires=0,
        current=b"",
        scopes=asked.scopes,
        audience=asked.audience,
        roles=session.account.roles,
        details=asked.details,
        session=session.sid,
        auth_time=session.auth_time,
        acr=session.acr,
        amr=session.amr,
        offline=OFFLINE in asked.scopes,
    )
