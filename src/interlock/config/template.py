"""The first file of a newcomer: commented, runnable, and safe as it stands.

A `#` in the first column that is not followed by exactly one space hides an option; without it, it holds.
"""

from __future__ import annotations

from interlock.config.hosts import parse_address, parse_upstream
from interlock.errors import UsageError

_TEMPLATE = """\
# Interlock: a call passes only when every layer agrees, and it is on the record before it passes.
#
# interlock check     tells what is wrong with this file, with line and reason
# interlock plan      shows what a reload would change
# interlock up        starts the node; interlock reload takes over what was changed here
#
# A # that is not followed by a single space hides an option: take the # away and it holds.
# Sizes are written 10MiB, durations 30s or 5m, rates `50/s burst 100 per principal`.
version: 1

# Processes that serve calls: `auto` is one for each CPU.
workers: auto

# Keys, state and the record; relative to this file.
data_dir: ./interlock-data

# The key that all other keys are sealed with. Left out, it is made in the data directory; better, keep it elsewhere.
# Secrets are given by reference only: ${env:NAME} or ${file:PATH}.
#keys: {kek: "${file:/etc/interlock/kek}"}

# Metrics and health, for this machine only. Left out: a port that is free; `interlock status` shows it.
#admin: 127.0.0.1:9443

# Proxies whose Forwarded headers are believed. Empty: nobody's.
#trusted_proxies: [10.0.0.0/8]

# Where calls enter. `tls`: `off`, `auto` (a certificate from the built-in authority), or your own files.
# Without TLS a listener takes calls from this machine only.
listeners:
  - address: @ADDRESS@
    tls: @TLS@
#  - address: 0.0.0.0:8443
#    tls: {certificate: server.pem, key: server.key}
#    client_certificates: optional     # `none`: never ask; left out: ask if there is a `trust` section

# What connections may cost (these are the defaults).
#connections:
#  per_worker: 10000
#  per_address: 1000
#  handshakes: 256          # TLS handshakes in progress
#  failures: 20/m           # failed authentications of one address
#  header_timeout: 10s
#  body_timeout: 30s
#  idle_timeout: 75s
#  head_size: 32KiB
#  head_count: 100

# What holds where a service or route does not say otherwise (these are the defaults).
#defaults:
#  body: 10MiB              # the largest request body
#  timeout: 30s             # until the answer
#  record: written          # `durable`: on disk before the call passes
#  max_stale: 1h            # how long workers serve without the control process
#  max_unsealed: 30s        # how long calls pass without the recorder process

# Whose client certificates count (`authenticate: [mtls]`, with `trust: partners` on the route).
#trust:
#  partners:
#    ca: partners.pem
#    principal: san-uri     # or san-dns, subject-cn
#    roles: {"spiffe://partner.example/billing": caller}

# Network segments: who may call the services in them, whatever the routes say.
#zones:
#  internal:
#    from: [10.0.0.0/8, partners]
#    require: mtls

# The systems behind.
services:
  upstream:
    upstreams: [@UPSTREAM@]
#    connect_timeout: 5s
#    timeout: 30s
#    pool: 128                      # connections of one worker
#    record: durable                # the default for classified data
#    data: [pii]                    # phi, pan, pii, financial: raises the default safeguards
#    zone: internal
#    forward_credentials: false     # true: the caller's own credential is passed on
#  billing:
#    upstreams: ["https://10.0.0.5", "https://10.0.0.6"]
#    tls: {ca: billing-ca.pem, certificate: client.pem, key: client.key}

# What may be called, by whom, how often. The most specific route wins; what has no route is refused.
# `match` is `[METHOD[,METHOD]] [host] /path`; a path may hold {names} and may end with /* (everything beneath).
routes:
  # Everything of the service, for callers with an API key whose role grants `call`:
  #   interlock key create my-client --role caller
  - match: /*
    service: upstream
    authenticate: [api_key]
    allow: call
    limit: 50/s burst 100 per principal
#    timeout: 10s
#    body: 1MiB
#    record: durable
#    cors: {origins: ["https://app.example.com"], headers: [x-api-key], credentials: false}
  # Open to everybody, said aloud:
#  - match: GET /health
#    service: upstream
#    allow: public
#    limit: 20/s per address
  # Tokens of an outside issuer bound to a client certificate, or an API key; a scope and a condition besides:
#  - match: [GET /accounts/{account_id}, "POST api.example.com /accounts"]
#    service: billing
#    authenticate: [jwt+mtls, mtls]
#    trust: partners
#    allow: {permission: accounts:read, when: "request.hour >= 8"}
#    limit: [50/s burst 100 per principal, 5000/s per route]
#    subject: {account: account_id}

# What each role permits.
roles:
  caller: [call]
#  teller: [accounts:read]

# Outside issuers of JWTs (`authenticate: [jwt]`). Their roles count only through a map.
#identity:
#  issuers:
#    - issuer: https://login.example.com
#      audience: my-api
#      algorithms: [ES256, RS256]
#      jwks: https://login.example.com/keys     # or a file; left out: found by discovery
#      leeway: 30s
#      roles: {from: groups, map: {Tellers: teller}}

# Where else the sealed record goes, each record at least once.
#exports:
#  - name: siem
#    format: ocsf                   # or cef, syslog, jsonl
#    to: https://siem.example.com/ingest   # or tls://HOST:PORT, file:PATH
#    headers: {Authorization: "Bearer ${env:SIEM_TOKEN}"}
#    only: {decision: deny}         # left out: everything

# How long the record is kept (left out: for ever), who cosigns its checkpoints (`interlock witness`), and where
# they are kept.
#record:
#  retention: {standard: 400d}            # or pci-dss-4.0.1 (12 months), hipaa (6 years), a list of them
#  witnesses:
#    require: 1
#    of:
#      - key: "witness.example.com/w1+8122a5ab+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs"
#        url: https://witness.example.com
#  publish: ["file:/mnt/elsewhere/"]      # or git:CLONE, https://...

# Security goals that are measured, and frameworks that are asked for.
#objectives: {availability: 99.95%, detection: 60s, response: 5m}
#frameworks: [gdpr, pci-dss-4.0.1]
"""


def template(upstream: str, address: str, tls: str) -> str:
    """The text of an `interlock.yaml` before one upstream. `tls` is `off` (loopback only) or `auto`.

    Raises `UsageError` if the URL or address is none, or calls from elsewhere would come without TLS.
    """
    try:
        url = parse_upstream(upstream)
    except ValueError as error:
        raise UsageError(f"the upstream `{upstream}` {error}") from None
    try:
        listen = parse_address(address)
    except ValueError as error:
        raise UsageError(f"the address `{address}` {error}") from None
    if tls not in ("off", "auto"):
        raise UsageError("tls is `off` or `auto`; your own certificate is named in the file")
    if tls == "off" and not listen.loopback:
        raise UsageError(f"{listen} can be reached by others and needs TLS: use --tls auto")
    values = {"@UPSTREAM@": f'"{url}"', "@ADDRESS@": f'"{listen}"', "@TLS@": tls}
    text = _TEMPLATE
    for place, value in values.items():
        text = text.replace(place, value)
    return text
