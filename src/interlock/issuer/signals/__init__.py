"""Signals about subjects: OpenID Shared Signals Framework 1.0 (SSF) with the events of CAEP 1.0. Pure but for `api`.

`events` has their names and what they are about, `sets` makes and verifies the tokens that carry them (RFC 8417),
`stream` knows who is told of what, and `subjects` finds here whom another issuer speaks of.
"""
