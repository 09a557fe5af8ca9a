"""The authorization endpoint: a browser comes with a request, and leaves with a code (OAuth 2.1 section 4.1).

    request -> who are you? -> do you allow this? -> code

Whoever is at the browser may be sent away to sign in, and comes back by `go_on` with the name of the flow, which
is all that travels: what was asked for stays here, so that nobody can change it on the way.
"""

from __future__ import annotations

import msgspec

from interlock.addresses import SITE, block
from interlock.clock import SECOND
from interlock.issuer import jar, par
from interlock.issuer.authorization_request import (
    LONGEST_STATE,
    AuthorizationRequest,
    Redirected,
    answer,
    client_of,
    read,
    redirect_uri_of,
    told,
)
from interlock.issuer.codes import Full
from interlock.issuer.errors import OAuthError, Repeated
from interlock.issuer.flows import Asked, form_target
from interlock.issuer.grants.authorization_code import CODE_LIVES, Code
from interlock.issuer.http import Request, Response
from interlock.issuer.levels import answered
from interlock.issuer.registry import Known
from interlock.issuer.service import Issuer
from interlock.issuer.sessions import Session
from interlock.model import Event
from interlock.store.clients import Client, Grant

FLOW_LIVES = 3600 * SECOND
OPENID, OFFLINE = "openid", "offline_access"


class Flow(msgspec.Struct, frozen=True):
    """A request that somebody is at."""

    asked: AuthorizationRequest
    since: int  # wall ns


def authorize(issuer: Issuer, request: Request) -> Response:
    """A browser comes from a client. Raises `OAuthError` for what the person alone can be told."""
    try:
        parameters = request.parameters if request.method == "GET" else request.form
    except Repeated as problem:
        return _repeated(issuer, request, problem)
    known = client_of(issuer, parameters)
    if (session := issuer.people.session(request)) is not None:  # before a signed request is used up
        issuer.may_date(session.principal, known.client.client_id, request.now)
    try:
        asked = _read(issuer, known, parameters, request.now)
    except Redirected as found:
        note_refusal(issuer, request, known.client, found.problem)
        return told(issuer, found)
    begun = issuer.codes.flows.get(asked.flow, request.now)
    if isinstance(begun, Flow):
        return _proceed(issuer, request, asked.flow, begun)
    flow = Flow(asked, request.now)
    try:
        name = issuer.codes.flows.put(flow, request.now + FLOW_LIVES, request.now, place=block(request.source, SITE))
    except Full:
        raise OAuthError("temporarily_unavailable", "too many people are signing in", status=503) from None
    if asked.pushed and not issuer.codes.pushed.replace(asked.pushed, lambda one: _taken_on(one, asked, name)):
        # It was loaded twice at once, and who was first is at it: one code comes of it, not two.
        issuer.codes.flows.drop(name)
        name = par.pushed(issuer, asked.pushed, asked.client_id, request.now).flow
        return _proceed(issuer, request, name, _flow(issuer, name, request.now))
    return _proceed(issuer, request, name, flow)


def _taken_on(found: AuthorizationRequest, asked: AuthorizationRequest, flow: str) -> AuthorizationRequest | None:
    """A pushed request, and who is at it, unless somebody else has been since it was looked at."""
    return msgspec.structs.replace(found, flow=flow) if found.flow == asked.flow else None


def _repeated(issuer: Issuer, request: Request, problem: Repeated) -> Response:
    """Told to the client (RFC 6749 section 4.1.2.1), if it is clear who that is and where; else raised again."""
    once = problem.once
    if "redirect_uri" not in once or "request" in once or "request_uri" in once:
        raise problem
    known = client_of(issuer, once)
    redirect_uri = redirect_uri_of(known.client, once["redirect_uri"])
    note_refusal(issuer, request, known.client, problem)
    return told(issuer, Redirected(redirect_uri, once.get("state", "")[:LONGEST_STATE], problem))


def go_on(issuer: Issuer, request: Request) -> Response:
    """The browser comes back from signing in."""
    name = request.parameters.get("flow", "")
    return _proceed(issuer, request, name, _flow(issuer, name, request.now))


def decide(issuer: Issuer, request: Request) -> Response:
    """The person has read the page and answered."""
    session = issuer.people.session(request)
    if session is None:
        raise OAuthError("access_denied", "you are not signed in any more: go back to the application", status=403)
    name, allowed = issuer.people.consented(request, session)
    flow = _flow(issuer, name, request.now)
    asked = flow.asked
    known = _still_known(issuer, asked)
    if not issuer.people.meets(session, _requirements(known.client, name, flow), request.now):
        return _proceed(issuer, request, name, flow)
    if not allowed:
        issuer.codes.flows.drop(name)
        problem = OAuthError("access_denied", "the person did not allow it")
        note_refusal(issuer, request, known.client, problem)
        return told(issuer, Redirected(asked.redirect_uri, asked.state, problem))
    issuer.may_date(session.principal, asked.client_id, request.now)
    _remember(issuer, session, asked, request.now)
    return _code(issuer, request, name, flow, session)


def _read(issuer: Issuer, known: Known, parameters: dict[str, str], now: int) -> AuthorizationRequest:
    client = known.client
    if (name := parameters.get("request_uri")) is not None:
        return par.pushed(issuer, name, client.client_id, now)
    if issuer.settings.profile is not None or client.require_pushed_authorization_requests:
        raise OAuthError("invalid_request", "the application must push its request first (PAR)")
    if (signed := parameters.get("request")) is not None:
        # What stands beside it counts for nothing but the client_id (RFC 9101 section 6.3).
        return read(issuer, client, jar.open_request(issuer, known, signed, now) | {"client_id": client.client_id})
    if client.require_signed_request_object:
        raise OAuthError("invalid_request", "this application's requests are signed: request is missing")
    return read(issuer, client, parameters)


