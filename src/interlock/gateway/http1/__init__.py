"""HTTP/1.1 (RFC 9112) without I/O: heads, bodies, and the order of messages on a connection."""

from interlock.gateway.http1.body import BodyDecoder, ChunkedBody, LengthBody, UntilClose
from interlock.gateway.http1.head import METHODS, RequestHead, parse_request_head
from interlock.gateway.http1.limits import ReadLimits
from interlock.gateway.http1.malformed import Malformed
from interlock.gateway.http1.phrases import status_line
from interlock.gateway.http1.reader import END, NEED_DATA, RequestReader, ResponseReader, Signal
from interlock.gateway.http1.response import ResponseHead, parse_response_head

__all__ = [
    "END",
    "METHODS",
    "NEED_DATA",
    "BodyDecoder",
    "ChunkedBody",
    "LengthBody",
    "Malformed",
    "ReadLimits",
    "RequestHead",
    "RequestReader",
    "ResponseHead",
    "ResponseReader",
    "Signal",
    "UntilClose",
    "parse_request_head",
    "parse_response_head",
    "status_line",
]
