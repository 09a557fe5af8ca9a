"""HTTP to witnesses and places: verified, no redirects, no proxies of the environment, bounded in size and time."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from interlock.errors import NodeError

LARGEST = 64 * 1024  # bytes of an answer


class Http:
    """One URL. Its connection is kept; after a failure, `close` and make a new one, which reads its files anew."""

    def __init__(self, url: str, ca: Path | None, timeout: float) -> None:
        import httpx

        self._url = url
        self._timeout = timeout
        context: ssl.SSLContext | bool = False
        if url.startswith("https:"):
            context = ssl.create_default_context(cafile=ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx.Client(
            verify=context,
            timeout=timeout,
            headers={"User-Agent": "interlock", "Content-Type": "text/plain; charset=utf-8"},
            trust_env=False,
            follow_redirects=False,
        )

    def send(self, method: str, body: bytes, token: str = "") -> tuple[int, bytes]:
        """Status and body of the answer. Raises `NodeError`."""
        import httpx

        until = time.monotonic() + self._timeout
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with self._client.stream(method, self._url, content=body, headers=headers) as answer:
                data = b""
                for piece in answer.iter_raw():
                    data += piece
                    if len(data) > LARGEST:
                        raise NodeError("its answer is too long")
                    if time.monotonic() > until:
                        raise NodeError("it did not answer in time")
                return answer.status_code, data
        except httpx.TimeoutException:
            raise NodeError("it did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NodeError(str(error) or type(error).__name__) from None

    def close(self) -> None:
        self._client.close()
