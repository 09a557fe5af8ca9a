"""Signing in at an outside OpenID provider: we are its client (OpenID Connect Core 1.0, code flow; RFC 9700).

    link on our page -> its authorization endpoint -> callback here -> its token endpoint -> an account of ours

What belongs to one attempt (nonce, PKCE verifier, which provider) travels as `state`, sealed and bound to the cookie of
the sign-in, so that an answer can be used by the browser that asked for it and by no other. The checks of the answer,
in order; each raises `OutsideRefused`:

 1. `state` was sealed for this browser, not long ago, and names the provider that this callback is of
 2. `iss`, where the provider says that it sends one, is the provider's (RFC 9207)
 3. the code gives an ID token, which its keys signed with an algorithm of the file
 4. `iss`, `aud` and `azp`, `exp`, `iat`, and `nonce` of this attempt (section 3.1.3.7)
 5. (`iss`, `sub`) is linked to an account. Nothing else of the token leads to one: not a name, not an e-mail address

The provider is waited for in threads of its own, few and bounded, and never for long.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from interlock.clock import SECOND
from interlock.config.outside import OutsideProvider
from interlock.errors import InterlockError, KeyMaterialError
from interlock.identity.claims import check_audience, validity
from interlock.jose import KeySet, KeyUnknown, Malformed, TokenRefused, decode_json_object, verify_jwt

if TYPE_CHECKING:
    import httpx

CALLBACK: Final = "/oauth/signin/outside/callback"
WELL_KNOWN: Final = "/.well-known/openid-configuration"
LEEWAY: Final = 30  # seconds
KEPT: Final = 3600 * SECOND  # metadata and keys
AGAIN: Final = 25 * SECOND  # at least between two fetches of keys for one that is not known
LARGEST: Final = 512 * 1024  # bytes of an answer
TIMEOUT: Final = 10.0  # seconds
LONGEST_SUB: Final = 255


class OutsideRefused(InterlockError):
    """It did not come to a sign-in. The message is for the record."""


class Attempt(msgspec.Struct, frozen=True):
    """What belongs to one attempt; sealed with the flow."""

    provider: str
    nonce: str
    verifier: str  # PKCE (RFC 7636)
    at: int  # wall ns

    def __repr__(self) -> str:
        return f"Attempt(provider={self.provider!r})"


class Subject(msgspec.Struct, frozen=True):
    """Who it is there."""

    issuer: str
    sub: str
    mfa: bool  # it says that more than one factor was used

    @property
    def key(self) -> bytes:
        """Under which a link is kept, hashed."""
        return f"{self.issuer}\0{self.sub}".encode()


class Metadata(msgspec.Struct, frozen=True):
    """Of OpenID Connect Discovery 1.0 section 3, what is used here."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    sends_iss: bool


def new_attempt(provider: str, now: int) -> Attempt:
    return Attempt(provider, secrets.token_urlsafe(32), secrets.token_urlsafe(48), now)


