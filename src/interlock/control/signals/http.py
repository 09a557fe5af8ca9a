"""HTTP to those whom we tell and those who tell us: verified, no redirects, no proxies of the environment, bounded."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from pathlib import Path

from interlock.errors import NodeError


class Silence(NodeError):
    """It did not answer in time."""


class Http:
    """Connections that are kept. After a failure, `close` and make a new one, which reads its files anew."""

    def __init__(self, ca: Path | None, timeout: float, largest: int) -> None:
        """`timeout` in seconds, of a whole answer; `largest` in bytes."""
        import httpx

        self._timeout = timeout
        self._largest = largest
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx.Client(verify=context, timeout=timeout, trust_env=False, follow_redirects=False)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer. Raises `NodeError`, which never tells what the answer said."""
        import httpx

        until = time.monotonic() + self._timeout
        sent = {"user-agent": "interlock", "accept-encoding": "identity", **headers}
        try:
            with self._client.stream("POST", url, content=body, headers=sent) as answer:
                data = bytearray()
                for piece in answer.iter_raw():
                    data += piece
                    if len(data) > self._largest:
                        raise NodeError("its answer is too long")
                    if time.monotonic() > until:
                        raise Silence("it did not answer in time")
                return answer.status_code, bytes(data)
        except httpx.TimeoutException:
            raise Silence("it did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NodeError(str(error) or type(error).__name__) from None

    def close(self) -> None:
        self._client.close()
