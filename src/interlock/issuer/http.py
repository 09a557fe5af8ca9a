"""What the issuer is asked and what it answers, as values: whoever serves it brings the bytes.

A request has passed the gateway: its head was parsed strictly, its path is canonical, where it came from is
known. A parameter MUST NOT be given twice (RFC 6749 section 3.1); one with an empty value was not given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec

from interlock.issuer.errors import OAuthError, Repeated
from interlock.jose.encoding import Malformed, decode_json_object

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
FIELDS: Final = 128  # of a form
NOW: Final = 1 << 62  # monotonic ns, later than whatever was looked at
NO_STORE: Final = (("cache-control", "no-store"),)


class Request:
    """One request to the issuer."""

    def __init__(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        source: str = "",
        certificate: bytes = b"",
        now: int = 0,
        call: str = "",
    ) -> None:
        self.method = method
        self.path = path  # canonical, without the query
        self.query = query  # as sent
        self.headers = headers or {}  # by lower-case name; of a name given twice, the values joined by ", "
        self.body = body
        self.source = source  # the caller's address
        self.certificate = certificate  # of the client, DER; empty: none was shown
        self.now = now  # wall ns
        self.call = call  # trace id of the call on the record
        self.client = ""  # `client_id`, once the client is authenticated
        self.begun = NOW  # monotonic ns: what is known of clients may be as old as that
        self.proved: dict[str, Any] = {}  # what it has shown that is good once, for when it is looked at again
        self._parameters: dict[str, str] | None = None
        self._form: dict[str, str] | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the query."""
        if self._parameters is None:
            self._parameters = _parameters(self.query)
        return self._parameters

    @property
    def form(self) -> dict[str, str]:
        """Those of the body (RFC 6749 appendix B)."""
        if self._form is None:
            self._form = self._read_form()
        return self._form

    def _read_form(self) -> dict[str, str]:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != FORM:
            raise OAuthError("invalid_request", f"the body must be {FORM}")
        try:
            text = self.body.decode("ascii")
        except UnicodeDecodeError:
            raise OAuthError("invalid_request", "the form must be percent-encoded") from None
        return _parameters(text)

    @property
    def json(self) -> dict[str, Any]:
        """The body as one JSON object."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise OAuthError("invalid_request", f"the body must be {JSON}")
        try:
            return decode_json_object(self.body)
        except Malformed:
            raise OAuthError("invalid_request", "the body is not a JSON object") from None

    @property
    def cookies(self) -> dict[str, str]:
        """By name, as they stand (RFC 6265 section 5.4).

        One that somebody else set for this host and that cannot be read leaves the others as they are; of a name that
        is there twice nobody can tell which is ours, so it is not there.
        """
        found: dict[str, str] = {}
        twice: set[str] = set()
        for pair in self.headers.get("cookie", "").split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if name in found:
                twice.add(name)
            if equals:
                found[name] = value
        return {name: value for name, value in found.items() if name not in twice}


class Response:
    """One answer, which nobody changes. `fields` are header fields besides the body's length."""

    def __init__(self, status: int, fields: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def with_fields(self, *fields: tuple[str, str]) -> Response:
        """The same with more header fields."""
        return Response(self.status, self.fields + fields, self.body)


def json_response(
    value: Any, status: int = 200, fields: Iterable[tuple[str, str]] = NO_STORE, *, kind: str = JSON
) -> Response:
    """A JSON answer that nobody keeps (RFC 6749 section 5.1) unless `fields` says otherwise."""
    return Response(status, (("content-type", kind), *fields), msgspec.json.encode(value))


def html_response(page: str, status: int = 200, fields: Iterable[tuple[str, str]] = ()) -> Response:
    """A page; who writes it brings its content security policy in `fields`."""
    return Response(status, (("content-type", "text/html; charset=utf-8"), *NO_STORE, *fields), page.encode("utf-8"))


def redirect(location: str, fields: Iterable[tuple[str, str]] = (), *, status: int = 303) -> Response:
    """On to another page, by GET (RFC 9700 section 4.12: never 307, which would carry a form along)."""
    return Response(status, (("location", location), *NO_STORE, *fields))


def error_response(problem: OAuthError) -> Response:
    """RFC 6749 section 5.2."""
    said = {"error": problem.error}
    if problem.description:
        said["error_description"] = problem.description
    return json_response(said, problem.status, (*NO_STORE, *problem.fields))


def _parameters(text: str) -> dict[str, str]:
    parts = text.split("&")
    if len(parts) > FIELDS:
        raise OAuthError("invalid_request", "the parameters cannot be read", note=f"more than {FIELDS}")
    try:
        pairs = [(_plain(name), _plain(value)) for name, _, value in (part.partition("=") for part in parts if part)]
    except ValueError:
        raise OAuthError("invalid_request", "the parameters cannot be read") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        once = {name: value for name, value in pairs if counted[name] == 1 and value}
        raise Repeated(once, note=f"{counted.most_common(1)[0][0]!r:.80} twice")
    return {name: value for name, value in found.items() if value}


def _plain(text: str) -> str:
    """Percent-decoded UTF-8; `ValueError` for anything else."""
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text
