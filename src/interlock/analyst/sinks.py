"""Makes the sink that an export's configuration names. Raises what reading its files and secrets raises."""

from __future__ import annotations

import ssl

from interlock.analyst.sink import Sink
from interlock.clock import SECOND
from interlock.config import Export


def make_sink(export: Export) -> Sink:
    """A fresh sink; nothing is connected yet."""
    to, timeout = export.to, export.timeout / SECOND
    if to.scheme == "file":
        from interlock.analyst.file_sink import FileSink

        return FileSink(to.path)
    if to.scheme in ("kafka", "kafka+tls"):
        from interlock.analyst.kafka_sink import KafkaSink

        return KafkaSink(
            to.servers, to.channel, encrypted=to.encrypted, tls=export.tls, login=export.login, timeout=timeout
        )
    context = _context(export) if to.encrypted else None
    if to.scheme in ("nats", "nats+tls"):
        from interlock.analyst.nats_sink import NatsSink

        return NatsSink(to.servers, to.channel, context, export.login, timeout)
    if to.scheme in ("https", "http"):
        from interlock.analyst.http_sink import HttpSink

        return HttpSink(str(to), export.headers, context, timeout)
    from interlock.analyst.stream_sink import StreamSink

    return StreamSink(to.host, to.port, context, timeout, by_closing=export.confirm == "close")


def _context(export: Export) -> ssl.SSLContext:
    """Always verified; TLS 1.2 and later."""
    tls = export.tls
    context = ssl.create_default_context(cafile=None if tls is None else tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls is not None and tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