def _proceed(issuer: Issuer, request: Request, name: str, flow: Flow) -> Response:
    """As far as it goes without the person."""
    asked = flow.asked
    known = _still_known(issuer, asked)
    client = known.client
    session = issuer.people.session(request)
    needed = _requirements(client, name, flow)
    silent = "none" in asked.prompt
    if session is None or not issuer.people.meets(session, needed, request.now):
        if silent:
            return _refuse(issuer, request, client, name, asked, "login_required", "nobody is signed in, or not so")
        return issuer.people.sign_in(request, needed)
    if asked.id_token_hint and issuer.hinted(asked.id_token_hint).get("sub") != session.account.id:
        if silent:
            return _refuse(issuer, request, client, name, asked, "login_required", "somebody else is signed in")
        return issuer.people.sign_in(request, msgspec.structs.replace(needed, login=True))
    if _needs_consent(issuer, client, session, asked):
        if silent:
            return _refuse(issuer, request, client, name, asked, "consent_required", "the person has to be asked")
        meanings = [(scope, issuer.settings.scopes.get(scope, "")) for scope in asked.scopes]
        return issuer.people.ask_consent(request, session, name, client, meanings, asked)
    return _code(issuer, request, name, flow, session)


def _requirements(client: Client, name: str, flow: Flow) -> Asked:
    """What signing in must reach for this request."""
    asked = flow.asked
    return Asked(
        flow=name,
        go="authorize",
        client=client.client_name,
        acr_values=asked.acr_values,
        max_age=asked.max_age,
        login=bool(asked.prompt & {"login", "select_account"}),
        since=flow.since,
        hint=asked.login_hint,
        targets=(form_target(asked.redirect_uri),),
    )


def _needs_consent(issuer: Issuer, client: Client, session: Session, asked: AuthorizationRequest) -> bool:
    """Whether the person has to be asked: details (RFC 9396) always, everything else unless it was allowed before."""
    if "consent" in asked.prompt or asked.details:
        return True
    if client.first_party:
        return False
    if client.public and not asked.redirect_uri.startswith("https:"):
        return True  # anybody can say it is this client (RFC 8252 section 8.6)
    scopes, audience = issuer.clients.consent(session.account.id, client.client_id)
    return not (set(asked.scopes) <= scopes and set(asked.audience) <= audience and scopes | audience)


def _remember(issuer: Issuer, session: Session, asked: AuthorizationRequest, now: int) -> None:
    issuer.record.act(
        Event.GRANT_GIVE,
        {
            "principal": session.principal,
            "client": asked.client_id,
            "scope": " ".join(asked.scopes),
            "audience": list(asked.audience),
            "session": session.sid,
            **({"details": list(asked.details)} if asked.details else {}),
        },
    )
    scopes, audience = issuer.clients.consent(session.account.id, asked.client_id)
    issuer.clients.allow(
        session.account.id, asked.client_id, scopes | set(asked.scopes), audience | set(asked.audience), now
    )


def _code(issuer: Issuer, request: Request, name: str, flow: Flow, session: Session) -> Response:
    """Give the code, once for each flow."""
    asked, now = flow.asked, request.now
    issuer.may_date(session.principal, asked.client_id, now)  # else it would be taken for one from before
    pushed = issuer.codes.pushed
    answered_already = asked.pushed and pushed.take(asked.pushed, now) is None and pushed.was_taken(asked.pushed)
    if issuer.codes.flows.take(name, now) is None or answered_already:
        raise OAuthError("invalid_request", "this was answered already: go back to the application", status=400)
    client = _still_known(issuer, asked).client
    offline = OFFLINE in asked.scopes or (OPENID not in asked.scopes and "refresh_token" in client.grant_types)
    grant = Grant(
        id="",
        client_id=client.client_id,
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
        acr=answered(session.acr, asked.acr_values),
        amr=session.amr,
        nonce=asked.nonce,
        offline=OFFLINE in asked.scopes,
        jkt=asked.jkt,
    )
    code = Code(grant, asked.redirect_uri, asked.challenge, offline)
    try:
        text = issuer.codes.authorization.put(code, now + CODE_LIVES, now)
    except Full:
        return _refuse(issuer, request, client, name, asked, "temporarily_unavailable", "try again in a moment")
    return answer(issuer, asked.redirect_uri, asked.state, {"code": text})


def _refuse(
    issuer: Issuer, request: Request, client: Client, name: str, asked: AuthorizationRequest, error: str, why: str
) -> Response:
    issuer.codes.flows.drop(name)
    problem = OAuthError(error, why)
    note_refusal(issuer, request, client, problem)
    return told(issuer, Redirected(asked.redirect_uri, asked.state, problem))


def _flow(issuer: Issuer, name: str, now: int) -> Flow:
    flow = issuer.codes.flows.get(name, now)
    if not isinstance(flow, Flow):
        raise OAuthError("invalid_request", "this request has expired: go back to the application and try again")
    return flow


def _still_known(issuer: Issuer, asked: AuthorizationRequest) -> Known:
    known = issuer.registry.get(asked.client_id)
    if known is None:
        raise OAuthError("invalid_client", "the application that sent you here is not known any more")
    return known


def note_refusal(issuer: Issuer, request: Request, client: Client, problem: OAuthError) -> None:
    """On the record, as every refusal."""
    issuer.record.note(
        Event.TOKEN_REFUSED,
        {
            "endpoint": request.path,
            "error": problem.error,
            "why": (problem.note or problem.description)[:500],
            "client": client.client_id,
            "call": request.call,
        },
    )
