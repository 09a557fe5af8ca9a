"""The endpoints by which others manage their streams and fetch what waits for them (SSF 1.0 section 8, RFC 8936).

Who asks has an access token of a client with the scope `ssf.manage`, which the gateway has verified; a client sees and
changes its own streams only. Long polling holds no thread: a poll that finds nothing is asked again a little later
(`NotYet`), for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from interlock.clock import SECOND
from interlock.errors import NotFound, UsageError
from interlock.issuer.errors import NotYet, OAuthError
from interlock.issuer.http import NO_STORE, Request, Response, json_response
from interlock.issuer.service import JWKS, Issuer
from interlock.issuer.signals import stream as streams
from interlock.issuer.signals.events import read_subject
from interlock.issuer.signals.sets import sign
from interlock.jose import Malformed, decode_json_object
from interlock.model import Identity
from interlock.store.signals import Stream, Waiting

T = TypeVar("T")

SCOPE: Final = "ssf.manage"
WELL_KNOWN: Final = "/.well-known/ssf-configuration"  # before the issuer's path (section 7.2)
STREAMS: Final = "/oauth/ssf/streams"
STATUS: Final = "/oauth/ssf/status"
ADD_SUBJECT: Final = "/oauth/ssf/subjects/add"
REMOVE_SUBJECT: Final = "/oauth/ssf/subjects/remove"
VERIFY: Final = "/oauth/ssf/verify"
POLL: Final = "/oauth/ssf/poll"
MANAGED: Final = (STREAMS, STATUS, ADD_SUBJECT, REMOVE_SUBJECT, VERIFY, POLL)

MOST: Final = 100  # SETs in one answer
ACKED: Final = 1000  # of one request
WAIT: Final = 20 * SECOND  # of a poll that finds nothing; below the time the gateway waits for an answer
LOOK: Final = 0.2  # seconds between two looks
UNSEEN: Final = SECOND  # for so long a poll believes that nothing came which this process did not put there
STATE: Final = 1024  # characters of what is echoed
REASON: Final = 256


class TooSoon(Exception):
    """A verification event was asked for a moment ago."""


class Transmitter(Protocol):
    """The streams of a node. Raises `NotFound` for those that are not there, `UsageError` for what cannot be."""

    @property
    def everybody(self) -> bool:
        """Whom a stream tells of unless it is told otherwise: everybody, or nobody."""
        ...

    @property
    def revision(self) -> int:
        """Another one when something was put in a queue by this process."""
        ...

    def of(self, client_id: str) -> list[Stream]: ...

    def find(self, client_id: str, stream_id: str) -> Stream: ...

    def create(self, client_id: str, wanted: streams.Wanted) -> Stream: ...

    def change(self, stream: Stream, wanted: streams.Wanted, *, whole: bool) -> Stream: ...

    def remove(self, stream: Stream) -> None: ...

    def set_status(self, stream: Stream, status: str, reason: str, *, by: str) -> Stream: ...

    def add_subject(self, stream: Stream, subject: Mapping[str, Any]) -> None: ...

    def remove_subject(self, stream: Stream, subject: Mapping[str, Any]) -> None: ...

    def verify(self, stream: Stream, state: str | None) -> None:
        """Put a verification event in its queue; raises `TooSoon`."""
        ...

    def waiting(self, stream: Stream, most: int) -> list[Waiting]: ...

    def confirm(self, stream: Stream, jtis: Sequence[str], refused: Mapping[str, str]) -> None: ...

    def may_wait(self, stream: Stream, until: int, now: int) -> bool:
        """Whether one more poll may wait for something, until then."""
        ...


# -- what anybody may read


def metadata(issuer: Issuer, _request: Request) -> Response:
    """SSF 1.0 section 7.1."""
    transmitter = _transmitter(issuer)
    found = {
        "spec_version": "1_0",
        "issuer": issuer.url,
        "jwks_uri": issuer.endpoint(JWKS),
        "delivery_methods_supported": [streams.PUSH, streams.POLL],
        "configuration_endpoint": issuer.endpoint(STREAMS),
        "status_endpoint": issuer.endpoint(STATUS),
        "add_subject_endpoint": issuer.endpoint(ADD_SUBJECT),
        "remove_subject_endpoint": issuer.endpoint(REMOVE_SUBJECT),
        "verification_endpoint": issuer.endpoint(VERIFY),
        "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
        "default_subjects": "ALL" if transmitter.everybody else "NONE",
    }
    return json_response(found, fields=(("cache-control", "public, max-age=300"),))


# -- streams


def manage(issuer: Issuer, request: Request) -> Response:
    """The configuration endpoint (section 8.1.1)."""
    transmitter, client_id = _transmitter(issuer), _client(issuer, request)
    match request.method:
        case "POST":
            made = _tried(lambda: transmitter.create(client_id, streams.read_wanted(_object(request))))
            return json_response(_shown(issuer, made), 201)
        case "PATCH" | "PUT":
            body = _object(request)
            stream = _stream(issuer, request, body.get("stream_id"))
            whole = request.method == "PUT"
            changed = _tried(lambda: _change(issuer, transmitter, stream, body, whole=whole))
            return json_response(_shown(issuer, changed))
        case "DELETE":
            transmitter.remove(_stream(issuer, request, request.parameters.get("stream_id")))
            return Response(204, NO_STORE)
        case _:
            name = request.parameters.get("stream_id")
            if name is not None:
                return json_response(_shown(issuer, _stream(issuer, request, name)))
            return json_response([_shown(issuer, stream) for stream in transmitter.of(client_id)])


def _change(issuer: Issuer, transmitter: Transmitter, stream: Stream, body: dict[str, Any], *, whole: bool) -> Stream:
    streams.check_supplied(body, _shown(issuer, stream))
    return transmitter.change(stream, streams.read_wanted(body), whole=whole)


def status(issuer: Issuer, request: Request) -> Response:
    """Section 8.1.2."""
    transmitter = _transmitter(issuer)
    if request.method == "POST":
        body = _object(request)
        stream = _stream(issuer, request, body.get("stream_id"))
        wanted, reason = body.get("status"), body.get("reason", "")
        if wanted not in streams.STATUSES or not isinstance(reason, str):
            raise OAuthError("invalid_request", f"status is one of {', '.join(streams.STATUSES)}")
        if stream.paused_by == "operator" and stream.status != wanted:
            raise OAuthError("access_denied", "an operator has set the status of this stream", status=403)
        stream = transmitter.set_status(stream, wanted, reason[:REASON], by="receiver")
    else:
        stream = _stream(issuer, request, request.parameters.get("stream_id"))
    shown = {"stream_id": stream.id, "status": stream.status}
    return json_response({**shown, "reason": stream.reason} if stream.reason else shown)


def add_subject(issuer: Issuer, request: Request) -> Response:
    """Section 8.1.3.2. Whether there is such a subject is not told."""
    stream, subject = _about(issuer, request)
    _tried(lambda: _transmitter(issuer).add_subject(stream, subject))
    return Response(200, NO_STORE)


def remove_subject(issuer: Issuer, request: Request) -> Response:
    """Section 8.1.3.3."""
    stream, subject = _about(issuer, request)
    _tried(lambda: _transmitter(issuer).remove_subject(stream, subject))
    return Response(204, NO_STORE)


def verify(issuer: Issuer, request: Request) -> Response:
    """Section 8.1.4.2: the event comes by the stream, this answer says only that it will."""
    body = _object(request)
    stream = _stream(issuer, request, body.get("stream_id"))
    state = body.get("state")
    if state is not None and (not isinstance(state, str) or len(state) > STATE):
        raise OAuthError("invalid_request", f"state is a text of at most {STATE} characters")
    try:
        _transmitter(issuer).verify(stream, state)
    except TooSoon:
        field = ("retry-after", str(streams.MIN_VERIFICATION))
        raise OAuthError("slow_down", "it was asked for a moment ago", status=429, fields=(field,)) from None
    return Response(204, NO_STORE)


# -- polling


class Polled(msgspec.Struct, frozen=True):
    """A request of RFC 8936 section 2.2."""

    most: int
    at_once: bool
    acked: tuple[str, ...]
    refused: dict[str, str]


def poll(issuer: Issuer, request: Request) -> Response:
    """RFC 8936: what is acknowledged goes, what waits is given. Raises `NotYet` while there is nothing, for a while."""
    transmitter = _transmitter(issuer)
    stream = _stream(issuer, request, request.parameters.get("stream_id"))
    if stream.method != "poll":
        raise OAuthError("invalid_request", "this stream is pushed")
    wanted = _polled(_object(request))
    if "polled" not in request.proved:
        request.proved["polled"] = request.now
        if wanted.acked or wanted.refused:
            transmitter.confirm(stream, wanted.acked, wanted.refused)
    began: int = request.proved["polled"]
    found: list[Waiting] = []
    if wanted.most and stream.status == "enabled":
        revision = transmitter.revision
        known, looked = request.proved.get("looked", (None, 0))
        if known != revision or request.now - looked >= UNSEEN:
            found = transmitter.waiting(stream, wanted.most + 1)
            request.proved["looked"] = (revision, request.now)
    if not found and wanted.most and not wanted.at_once and request.now < began + WAIT:
        waits = request.proved.get("waits")
        if waits is None:
            waits = request.proved["waits"] = transmitter.may_wait(stream, began + WAIT, request.now)
        if waits:
            raise NotYet(LOOK)
    given = found[: wanted.most]
    answer: dict[str, Any] = {"sets": {one.jti: sign(issuer.keys.signer, one.claims) for one in given}}
    return json_response({**answer, "moreAvailable": True} if len(found) > len(given) else answer)


def _polled(body: dict[str, Any]) -> Polled:
    most, at_once = body.get("maxEvents", MOST), body.get("returnImmediately", False)
    acked, errors = body.get("ack", []), body.get("setErrs", {})
    if isinstance(most, bool) or not isinstance(most, int) or most < 0 or not isinstance(at_once, bool):
        raise OAuthError("invalid_request", "maxEvents is a number, returnImmediately true or false")
    if not isinstance(acked, list) or len(acked) > ACKED or not all(isinstance(one, str) for one in acked):
        raise OAuthError("invalid_request", "ack is a list of names")
    if not isinstance(errors, dict) or len(errors) > ACKED or not all(isinstance(one, dict) for one in errors.values()):
        raise OAuthError("invalid_request", "setErrs has an object for each name")
    return Polled(
        min(most, MOST), at_once, tuple(acked), {name: str(said.get("err", ""))[:64] for name, said in errors.items()}
    )


# -- who asks, and for what


def _transmitter(issuer: Issuer) -> Transmitter:
    if issuer.signals is None:
        raise OAuthError("not_found", "no signals are sent from here", status=404)
    return issuer.signals


def _client(issuer: Issuer, request: Request) -> str:
    """Whose token it is: a client's own, and nobody's that it acts for."""
    _transmitter(issuer)
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    identity = issuer.tokens.verify(text.strip().encode("ascii", "replace"), request.now)
    if scheme.lower() not in ("bearer", "dpop") or not isinstance(identity, Identity):
        raise _challenge("invalid_token", 401)
    client_id = identity.claims.get("client_id")
    if SCOPE not in identity.scopes:
        raise _challenge("insufficient_scope", 403)
    if identity.principal.kind != "service" or not isinstance(client_id, str):
        raise OAuthError("access_denied", "streams are managed by clients themselves", status=403)
    return client_id


def _challenge(error: str, status: int) -> OAuthError:
    field = ("www-authenticate", f'Bearer realm="interlock", error="{error}", scope="{SCOPE}"')
    return OAuthError(error, status=status, fields=(field,))


def _object(request: Request) -> dict[str, Any]:
    """The body, whatever it is called (the examples of SSF call it nothing); an empty one says nothing."""
    try:
        return decode_json_object(request.body) if request.body else {}
    except Malformed:
        raise OAuthError("invalid_request", "the body is not a JSON object") from None


def _stream(issuer: Issuer, request: Request, name: object) -> Stream:
    """One of the client's; of another's is not told that it exists."""
    client_id = _client(issuer, request)
    if not isinstance(name, str) or not name:
        raise OAuthError("invalid_request", "stream_id is missing")
    try:
        return _transmitter(issuer).find(client_id, name)
    except NotFound:
        raise OAuthError("not_found", "there is no such stream", status=404) from None


def _about(issuer: Issuer, request: Request) -> tuple[Stream, dict[str, Any]]:
    body = _object(request)
    stream = _stream(issuer, request, body.get("stream_id"))
    try:
        return stream, read_subject(body.get("subject"))
    except ValueError as error:
        raise OAuthError("invalid_request", f"subject: {error}") from None


def _shown(issuer: Issuer, stream: Stream) -> dict[str, Any]:
    return streams.configuration(stream, issuer.url, f"{issuer.endpoint(POLL)}?stream_id={stream.id}")


def _tried(work: Callable[[], T]) -> T:
    try:
        return work()
    except UsageError as problem:
        raise OAuthError("invalid_request", str(problem)) from None
