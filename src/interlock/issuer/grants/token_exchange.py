"""A client has a token and asks for another in its place (RFC 8693): for less, never for more, and who acts is told.

The checks, in this order:

 1. The client authenticates itself, and asks for an access token for an access token (or a JWT).
 2. The subject token holds: of this issuer, or of one that `issuer.exchange` names.                 invalid_request
 3. Who presents a bound token proves the same possession; what is issued is bound as well.       invalid_dpop_proof
 4. The actor is the client, or whom a token of its own names that holds, as in 2. and 3.             invalid_request
 5. The actor may act: `may_act` of the subject token names it and no other; without one, the
    subject token was given to the client, or meant for it.                                          invalid_request
 6. Scope, audience and details are those of the subject token or fewer, and what the client may ask for.
 7. It ends with the subject token and the actor's, and is refused with whatever refuses either (`hangs_on`).

A token of an outside issuer speaks for a client whose `assertion_issuer` and `assertion_subjects` it names: what is
issued here names principals of this node only. People of outside issuers sign in instead.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from interlock.clock import SECOND
from interlock.identity.handles import client_handle, family_handle, issuer_handle, principal_handle, session_handle
from interlock.issuer import details
from interlock.issuer.access import Access
from interlock.issuer.asked import Asked, Given
from interlock.issuer.client_auth import certificate_thumbprint
from interlock.issuer.errors import OAuthError
from interlock.issuer.grants.client_credentials import own_scopes
from interlock.issuer.mint import mint
from interlock.issuer.service import Issuer
from interlock.issuer.token import audience_of, scopes_of
from interlock.model import Identity, Pending, Reason, Refusal
from interlock.store.clients import Client

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
DEEPEST: Final = 4  # actors within actors
HANGS: Final = 16  # handles that a token carries


class Subject(msgspec.Struct, frozen=True):
    """For whom a token is asked: what the subject token says, and of whom here."""

    identity: Identity
    principal: str
    subject: str
    roles: tuple[str, ...]
    scopes: frozenset[str]
    audience: frozenset[str] | None  # None: it was issued elsewhere, and says nothing of APIs here
    expires: int  # wall ns
    own: bool
    client_id: str  # of ours, which it was given to or speaks for

    @property
    def claims(self) -> Mapping[str, Any]:
        return self.identity.claims


def token_exchange(issuer: Issuer, asked: Asked) -> Given:
    # 1.
    client, form = asked.client, asked.form
    if client.public:
        raise OAuthError("unauthorized_client", "a client without a credential exchanges nothing")
    if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        raise _refused("requested_token_type: only access tokens are issued")
    # 2.
    subject = _subject(issuer, asked)
    # 3.
    asked = _bound(subject.identity, asked)
    # 4.
    actor = _actor(issuer, asked)
    if actor is not None:
        asked = _bound(actor, asked)
    # 5.
    _check_may_act(issuer, client, subject, actor)
    # 6.
    scopes = scopes_of(form.get("scope"), tuple(scope for scope in client.scopes if scope in subject.scopes))
    audience = _audience(issuer, client, subject, form)
    allowed = subject.claims.get("authorization_details", ()) if subject.own else ()
    narrowed = details.narrowed(issuer, client, form.get("authorization_details"), allowed)
    # 7.
    access = Access(
        client_id=client.client_id,
        principal=subject.principal,
        subject=subject.subject,
        audience=audience,
        scopes=scopes,
        roles=subject.roles,
        details=narrowed,
        session=_text(subject, "sid"),
        family=_text(subject, "fid"),
        auth_time=subject.claims.get("auth_time", 0) if subject.own else 0,
        acr=_text(subject, "acr"),
        amr=tuple(subject.claims.get("amr", ())) if subject.own else (),
        jkt=asked.jkt,
        certificate=asked.certificate,
        act=_act(client, subject, actor),
        expires=min([subject.expires, *([actor.expires] if actor is not None else [])]),
        may_act=subject.claims.get("may_act") if subject.own else None,
        origin=subject.identity.credential,
    )
    access = msgspec.structs.replace(access, hangs_on=_hangs_on(issuer, access, subject, actor))
    issuer.use_proof(asked.request)
    minted = mint(issuer, asked.client, access, asked.now, by="token-exchange")
    return Given(minted, scopes, more={"issued_token_type": ACCESS_TOKEN}, details=narrowed)


def _subject(issuer: Issuer, asked: Asked) -> Subject:
    text = _token(asked, "subject_token")
    found = _verify(issuer, text, asked.now)
    own = found.issuer == issuer.url
    claims = found.claims
    if own:
        return Subject(
            found,
            found.text,
            str(claims["sub"]),
            tuple(claims.get("roles", ())),
            found.scopes,
            _audience_in(claims),
            found.expires,
            own=True,
            client_id=str(claims.get("client_id", "")),
        )
    if "act" in claims:
        raise _refused("subject_token: who acts for whom elsewhere is not known here")
    spoken_for = issuer.registry.spoken_for(found.issuer, str(claims["sub"]))
    if len(spoken_for) != 1:
        raise _refused("subject_token: it speaks for nobody here", note=f"{found.text} for {len(spoken_for)} clients")
    client = spoken_for[0]
    expires = min(found.expires, int(claims["exp"]) * SECOND)  # without leeway
    scopes = frozenset(own_scopes(client))
    return Subject(
        found,
        client.principal,
        client.client_id,
        client.roles,
        scopes,
        None,
        expires,
        own=False,
        client_id=client.client_id,
    )


def _actor(issuer: Issuer, asked: Asked) -> Identity | None:
    """Whom a token of the client's own names; None: the client itself acts."""
    if "actor_token" not in asked.form and "actor_token_type" not in asked.form:
        return None
    found = _verify(issuer, _token(asked, "actor_token"), asked.now)
    if found.issuer != issuer.url or found.claims.get("client_id") != asked.client.client_id:
        raise _refused("actor_token: it was not issued to this client")
    if "act" in found.claims:
        raise _refused("actor_token: who acts for somebody cannot lend that on")
    return found


