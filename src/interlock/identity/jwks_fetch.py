"""Fetches an issuer's public keys: from a URL, by discovery, or from a file.

Runs in the control process only. It never follows a redirect to a lesser scheme, never takes more than the
size of a key set, and never gives keys that `interlock.jose` could not use: whoever asks keeps the last
known ones. Callers that ask at once share one fetch, and an issuer that fails is left alone for longer and
longer.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import httpx

from interlock.clock import SECOND, Clock
from interlock.errors import ConfigError, ConfigProblem, InterlockError, KeyMaterialError
from interlock.jose import KeySet, Malformed, decode_json_object
from interlock.jose.jwk import MAX_SET

INTERVAL = 25 * SECOND  # at most one fetch per issuer in this time; below the 30 s after which workers ask again
LONGEST_BACK_OFF = 300 * SECOND
TIMEOUT = 10.0  # seconds, for the whole fetch
REDIRECTS = 3
HEADERS = {  # nothing compressed: a few KiB could become gigabytes before they are counted
    "accept": "application/json",
    "accept-encoding": "identity",
}
WELL_KNOWN = "/.well-known/openid-configuration"


class JwksUnavailable(InterlockError):
    """No usable keys were to be had; the message says why."""


class JwksSource:
    """Where one issuer's keys come from."""

    def __init__(
        self,
        issuer: str,
        clock: Clock,
        *,
        url: str = "",
        file: Path | None = None,
        tls: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Without `url` and `file` the keys are found by discovery. `ConfigError` for a URL in the clear."""
        self.issuer = issuer
        self._clock = clock
        self._url = url
        self._file = file
        self._tls = tls
        self._jitter = jitter
        self._running: asyncio.Task[str] | None = None
        self._known = ""
        self._asked = -INTERVAL  # monotonic ns of the last fetch
        self._failures = 0
        self._spread = 1.0  # of the back-off, so that many nodes do not ask in step
        self._error = ""
        if file is None:
            _check_url(url or issuer, "jwks" if url else "issuer")

    async def fetch(self) -> str:
        """The issuer's JWK Set as JSON; `JwksUnavailable` if there is none to be had now.

        Asked again too soon it gives the last answer, or the last failure, without asking the issuer.
        """
        if self._running is None:
            if self._clock.monotonic() - self._asked < self._pause():
                if self._failures:
                    raise JwksUnavailable(f"{self._error} (not asked again yet)")
                return self._known
            self._running = asyncio.ensure_future(self._fetch())
            self._running.add_done_callback(self._done)
        # One caller that goes away must not take the fetch from the others.
        return await asyncio.shield(self._running)

    def _pause(self) -> int:
        if self._failures == 0:
            return INTERVAL if self._known else 0
        doubled = min(SECOND << min(self._failures - 1, 16), LONGEST_BACK_OFF)
        return int(doubled * (0.5 + self._spread / 2))

    def _done(self, task: asyncio.Task[str]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # each waiter has it; nobody waiting is no reason to complain

    async def _fetch(self) -> str:
        self._asked = self._clock.monotonic()
        try:
            text = await self._current()
        except (JwksUnavailable, KeyMaterialError, OSError, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            self._failures += 1
            self._spread = self._jitter()
            self._error = f"{self.issuer}: {error or type(error).__name__}"
            raise JwksUnavailable(self._error) from error
        self._failures = 0
        self._known = text
        return text

    async def _current(self) -> str:
        text = await asyncio.to_thread(self._read) if self._file is not None else await self._download()
        if not KeySet.parse(text).keys:
            raise JwksUnavailable("the key set has no key that verifies signatures")
        return text

    def _read(self) -> str:
        assert self._file is not None
        with self._file.open("rb") as file:
            return _text(file.read(MAX_SET + 1))

    async def _download(self) -> str:
        async with asyncio.timeout(TIMEOUT):
            verify: ssl.SSLContext | bool = self._tls or True
            async with httpx.AsyncClient(verify=verify, timeout=TIMEOUT, follow_redirects=False) as client:
                return await _get(client, self._url or await self._discover(client))

    async def _discover(self, client: httpx.AsyncClient) -> str:
        """OpenID Connect Discovery 1.0 section 4: the document MUST name the very issuer it was asked of."""
        text = await _get(client, self.issuer.rstrip("/") + WELL_KNOWN)
        try:
            document = decode_json_object(text.encode("utf-8"))
        except Malformed as error:
            raise JwksUnavailable(f"discovery: {error}") from error
        if document.get("issuer") != self.issuer:
            raise JwksUnavailable(f"discovery: the document is of issuer {document.get('issuer')!r:.200}")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not _acceptable(url) or _lesser(self.issuer, url):
            raise JwksUnavailable(f"discovery: jwks_uri {url!r:.200} is not acceptable")
        return url


async def _get(client: httpx.AsyncClient, url: str) -> str:
    for _ in range(REDIRECTS + 1):
        async with client.stream("GET", url, headers=HEADERS) as answer:
            if answer.is_redirect:
                target = str(answer.url.join(answer.headers["location"]))
                if not _acceptable(target) or _lesser(url, target):
                    raise JwksUnavailable(f"{url} redirects to {target[:200]}, which is not acceptable")
                url = target
                continue
            if answer.status_code != 200:
                raise JwksUnavailable(f"{url} answered {answer.status_code}")
            if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise JwksUnavailable(f"{url} answered with a content coding that was not asked for")
            data = bytearray()
            async for piece in answer.aiter_bytes():
                data += piece
                if len(data) > MAX_SET:
                    raise JwksUnavailable(f"{url} answered more than {MAX_SET} bytes")
            return _text(bytes(data))
    raise JwksUnavailable(f"more than {REDIRECTS} redirects")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JwksUnavailable("not UTF-8") from error


def _check_url(url: str, where: str) -> None:
    if not _acceptable(url):
        raise ConfigError([ConfigProblem("", None, where, f"{url!r} has to be https (http only on loopback)")])


def _acceptable(url: str) -> bool:
    """https anywhere, http on this machine only; no credentials in it."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    if not parsed.host or parsed.userinfo:
        return False
    return parsed.scheme == "https" or (parsed.scheme == "http" and _loopback(parsed.host))


def _lesser(source: str, target: str) -> bool:
    """Whether going from one to the other loses TLS, or reaches into this machine from outside."""
    before, after = httpx.URL(source), httpx.URL(target)
    return (before.scheme == "https" and after.scheme != "https") or (
        _loopback(after.host) and not _loopback(before.host)
    )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
