"""A KEK in the transit engine of Vault or OpenBao: data keys go there to be wrapped, the KEK never comes here.

    POST URL/v1/MOUNT/encrypt/KEY  {"plaintext": BASE64, "associated_data": BASE64}  ->  {"data": {"ciphertext": ...}}
    POST URL/v1/MOUNT/decrypt/KEY  {"ciphertext": ..., "associated_data": BASE64}    ->  {"data": {"plaintext": BASE64}}

TLS is always verified. A server that does not answer, is sealed or standing by is asked again, ever less often,
for a while. An error MUST NOT show the token or what was wrapped.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from interlock.clock import SECOND
from interlock.errors import KeyMaterialError
from interlock.keys.wrapping import KekUnavailable

if TYPE_CHECKING:
    import httpx

    from interlock.config import TransitSource

PATIENCE: Final = 20.0  # seconds for a server that does not serve now
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 4.0
_AGAIN: Final = frozenset({412, 429, 472, 473, 500, 502, 503, 504})  # behind, standing by, sealed, overloaded
_SHOWN: Final = 300  # characters of what the server says


class TransitKek:
    """One key of one server. Holds where it is, and a reference to the token."""

    algorithm = "AES-256-GCM in a transit engine"
    kind = "transit"

    def __init__(
        self, source: TransitSource, *, patience: float = PATIENCE, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._at = source.transit
        self.id = str(source)
        self._patience = patience
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"TransitKek({self.id!r})"

    def wrap(self, secret: bytes, associated: bytes) -> bytes:
        asked = {"plaintext": _base64(secret), "associated_data": _base64(associated)}
        ciphertext = self._ask("encrypt", asked).get("ciphertext")
        if not isinstance(ciphertext, str) or not ciphertext.isascii():
            raise KekUnavailable(f"{self.id}: the server's answer holds no ciphertext")
        return ciphertext.encode("ascii")

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        asked = {"ciphertext": wrapped.decode("ascii", "replace"), "associated_data": _base64(associated)}
        try:
            return base64.b64decode(self._ask("decrypt", asked)["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise KekUnavailable(f"{self.id}: the server's answer holds no plaintext") from None

    def _ask(self, what: str, body: dict[str, str]) -> dict[str, Any]:
        """One question, until it is answered or patience is over."""
        import httpx

        at = self._at
        url = f"{at.url.rstrip('/')}/v1/{at.mount}/{what}/{at.key}"
        until, pause = time.monotonic() + self._patience, FIRST_PAUSE
        try:
            context = ssl.create_default_context(cafile=None if at.ca is None else str(at.ca))
        except OSError as error:
            raise KekUnavailable(f"{self.id}: {at.ca} holds no certificates that can be read: {error}") from None
        with httpx.Client(verify=context, timeout=at.timeout / SECOND, trust_env=False) as client:
            while True:
                try:
                    answer = client.post(url, json=body, headers=self._headers())
                    problem = self._judge(answer)
                    if problem is None:
                        return dict(answer.json()["data"])
                except httpx.TransportError as error:
                    if isinstance(error.__cause__, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(error):
                        raise KekUnavailable(f"{self.id}: {at.url} cannot be trusted: {error}") from None
                    problem = f"{at.url} does not answer: {type(error).__name__} {error}".rstrip()
                except (ValueError, KeyError, TypeError):
                    raise KekUnavailable(f"{self.id}: {at.url} does not answer as a transit engine does") from None
                if time.monotonic() + pause > until:
                    raise KekUnavailable(f"{self.id}: {problem}")
                self._sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _headers(self) -> dict[str, str]:
        token = self._at.token.resolve().decode("ascii", "replace").strip()
        if not token.isprintable() or "\ufffd" in token:
            raise KekUnavailable(f"{self.id}: what {self._at.token} holds is no token")
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        if self._at.namespace:
            headers["X-Vault-Namespace"] = self._at.namespace
        return headers

    def _judge(self, answer: httpx.Response) -> str | None:
        """None if it is an answer, a problem that may pass, or an error that will not."""
        if answer.status_code == 200:
            return None
        said = _said(answer)
        if answer.status_code in _AGAIN:
            return f"{self._at.url} does not serve now (status {answer.status_code}{said})"
        if answer.status_code == 400 and answer.request.url.path.rpartition("/")[0].endswith("/decrypt"):
            raise KeyMaterialError(f"{self.id}: the server cannot open it{said}")
        if answer.status_code in (401, 403):
            raise KekUnavailable(
                f"{self.id}: the token in {self._at.token} is not accepted for it (status {answer.status_code}{said})"
            )
        if answer.status_code == 404:
            raise KekUnavailable(f"{self.id}: the server knows no such key or mount (status 404{said})")
        raise KekUnavailable(f"{self.id}: status {answer.status_code}{said}")


def _said(answer: httpx.Response) -> str:
    """What the server gives as reasons, which never hold what was sent."""
    try:
        reasons = answer.json()["errors"]
        text = "; ".join(str(reason) for reason in reasons)
    except (ValueError, KeyError, TypeError):
        return ""
    shown = "".join(c if c.isprintable() else " " for c in text)[:_SHOWN].strip()
    return f": {shown}" if shown else ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