def _token(asked: Asked, name: str) -> str:
    """The text of one of the two tokens; raises `OAuthError`."""
    text, kind = asked.form.get(name), asked.form.get(f"{name}_type")
    if text is None or kind is None:
        raise _refused(f"{name} and {name}_type belong together")
    if kind not in (ACCESS_TOKEN, JWT):
        raise _refused(f"{name}_type: access tokens and JWTs are taken")
    return text


def _verify(issuer: Issuer, text: str, now: int) -> Identity:
    """Whose token this is; raises `OAuthError`: one that does not hold is an invalid request (section 2.2.2)."""
    token = text.encode("ascii", "replace")
    found = issuer.tokens.verify(token, now)
    if isinstance(found, Refusal) and found.reason is Reason.TOKEN_ISSUER and issuer.exchanged is not None:
        found = issuer.exchanged.verify(token, now)
    if isinstance(found, Pending) or (isinstance(found, Refusal) and found.reason is Reason.ISSUER_UNAVAILABLE):
        raise OAuthError("temporarily_unavailable", "the keys of its issuer are being fetched", status=503)
    if isinstance(found, Refusal):
        raise _refused("the token does not hold", note=f"{found.reason} {found.note}")
    return found


def _bound(identity: Identity, asked: Asked) -> Asked:
    """The request, bound to whatever the token is bound to; raises `OAuthError` unless possession was proved."""
    if identity.bound_key and not hmac.compare_digest(identity.bound_key, asked.jkt):
        raise OAuthError("invalid_dpop_proof", "the token is bound to a key: a proof made with it is needed")
    if identity.bound_to:
        shown = certificate_thumbprint(asked.request)
        if not hmac.compare_digest(identity.bound_to, shown):
            raise _refused("the token is bound to a certificate that was not shown")
        return msgspec.structs.replace(asked, certificate=shown)
    return asked


