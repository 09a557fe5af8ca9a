"""Signals about subjects (OpenID Shared Signals Framework 1.0), both ways. In the control process.

    revoked here   -> outbox   -> the queue of each stream -> delivery (RFC 8935) or polls (RFC 8936) -> others
    told by others -> receiver -> the revocation desk      -> workers refuse
                      ^ push (RFC 8935), or fetched by `poll` (RFC 8936)

No call waits for any of it. What happened here is in the queues, on disk, before the act that did it returns.
"""
