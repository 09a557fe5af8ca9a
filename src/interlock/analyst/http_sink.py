"""POSTs batches as JSON lines. A 2xx status confirms; everything else is tried again, and said why."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence

import httpx

from interlock.analyst.sink import Message, SinkError
from interlock.config import HeaderValue

CONTENT_TYPE = "application/x-ndjson"
LARGEST = 64 * 1024  # bytes of an answer that are read
_SAID = 200  # characters of it that are shown


class HttpSink:
    """One URL. Certificates and secrets are read again after each failure, so that new ones are taken up."""

    def __init__(
        self, url: str, headers: Mapping[str, HeaderValue], context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._url = url
        self._timeout = timeout
        sent = {name: value.resolve() for name, value in headers.items()}
        self._client = httpx.Client(
            verify=context if context is not None else False,
            timeout=timeout,
            headers={"User-Agent": "interlock", "Content-Type": CONTENT_TYPE, "Accept-Encoding": "identity", **sent},
            trust_env=False,
            follow_redirects=False,
        )

    def send(self, batch: Sequence[Message]) -> bool:
        until = time.monotonic() + self._timeout
        try:
            with self._client.stream("POST", self._url, content=b"".join(message.data for message in batch)) as answer:
                data = bytearray()
                for piece in answer.iter_raw():
                    if time.monotonic() > until:
                        raise SinkError("it did not answer in time")
                    data += piece
                    if len(data) > LARGEST:  # the status says what counts; the connection ends here
                        break
        except httpx.TimeoutException:
            raise SinkError("it did not answer in time") from None
        except httpx.HTTPError as error:
            raise SinkError(str(error) or type(error).__name__) from None
        if not answer.is_success:
            said = " ".join(data[: 4 * _SAID].decode("utf-8", "replace")[:_SAID].split())
            shown = "".join(c for c in said if c.isprintable())
            wait = answer.headers.get("retry-after", "")
            raise SinkError(
                f"it answered {answer.status_code}{': ' + shown if shown else ''}",
                smaller=answer.status_code == 413,
                retry_after=float(wait) if wait.isdecimal() and len(wait) < 7 else None,
            )
        return True

    def confirm(self) -> None:
        """Every batch was."""

    def close(self) -> None:
        self._client.close()