def _check_may_act(issuer: Issuer, client: Client, subject: Subject, actor: Identity | None) -> None:
    may_act = subject.claims.get("may_act")
    if may_act is not None:
        # Section 4.4. Of a name without `iss` the subject token's issuer is meant: it is not ours elsewhere.
        named = may_act if isinstance(may_act, dict) else {}
        if named.get("iss", subject.identity.issuer) == issuer.url and _names(named, client, actor):
            return
        raise _refused("subject_token: `may_act` names somebody else")
    audience = _audience_in(subject.claims)
    if subject.own and subject.client_id == client.client_id:
        return
    if not audience & {client.client_id, *client.resources}:
        raise _refused("subject_token: it was neither given to this client nor meant for it")


def _names(may_act: Mapping[str, Any], client: Client, actor: Identity | None) -> bool:
    """Whether every name in `may_act` is that of who acts, and there is one."""
    known = {
        "sub": client.client_id if actor is None else str(actor.claims["sub"]),
        "client_id": client.client_id,
        "principal": client.principal if actor is None else actor.text,
    }
    said = {name: value for name, value in may_act.items() if name != "iss"}
    return bool(said) and all(known.get(name) == value for name, value in said.items())


def _audience(issuer: Issuer, client: Client, subject: Subject, form: Mapping[str, str]) -> tuple[str, ...]:
    """What is asked for of the subject token's audience; nothing asked for: all of it that the client may ask for."""
    asked = tuple(dict.fromkeys(form[name] for name in ("resource", "audience") if name in form))
    if subject.audience is None:
        if not asked:
            return audience_of(issuer, client, None)
        return tuple(name for one in asked for name in audience_of(issuer, client, one))
    own, others = issuer.settings.audiences, issuer.settings.resources
    may = [name for name in (*own, *others) if name in subject.audience and name in (client.resources or own)]
    found = asked or tuple(may)
    if not found or not set(found) <= set(may):
        raise OAuthError("invalid_target", "the token was not meant for it, or the client may not ask for it")
    return found


def _act(client: Client, subject: Subject, actor: Identity | None) -> dict[str, Any] | None:
    """Who acts for the subject now, and who did before (section 4.1)."""
    before = subject.claims.get("act") if subject.own else None
    if actor is not None:
        acting = {"sub": str(actor.claims["sub"]), "client_id": client.client_id, "principal": actor.text}
    elif subject.client_id == client.client_id:
        return before  # a token of its own, for less
    else:
        acting = {"sub": client.client_id, "client_id": client.client_id, "principal": client.principal}
    found: dict[str, Any] = {**acting, "act": before} if before is not None else acting
    depth = 0
    inner: Any = found
    while isinstance(inner, dict):
        depth, inner = depth + 1, inner.get("act")
    if depth > DEEPEST:
        raise _refused(f"more than {DEEPEST} act for each other")
    return found


def _hangs_on(issuer: Issuer, access: Access, subject: Subject, actor: Identity | None) -> tuple[bytes, ...]:
    """What refuses the tokens that were presented, but for what refuses the new one anyway."""
    known = {principal_handle(access.principal), issuer_handle(issuer.url), client_handle(issuer.url, access.client_id)}
    if access.session:
        known.add(session_handle(issuer.url, access.session))
    if access.family:
        known.add(family_handle(issuer.url, access.family))
    handles = [*subject.identity.handles, client_handle(issuer.url, subject.client_id)]
    if actor is not None:
        handles += actor.handles
    found = tuple(handle for handle in dict.fromkeys(handles) if handle not in known)
    if len(found) > HANGS:
        raise _refused("it was exchanged too often: get a new one")
    return found


def _text(subject: Subject, name: str) -> str:
    value = subject.claims.get(name, "") if subject.own else ""
    return value if isinstance(value, str) else ""


def _audience_in(claims: Mapping[str, Any]) -> frozenset[str]:
    stated = claims.get("aud")
    return frozenset([stated] if isinstance(stated, str) else stated or ())


def _refused(description: str, note: str = "") -> OAuthError:
    return OAuthError("invalid_request", description, note=note)
