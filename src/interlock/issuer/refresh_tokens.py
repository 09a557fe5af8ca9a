"""Refresh tokens: each is good once, and using one again ends its whole family (RFC 9700 section 4.14.2).

    ilr_GRANT.SECRET    the grant's id; 128 random bits and a keyed hash of both, which says that we made it

The present token of a grant is the only one that is good; a keyed hash of it is kept. One that was good before tells
that it was copied, by the client or from it; nobody can tell which of the two came second, so both lose what they
have. What we never made tells nothing: the grant's id is in every access token, and who knows it MUST NOT be able to
end the grant.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from interlock.clock import SECOND
from interlock.errors import StateError
from interlock.identity.marks import LONGEST
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request
from interlock.issuer.ids import REFRESH_TOKEN, new_id
from interlock.issuer.service import Issuer
from interlock.jose.signing import encode_base64url
from interlock.keys import lookup_hash
from interlock.model import Event
from interlock.store.clients import Grant


def begin(issuer: Issuer, grant: Grant, now: int, *, refresh: bool) -> tuple[Grant, str]:
    """Keep a new grant; gives it, and its first refresh token if it is to have any.

    `grant` needs no id yet. A grant without a refresh token is kept as well: it is what tokens hang on.
    """
    grant_id = new_id()
    text, hashed = _make(issuer, grant_id)
    life = issuer.settings.refresh_token if refresh else issuer.settings.access_token
    grant = msgspec.structs.replace(grant, id=grant_id, created=now, expires=now + life, current=hashed)
    issuer.clients.add_grant(grant)
    return grant, text if refresh else ""


@contextmanager
def begun(issuer: Issuer, grant: Grant) -> Iterator[None]:
    """Around what is given for a grant that just began: if nothing is, since it was revoked meanwhile or something
    broke, the grant goes. Nobody was told of it, and what it was given for was spent: nobody else would end it.

    Whether the session stands is looked at now that the grant is written: who ends a session first says so, and then
    looks for what hangs on it. Raises `OAuthError`.
    """
    try:
        _look_again(issuer, grant)
        yield
    except BaseException:
        with suppress(StateError):  # then it ends by itself, unused
            issuer.clients.remove_grant(grant.id)
        raise


def _look_again(issuer: Issuer, grant: Grant) -> None:
    """Also a grant that is to outlive the session does not begin after it."""
    within = msgspec.structs.replace(grant, offline=False)
    if grant.account and not issuer.people.stands(within, grant.created, alive=False):
        raise OAuthError("invalid_grant", "the code is not good", note="the session ended meanwhile")


def use(issuer: Issuer, text: str, client_id: str, request: Request) -> Grant:
    """The grant whose present token this is; raises `OAuthError` (invalid_grant).

    A request that was copied whole, with its proof of possession, is refused by that and ends nothing.
    """
    now = request.now
    grant, hashed = _find(issuer, text)
    if grant is None or grant.client_id != client_id or not _made_here(issuer, text):
        raise OAuthError("invalid_grant", "the refresh token is not good", note="unknown, or another client's")
    if not grant.usable(now):
        raise OAuthError("invalid_grant", "the refresh token is not good", note=f"{grant.why or 'expired'}")
    if issuer.withdrawn(grant):
        raise OAuthError("invalid_grant", "the refresh token is not good", note="revoked while it was given")
    if not hmac.compare_digest(hashed, grant.current):
        issuer.use_proof(request)
        revoke_family(issuer, grant, now, "refresh token used again")
        raise OAuthError("invalid_grant", "the refresh token is not good", note=f"used again: grant {grant.id}")
    return grant


def rotate(issuer: Issuer, grant: Grant, now: int) -> str:
    """The next token of the family, in place of the present one."""
    text, hashed = _make(issuer, grant.id)
    renewed = msgspec.structs.replace(grant, current=hashed, expires=now + issuer.settings.refresh_token)
    if not issuer.clients.renew_grant(renewed, grant.current):
        # Somebody was here with the same token in the same moment.
        revoke_family(issuer, grant, now, "refresh token used twice at once")
        raise OAuthError("invalid_grant", "the refresh token is not good", note=f"used twice: grant {grant.id}")
    return text


def keep(issuer: Issuer, grant: Grant, now: int) -> None:
    """The same token goes on: it was used, so it rests from now on."""
    renewed = msgspec.structs.replace(grant, expires=now + issuer.settings.refresh_token)
    if not issuer.clients.renew_grant(renewed, grant.current):
        raise OAuthError("invalid_grant", "the refresh token is not good", note=f"revoked meanwhile: grant {grant.id}")


def find(issuer: Issuer, text: str) -> Grant | None:
    """The grant of a token that is its present one, usable or not."""
    grant, hashed = _find(issuer, text)
    return grant if grant is not None and hmac.compare_digest(hashed, grant.current) else None


def family(issuer: Issuer, text: str) -> Grant | None:
    """The grant of a token that we made, the present one or a former one, usable or not."""
    return _find(issuer, text)[0] if _made_here(issuer, text) else None


def revoke_family(issuer: Issuer, grant: Grant, now: int, why: str) -> None:
    """End a grant: its refresh token and every access token that was issued under it."""
    issuer.record.act(
        Event.GRANT_REVOKE,
        {"principal": grant.principal, "client": grant.client_id, "grant": grant.id, "why": why},
    )
    # In this order: what fails here can be asked for again, since the grant is not called revoked yet.
    issuer.revoker.family(grant.id, now + (LONGEST + 60) * SECOND)
    issuer.clients.revoke_grants(now, why, id=grant.id)


def _find(issuer: Issuer, text: str) -> tuple[Grant | None, bytes]:
    shape = REFRESH_TOKEN.fullmatch(text)
    hashed = lookup_hash(issuer.lookup_key, text.encode("utf-8"))
    return (issuer.clients.grant(shape[1]) if shape else None), hashed


def _make(issuer: Issuer, grant_id: str) -> tuple[str, bytes]:
    random = secrets.token_bytes(16)
    text = f"ilr_{grant_id}.{encode_base64url(random + _seal(issuer, grant_id, random))}"
    return text, lookup_hash(issuer.lookup_key, text.encode("ascii"))


def _made_here(issuer: Issuer, text: str) -> bool:
    """Whether it is a token of ours, present or former, and not made up around a grant's id."""
    shape = REFRESH_TOKEN.fullmatch(text)
    if shape is None:
        return False
    secret = base64.urlsafe_b64decode(f"{shape[2]}=")
    return hmac.compare_digest(secret[16:], _seal(issuer, shape[1], secret[:16]))


def _seal(issuer: Issuer, grant_id: str, random: bytes) -> bytes:
    return lookup_hash(issuer.lookup_key, b"refresh token\0" + grant_id.encode("ascii") + random)[:16]
