"""Which fields pass: to the system behind, and back to the caller.

Parsing has already classed every field (`http1.names`); here the lines are put together. What a caller says
of where a request came from is believed only of a trusted proxy. The caller's credentials MUST NOT pass
unless the service asks for them, and a name of ours only as we wrote it ourselves.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from interlock.gateway.http1 import RequestHead, ResponseHead
from interlock.gateway.http1.names import API_KEY, AUTHORIZATION, DPOP, FORWARDED, VIA

if TYPE_CHECKING:
    from interlock.gateway.call import Call

Address = IPv4Address | IPv6Address
Networks = Iterable[IPv4Network | IPv6Network]

HOPS: Final = 32  # entries of a forwarding chain that are looked at
CHAIN: Final = 2048  # bytes of a chain that are passed on
_ORIGINS_KEPT: Final = 1024
_PASSED_ON: Final = (b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix")  # of a trusted proxy, as they are
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
_PORT: Final = re.compile(r"(?::[0-9]{1,5})?")
# A name is tried from its first letter only, and once: a long one without a value would be gone through from each.
_FORWARDED_PAIR: Final = re.compile(rb'(?<![A-Za-z0-9\-])([A-Za-z0-9\-]++)=(?:"([^"\\]*)"|([^\s";,=]+))')

_origins: Final[dict[tuple[str, str, bytes], bytes]] = {}


# -- towards the system behind


def forwarded_head(call: Call, assertion: bytes) -> bytes:
    """The request head of an admitted call as the system behind gets it; `assertion` is a complete line."""
    head = call.head
    peer = call.peer
    target = call.target
    route = call.route
    assert target is not None
    assert route is not None
    block = head.block
    sent_for = (peer.address, peer.scheme, route.forward_credentials, route.own)
    if block is not None and block.sent_for == sent_for and not peer.trusted:
        fields = block.sent  # the same lines from the same place
    else:
        lines = request_fields(head, forward_credentials=route.forward_credentials)
        if not route.own:
            lines += origin_fields(
                head, peer=peer.address, source=call.source, scheme=peer.scheme, trusted=peer.trusted
            )
        fields = b"".join(lines)
        if block is not None and not peer.trusted:
            block.sent, block.sent_for = fields, sent_for
    parent = head.traceparent
    trace = call.trace.encode("ascii")
    if parent is None or parent[3:35] != trace or not _TRACEPARENT.fullmatch(parent):
        parent = b"00-%b-%b-00" % (trace, trace[16:])
    if route.own:
        assertion = _connected(call)
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%btraceparent: %b\r\n%b\r\n" % (
        call.method.encode("ascii"),
        target.wire,
        route.pool.authority,
        fields,
        parent,
        assertion,
    )


def _connected(call: Call) -> bytes:
    """What another part of the node is told of where a call came from; MUST NOT be told to anybody else.

    A proxy's certificate is nobody's who calls through it: what is bound to it would be bound to all of them.
    """
    lines = b"interlock-source: %b\r\n" % call.source.encode("ascii")
    certificate = call.peer.certificate
    if certificate is not None and not (call.peer.trusted and came_through(call)):
        lines += b"interlock-certificate: %b\r\n" % b64encode(certificate.der)
    return lines


def came_through(call: Call) -> bool:
    """Whether a trusted peer passes on somebody's call, and does not call itself."""
    if call.source != call.peer.address:
        return True
    return any(kind in (FORWARDED, VIA) for kind, _, _ in call.head.special)


def request_fields(head: RequestHead, *, forward_credentials: bool) -> list[bytes]:
    """Field lines but for Host: those that pass, and the body's framing."""
    lines = head.plain.copy()
    if head.content_length >= 0:
        lines.append(b"content-length: %d\r\n" % head.content_length)
    elif head.chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if forward_credentials:
        for kind, name, value in head.special:
            if kind in (AUTHORIZATION, API_KEY, DPOP):
                lines.append(b"%b: %b\r\n" % (name, value))
    return lines


def origin_fields(head: RequestHead, *, peer: str, source: str, scheme: str, trusted: bool) -> list[bytes]:
    """Field lines that say where a request came from.

    `peer` is the address at the other end of the connection, `source` the caller's as far as it is known.
    """
    return _chain(head, peer, source, scheme) if trusted else [_origin(peer, scheme, head.host)]


def _origin(peer: str, scheme: str, host: bytes) -> bytes:
    """Where a request came from, in our words alone (RFC 7239 and what preceded it)."""
    key = (peer, scheme, host)
    lines = _origins.get(key)
    if lines is None:
        address = peer.encode("ascii")
        proto = scheme.encode("ascii")
        lines = (
            b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\nx-real-ip: %b\r\n"
            b"forwarded: %b\r\nvia: 1.1 interlock\r\n"
        ) % (address, proto, host, address, _element(peer, proto, host))
        if len(_origins) >= _ORIGINS_KEPT:
            _origins.clear()
        _origins[key] = lines
    return lines


def _element(peer: str, proto: bytes, host: bytes) -> bytes:
    node = b'"[%b]"' % peer.encode("ascii") if ":" in peer else peer.encode("ascii")
    return b'for=%b;proto=%b;host="%b"' % (node, proto, host)


