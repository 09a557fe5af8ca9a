"""What a client asks of a person: an authorization request, read and judged (OAuth 2.1 section 4.1.1).

It comes in a browser's query, pushed beforehand (`par.py`) or signed by the client (`jar.py`); from here on it is the
same. Before the redirect URI is known to be the client's, nothing is ever sent there; afterwards everything is, with
`iss` and the client's `state` (RFC 9207, RFC 9700 section 4.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Response, redirect
from interlock.issuer.registry import Known
from interlock.issuer.service import Issuer
from interlock.issuer.token import audience_of, scopes_of
from interlock.jose.encoding import Malformed, decode_base64url
from interlock.store.clients import Client

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url
PROMPTS = frozenset({"none", "login", "consent", "select_account"})
LONGEST_STATE = 2048
LONGEST_HINT = 4096  # of an ID token
MOST_LEVELS, LONGEST_LEVELS = 16, 1024  # values of `acr_values`, and characters
OLDEST = 10 * 365 * 86_400  # seconds of `max_age`


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One that is sound."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    challenge: str
    state: str = ""
    nonce: str = ""
    prompt: frozenset[str] = frozenset()
    max_age: int | None = None  # seconds
    acr_values: tuple[str, ...] = ()
    login_hint: str = ""
    id_token_hint: str = ""
    details: tuple[dict[str, Any], ...] = ()
    jkt: bytes = b""  # of the DPoP key that the code will be bound to (RFC 9449 section 10)
    pushed: str = ""  # the request_uri it came under
    flow: str = ""  # of who is at it, if it was pushed: it is answered once, however often it is loaded


class Redirected(Exception):
    """What is wrong is told to the client, by way of the browser."""

    def __init__(self, redirect_uri: str, state: str, problem: OAuthError) -> None:
        super().__init__(str(problem))
        self.redirect_uri = redirect_uri
        self.state = state
        self.problem = problem


def client_of(issuer: Issuer, parameters: Mapping[str, str]) -> Known:
    """Who asks; raises `OAuthError`, to be shown to the person: nobody else is known."""
    known = issuer.registry.get(parameters.get("client_id", ""))
    if known is None or "authorization_code" not in known.client.grant_types:
        raise OAuthError("invalid_client", "the application that sent you here is not known", note="client_id")
    return known


def redirect_uri_of(client: Client, given: str | None) -> str:
    """Where to send the browser afterwards: compared as it stands (RFC 9700 section 2.1); raises `OAuthError`.

    Only the port of a loopback redirect may differ, since a native app takes the one that is free (RFC 8252 7.3).
    """
    if given is None:
        if len(client.redirect_uris) == 1:
            return client.redirect_uris[0]
        raise OAuthError("invalid_request", "redirect_uri is missing")
    if given in client.redirect_uris or any(_same_but_port(given, known) for known in client.redirect_uris):
        return given
    raise OAuthError("invalid_request", "the address to go back to is not one of the application's", note=given[:200])


def read(issuer: Issuer, client: Client, parameters: Mapping[str, str], *, pushed: str = "") -> AuthorizationRequest:
    """Judge the parameters of a client that is known. Raises `OAuthError` as long as nothing may be sent to the
    redirect URI, and `Redirected` from then on."""
    redirect_uri = redirect_uri_of(client, parameters.get("redirect_uri"))
    state = parameters.get("state", "")
    try:
        return _judge(issuer, client, parameters, redirect_uri, pushed)
    except OAuthError as problem:
        raise Redirected(redirect_uri, state[:LONGEST_STATE], problem) from None


def answer(issuer: Issuer, redirect_uri: str, state: str, parameters: Mapping[str, str]) -> Response:
    """Back to the client (RFC 6749 section 4.1.2, RFC 9207)."""
    said = {**parameters, **({"state": state} if state else {}), "iss": issuer.url}
    parts = urlsplit(redirect_uri)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *said.items()])
    return redirect(urlunsplit(parts._replace(query=query)), (("referrer-policy", "no-referrer"),))


def told(issuer: Issuer, found: Redirected) -> Response:
    """A problem, by way of the browser."""
    said = {"error": found.problem.error}
    if found.problem.description:
        said["error_description"] = found.problem.description
    return answer(issuer, found.redirect_uri, found.state, said)


def _judge(
    issuer: Issuer, client: Client, parameters: Mapping[str, str], redirect_uri: str, pushed: str
) -> AuthorizationRequest:
    if "response_type" not in parameters:
        raise OAuthError("invalid_request", "response_type is missing")
    if parameters["response_type"] != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    if parameters.get("response_mode", "query") != "query":
        raise OAuthError("invalid_request", "response_mode must be query")
    if len(parameters.get("state", "")) > LONGEST_STATE or len(parameters.get("nonce", "")) > LONGEST_STATE:
        raise OAuthError("invalid_request", "state or nonce is too long")
    # Anybody can send these, and they are kept until the person has answered.
    levels = parameters.get("acr_values", "")
    if len(parameters.get("id_token_hint", "")) > LONGEST_HINT or len(levels) > LONGEST_LEVELS:
        raise OAuthError("invalid_request", "id_token_hint or acr_values is too long")
    if len(levels.split()) > MOST_LEVELS:
        raise OAuthError("invalid_request", f"at most {MOST_LEVELS} acr_values are taken")
    for name in ("registration", "claims", "request_uri", "request"):
        if name in parameters:
            raise OAuthError(f"{name}_not_supported" if name != "claims" else "invalid_request", f"{name} is not taken")
    challenge = parameters.get("code_challenge", "")
    if not challenge:
        raise OAuthError("invalid_request", "code_challenge is missing: PKCE is always used")
    if parameters.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "code_challenge_method must be S256, and code_challenge of that kind")
    allowed = (*client.scopes, *(("offline_access",) if "refresh_token" in client.grant_types else ()))
    scopes = scopes_of(parameters.get("scope"), tuple(dict.fromkeys(allowed)))
    prompt = frozenset(parameters.get("prompt", "").split())
    if not prompt <= PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise OAuthError("invalid_request", "prompt is none alone, or of login, consent and select_account")
    return AuthorizationRequest(
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        scopes=scopes,
        audience=audience_of(issuer, client, parameters.get("resource")),
        challenge=challenge,
        state=parameters.get("state", ""),
        nonce=parameters.get("nonce", ""),
        prompt=prompt,
        max_age=_max_age(parameters.get("max_age")),
        acr_values=tuple(parameters.get("acr_values", "").split()),
        login_hint=parameters.get("login_hint", "")[:256],
        id_token_hint=parameters.get("id_token_hint", ""),
        details=issuer.details(client, parameters.get("authorization_details")),
        jkt=_thumbprint(parameters.get("dpop_jkt")),
        pushed=pushed,
    )


def _max_age(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise OAuthError("invalid_request", "max_age is a number of seconds")
    return min(int(text), OLDEST)


def _thumbprint(text: str | None) -> bytes:
    if text is None:
        return b""
    try:
        found = decode_base64url(text.encode("ascii"))
    except (Malformed, UnicodeEncodeError):
        found = b""
    if len(found) != 32:
        raise OAuthError("invalid_request", "dpop_jkt is no SHA-256 thumbprint")
    return found


def _same_but_port(given: str, known: str) -> bool:
    """Of http on a loopback address; never of a name, which somebody could resolve elsewhere."""
    try:
        one, other = urlsplit(given), urlsplit(known)
        port = one.port
    except ValueError:
        return False
    if other.scheme != "http" or other.hostname not in ("127.0.0.1", "::1") or not port or given != given.strip():
        return False
    host = "[::1]" if other.hostname == "::1" else "127.0.0.1"
    rest = urlunsplit(other._replace(scheme="", netloc=""))
    return given == f"http://{host}:{port}{rest}"
