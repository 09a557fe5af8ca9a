"""Signing out at a client's request (OpenID Connect RP-Initiated Logout 1.0).

With an ID token of the session that is signed in, it is done at once; without one, the person is asked, since anybody
can send a browser here. Where to go afterwards is compared exactly with what the client registered.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request, Response, redirect
from interlock.issuer.service import Issuer


def logout(issuer: Issuer, request: Request) -> Response:
    """A browser comes from a client. Raises `OAuthError`."""
    parameters = request.parameters if request.method == "GET" else request.form
    hint = parameters.get("id_token_hint", "")
    claims = issuer.hinted(hint) if hint else {}
    if hint and not claims:
        raise OAuthError("invalid_request", "id_token_hint is no ID token of this server")
    client_id = parameters.get("client_id") or str(claims.get("aud", ""))
    if claims and client_id != claims.get("aud"):
        raise OAuthError("invalid_request", "client_id is another than that of the ID token")
    where = _where(issuer, client_id, parameters.get("post_logout_redirect_uri", ""), parameters.get("state", ""))
    session = issuer.people.session(request)
    if session is None:
        return redirect(where) if where else issuer.people.signed_out(request, ())
    if claims.get("sid") == session.sid and claims.get("sub") == session.account.id:
        cleared = issuer.people.sign_out(request)
        return redirect(where, (cleared,)) if where else issuer.people.signed_out(request, (cleared,))
    return issuer.people.ask_sign_out(request, session, where)


def confirmed(issuer: Issuer, request: Request) -> Response:
    """The person was asked, and wants to."""
    where = issuer.people.sign_out_confirmed(request)
    cleared = issuer.people.sign_out(request)
    return redirect(where, (cleared,)) if where else issuer.people.signed_out(request, (cleared,))


def _where(issuer: Issuer, client_id: str, uri: str, state: str) -> str:
    if not uri:
        return ""
    known = issuer.registry.get(client_id)
    if known is None or uri not in known.client.post_logout_redirect_uris:
        raise OAuthError("invalid_request", "the address to go back to is not one of the application's")
    if not state:
        return uri
    parts = urlsplit(uri)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("state", state)])
    return urlunsplit(parts._replace(query=query))