def _chain(head: RequestHead, peer: str, source: str, scheme: str) -> list[bytes]:
    """What a trusted proxy says, with the proxy itself added to it."""
    address = peer.encode("ascii")
    proto = scheme.encode("ascii")
    said: dict[bytes, list[bytes]] = {}
    for kind, name, value in head.special:
        if (kind == FORWARDED and value) or kind == VIA:
            said.setdefault(name, []).append(value)
    lines = [
        b"x-forwarded-for: %b\r\n" % _appended(said.pop(b"x-forwarded-for", []), address),
        b"x-real-ip: %b\r\n" % source.encode("ascii"),
        b"forwarded: %b\r\n" % _appended(said.pop(b"forwarded", []), _element(peer, proto, head.host)),
        b"via: %b\r\n" % _appended(said.pop(b"via", []), b"1.1 interlock"),
    ]
    lines.append(b"x-forwarded-proto: %b\r\n" % outer_scheme(head, scheme).encode("ascii"))
    said.setdefault(b"x-forwarded-host", [head.host])
    for name in _PASSED_ON:
        if len(said.get(name, ())) == 1:
            lines.append(b"%b: %b\r\n" % (name, said[name][0]))
    return lines


def _appended(values: list[bytes], own: bytes) -> bytes:
    """A list with one more; too long a list is given up, since a shortened one would tell something else."""
    chain = b", ".join((*values, own))
    return chain if len(chain) <= CHAIN else own


# -- who calls


def client_address(head: RequestHead, peer: Address, trusted: Networks) -> str | None:
    """The caller's address: the last one in the chain that is not a trusted proxy's.

    Call only if `peer` is itself trusted. None if `X-Forwarded-For` and `Forwarded` name different callers: one
    of them was not written by the proxy, and nobody can tell which. Neither is believed then, and the proxy's own
    address MUST NOT stand in for the caller's, who would gain what networks are granted to the proxy.
    """
    listed = [value for kind, name, value in head.special if kind == FORWARDED and name == b"x-forwarded-for"]
    elements = [value for kind, name, value in head.special if kind == FORWARDED and name == b"forwarded"]
    networks = tuple(trusted)
    found: str | None = None
    if listed:
        found = _outermost(b",".join(listed).split(b","), peer, networks)
    if elements:
        other = _outermost(_nodes(b",".join(elements)), peer, networks)
        if found is not None and other != found:
            return None
        found = other
    return found if found is not None else str(peer)


def outer_scheme(head: RequestHead, scheme: str) -> str:
    """How a trusted proxy says that it was called: one `X-Forwarded-Proto`, else the connection's own scheme."""
    protos = [value for kind, name, value in head.special if kind == FORWARDED and name == b"x-forwarded-proto"]
    return protos[0].decode("ascii") if protos in ([b"http"], [b"https"]) else scheme


def called_url(call: Call) -> str:
    """The URL that was called, without its query, as the caller wrote it: what a DPoP proof is for (RFC 9449).

    Scheme, Host and the canonical path are those of the call that was matched. Of what a proxy says, only the scheme
    of a trusted one counts: a Host that it changed is not the caller's, and an `X-Forwarded-Host` may be the caller's
    own invention, with which a proof for another host would do.
    """
    peer = call.peer
    target = call.target
    assert target is not None
    scheme = outer_scheme(call.head, peer.scheme) if peer.trusted else peer.scheme
    return f"{scheme}://{call.head.host.decode('ascii')}{target.raw_path.decode('ascii')}"


def _outermost(chain: list[bytes], peer: Address, trusted: tuple[IPv4Network | IPv6Network, ...]) -> str:
    last = peer
    for entry in reversed(chain[-HOPS:]):
        address = _parsed(entry)
        if address is None:  # whoever wrote this is the last that is known
            break
        last = address
        if not any(address in network for network in trusted):
            break
    return str(last)


def _parsed(entry: bytes) -> Address | None:
    """An address with or without a port and brackets; None for anything else."""
    try:
        text = entry.strip(b' \t"').decode("ascii")
        if text.startswith("["):
            text, bracket, port = text[1:].partition("]")
            if not bracket or not _PORT.fullmatch(port):
                return None
        elif text.count(":") == 1:
            text, _, _ = text.partition(":")
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id is not None else address.ipv4_mapped or address
    return address


def _nodes(value: bytes) -> list[bytes]:
    """The `for` node of each element of a Forwarded field (RFC 7239 section 4); empty where there is none."""
    nodes = []
    for element in _elements(value):
        node = b""
        for match in _FORWARDED_PAIR.finditer(element):
            if match[1].lower() == b"for":
                node = match[2] if match[2] is not None else match[3]
        nodes.append(node)
    return nodes


def _elements(value: bytes) -> list[bytes]:
    """Split at commas outside quotes; a field with an odd quote says nothing."""
    if value.count(b'"') % 2:
        return [b""]
    elements: list[bytes] = []
    pieces: list[bytes] = []  # of the present one, put together once: it may be of thousands
    for at, part in enumerate(value.split(b'"')):
        if at % 2:
            pieces.append(b'"%b"' % part)
            continue
        first, *others = part.split(b",")
        pieces.append(first)
        if others:
            elements.append(b"".join(pieces))
            pieces = [others.pop()]
            elements += others
    elements.append(b"".join(pieces))
    return elements


def trace_parent(head: RequestHead) -> str:
    """The trace id of a valid `traceparent`, 32 hexadecimal digits; else empty."""
    value = head.traceparent
    if value is None:
        return ""
    match = _TRACEPARENT.fullmatch(value)
    return match[1].decode("ascii") if match is not None else ""


# -- back to the caller


def response_fields(head: ResponseHead, *, own_cors: bool = False) -> list[bytes]:
    """The lines of an answer that pass, without framing. `own_cors`: the route answers CORS itself."""
    if own_cors or not head.access_control:
        return head.fields
    return head.fields + [line for line in head.access_control if line.partition(b":")[0].lower() not in head.dropped]