class Provider:
    """One provider as we know it now. For many threads."""

    def __init__(self, name: str, settings: OutsideProvider, callback: str, http: Callable[[], httpx.Client]) -> None:
        """`callback`: our redirect URI without its query; `http` makes a client for one attempt."""
        self.name = name
        self.settings = settings
        # One for each provider, so that no code of one is brought to another (RFC 9700 section 4.4.2).
        self.redirect_uri = f"{callback}?provider={quote(name, safe='')}"
        self._http = http
        self._lock = threading.Lock()
        self._metadata: tuple[int, Metadata] | None = None
        self._keys: tuple[int, KeySet] | None = None

    def authorization_url(self, started: Attempt, state: str, now: int, *, again: bool = False) -> str:
        """Where the browser is sent; `again`: whoever is signed in there is asked again."""
        with self._http() as http:
            endpoint = self._described(http, now).authorization_endpoint
        challenge = base64.urlsafe_b64encode(hashlib.sha256(started.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid",
            "state": state,
            "nonce": started.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **({"prompt": "login"} if again else {}),
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    def subject(self, started: Attempt, answer: Mapping[str, str], now: int) -> Subject:
        """Checks 2 to 4 of the answer that the browser brought."""
        with self._http() as http:
            metadata = self._described(http, now)
            # 2.
            said = answer.get("iss")
            if (said is not None or metadata.sends_iss) and said != self.settings.issuer:
                raise OutsideRefused("the answer is of another issuer")
            if "error" in answer:
                raise OutsideRefused(f"the provider says {answer['error'][:80]!r}")
            if not (code := answer.get("code")):
                raise OutsideRefused("the answer brings no code")
            # 3.
            token = self._redeem(http, metadata.token_endpoint, code, started.verifier)
            claims = self._verified(http, metadata.jwks_uri, token, now)
        # 4.
        return self._checked(claims, started, now)

    def _checked(self, claims: dict[str, Any], started: Attempt, now: int) -> Subject:
        client_id = self.settings.client_id
        if claims.get("iss") != self.settings.issuer:
            raise OutsideRefused("the ID token is of another issuer")
        try:
            check_audience(claims, (client_id,))
            starts, ends = validity(claims, LEEWAY)
        except TokenRefused as refused:
            raise OutsideRefused(f"the ID token: {refused}") from refused
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if (several or "azp" in claims) and claims.get("azp") != client_id:
            raise OutsideRefused("the ID token was made for another client")
        if "iat" not in claims or not starts <= now < ends:
            raise OutsideRefused("the ID token is not valid now")
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), started.nonce.encode()):
            raise OutsideRefused("the ID token is of another attempt")
        sub = claims.get("sub")
        if not isinstance(sub, str) or not 0 < len(sub) <= LONGEST_SUB:
            raise OutsideRefused("the ID token names nobody")
        amr = claims.get("amr")
        return Subject(self.settings.issuer, sub, self.settings.trust_mfa and isinstance(amr, list) and "mfa" in amr)

    # -- what is asked of the provider

    def _redeem(self, http: httpx.Client, endpoint: str, code: str, verifier: str) -> bytes:
        """The ID token for a code (section 3.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        secret = self.settings.client_secret
        if secret is None:
            form["client_id"] = self.settings.client_id
        else:  # RFC 6749 section 2.3.1
            words = (quote(self.settings.client_id, safe=""), quote(secret.resolve().decode().strip(), safe=""))
            headers["authorization"] = "Basic " + base64.b64encode(":".join(words).encode()).decode()
        found = self._asked(http, "POST", endpoint, data=form, headers=headers).get("id_token")
        if not isinstance(found, str):
            raise OutsideRefused("the provider gave no ID token")
        return found.encode("utf-8", "replace")

    def _verified(self, http: httpx.Client, jwks_uri: str, token: bytes, now: int) -> dict[str, Any]:
        keys = self._known_keys(http, jwks_uri, now, newer_than=now - KEPT)
        try:
            try:
                header, claims = verify_jwt(token, keys, self.settings.algorithms)
            except KeyUnknown:
                keys = self._known_keys(http, jwks_uri, now, newer_than=now - AGAIN)
                header, claims = verify_jwt(token, keys, self.settings.algorithms)
        except TokenRefused as refused:
            raise OutsideRefused(f"the ID token: {refused}") from refused
        if str(header.get("typ", "JWT")).lower() != "jwt":
            raise OutsideRefused("the token is no ID token")
        return claims

    def _described(self, http: httpx.Client, now: int) -> Metadata:
        with self._lock:
            if self._metadata is not None and 0 <= now - self._metadata[0] < KEPT:
                return self._metadata[1]
        issuer = self.settings.issuer
        found = self._asked(http, "GET", issuer.rstrip("/") + WELL_KNOWN)
        if found.get("issuer") != issuer:
            raise OutsideRefused("the provider's metadata is of another issuer")
        metadata = Metadata(
            self._endpoint("authorization_endpoint", found.get("authorization_endpoint")),
            self._endpoint("token_endpoint", found.get("token_endpoint")),
            self._endpoint("jwks_uri", found.get("jwks_uri")),
            found.get("authorization_response_iss_parameter_supported") is True,
        )
        with self._lock:
            self._metadata = (now, metadata)
        return metadata

    def _endpoint(self, name: str, url: object) -> str:
        """One of the provider's endpoints; it MUST NOT lead into this machine or lose TLS."""
        own = urlsplit(self.settings.issuer)
        try:
            parts = urlsplit(url) if isinstance(url, str) and url.isascii() and url.isprintable() else None
            good = parts is not None and bool(parts.hostname) and parts.username is None and not parts.fragment
        except ValueError:
            parts, good = None, False
        if parts is None or not good or " " in str(url):
            raise OutsideRefused(f"the provider's {name} is no URL")
        same = (parts.scheme, parts.hostname) == (own.scheme, own.hostname)
        if not same and (parts.scheme != "https" or _local(parts.hostname or "")):
            raise OutsideRefused(f"the provider's {name} is not acceptable")
        return str(url)

    def _known_keys(self, http: httpx.Client, jwks_uri: str, now: int, *, newer_than: int) -> KeySet:
        with self._lock:
            if self._keys is not None and newer_than < self._keys[0] <= now:
                return self._keys[1]
        try:
            keys = KeySet.parse(json.dumps(self._asked(http, "GET", jwks_uri)))
        except KeyMaterialError as error:
            raise OutsideRefused(f"the provider's keys: {error}") from error
        with self._lock:
            self._keys = (now, keys)
        return keys

    def _asked(self, http: httpx.Client, method: str, url: str, **more: Any) -> dict[str, Any]:
        """One JSON object; no redirect is followed, and no more is read than that can be."""
        import httpx

        headers = {"accept": "application/json", "accept-encoding": "identity", **more.pop("headers", {})}
        data, began = bytearray(), monotonic()
        try:
            with http.stream(method, url, headers=headers, **more) as answer:
                if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
                    raise OutsideRefused("the provider answers compressed, which was not asked for")
                for piece in answer.iter_raw():
                    data += piece
                    if len(data) > LARGEST or monotonic() - began > TIMEOUT:
                        raise OutsideRefused("the provider's answer is too long, or takes too long")
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise OutsideRefused(f"the provider cannot be reached: {type(error).__name__}") from error
        if status != 200:
            raise OutsideRefused(f"the provider answered {status}")
        try:
            return decode_json_object(bytes(data))
        except Malformed as error:
            raise OutsideRefused(f"the provider's answer: {error}") from error


def _local(host: str) -> bool:
    """Whether a host is plainly of this machine or its network. Names are not resolved: TLS proves whose they are."""
    from ipaddress import ip_address

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ip_address(host).is_global
    except ValueError:
        return False


def make_client() -> httpx.Client:
    """For one attempt: nothing is kept between two."""
    import httpx

    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False)
