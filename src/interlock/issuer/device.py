"""Device authorization (RFC 8628): a device without a browser asks, and somebody allows it at another one.

    the device     POST /oauth/device_authorization     gets codes, shows one, and polls (`grants/device_code.py`)
    the person     find, approve, deny                  for the page where the code is typed (`device_page.py`)

Whoever types a code gives the device what they have. So they see whose client it is, what it asks for and from where,
and are asked whatever they allowed before (section 5.4); and there is no link that brings the code along, which
somebody could send them.
"""

from __future__ import annotations

from typing import Final

from interlock.addresses import NETWORK, block
from interlock.clock import SECOND
from interlock.issuer.client_auth import authenticate
from interlock.issuer.codes import Full
from interlock.issuer.device_requests import INTERVAL, LIVES, DeviceRequest
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response, json_response
from interlock.issuer.registry import Known
from interlock.issuer.service import Issuer
from interlock.issuer.sessions import from_source
from interlock.issuer.token import audience_of, scopes_of
from interlock.model import Event
from interlock.store.accounts import Account
from interlock.store.clients import Grant

PAGE: Final = "/oauth/device"
GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


def device_authorization(issuer: Issuer, request: Request) -> Response:
    """A device asks for codes (section 3.1); raises `OAuthError`."""
    jkt = issuer.proof_of_possession(request)
    client = authenticate(issuer, request).client
    if GRANT not in client.grant_types:
        raise OAuthError("unauthorized_client", "the client may not use this grant type")
    form = request.form
    asked = DeviceRequest(
        client_id=client.client_id,
        scopes=scopes_of(form.get("scope"), client.scopes),
        audience=audience_of(issuer, client, form.get("resource")),
        details=issuer.details(client, form.get("authorization_details")),
        source=request.source,
        created=request.now,
        jkt=jkt,
    )
    if not client.public:  # in the name of one that is, anybody could fill the room of all
        issuer.use_proof(request)
    try:
        device_code, user_code = issuer.devices.open(asked)
    except Full:
        raise OAuthError("temporarily_unavailable", "too many devices wait already", status=503) from None
    return json_response(
        {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": issuer.endpoint(PAGE),
            "expires_in": LIVES // SECOND,
            "interval": INTERVAL,
        }
    )


def find(issuer: Issuer, user_code: str, *, account: Account, source: str, now: int) -> tuple[DeviceRequest, Known]:
    """What waits under a code that somebody typed who is signed in as `account`, and whose client it is.

    Raises `OAuthError`: `invalid_request` for a code that there is not, 429 after too many of them.
    """
    devices = issuer.devices
    keys = (f"account {account.id}", f"network {block(source, NETWORK)}")
    if not devices.may_try(keys, now):
        raise OAuthError("access_denied", "too many codes that there are not: try again in half an hour", status=429)
    asked = devices.find(user_code, now)
    known = issuer.registry.get(asked.client_id) if asked is not None else None
    if asked is None or known is None:
        if devices.missed(keys, now):
            issuer.record.act(Event.DEVICE_LOCKED, {"principal": account.principal, **from_source(source)})
        raise OAuthError("invalid_request", "there is no such code, or it has expired")
    return asked, known


def approve(issuer: Issuer, user_code: str, grant: Grant, now: int) -> None:
    """Let the device have what somebody gives it: a grant of its client, for what it asked or less.

    On the record first. Raises `OAuthError` if it was answered already, or has expired.
    """
    asked = issuer.devices.find(user_code, now)
    if asked is None:
        raise _too_late()
    more = (
        grant.client_id != asked.client_id
        or not set(grant.scopes) <= set(asked.scopes)
        or not set(grant.audience) <= set(asked.audience)
        or any(entry not in asked.details for entry in grant.details)
    )
    if more or not grant.account:
        raise OAuthError("invalid_request", "this is not what the device asked for")
    issuer.record.act(
        Event.GRANT_GIVE,
        {
            "principal": grant.principal,
            "client": grant.client_id,
            "scope": " ".join(grant.scopes),
            "audience": list(grant.audience),
            "session": grant.session,
            "by": "device",
            **from_source(asked.source),
            **({"details": list(grant.details)} if grant.details else {}),
        },
    )
    if not issuer.devices.answer(user_code, grant, now):
        raise _too_late()


def deny(issuer: Issuer, user_code: str, now: int) -> None:
    """The device gets nothing. Raises `OAuthError` if it was answered already, or has expired."""
    if not issuer.devices.answer(user_code, None, now):
        raise _too_late()


def _too_late() -> OAuthError:
    return OAuthError("invalid_request", "this code has expired, or was answered already: begin again at the device")
