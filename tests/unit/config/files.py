"""Files for the tests: the two examples of the design, and a small one to be bent."""

from __future__ import annotations

from pathlib import Path

from interlock.config import Config, parse
from interlock.errors import ConfigError, ConfigProblem

# ruff: noqa: E501 - as the design has them
SMALL = """\
version: 1
listeners:
  - {address: 127.0.0.1:8080, tls: off}
services:
  up: {upstreams: [http://127.0.0.1:9000]}
routes:
  - {match: GET /a, service: up, authenticate: [jwt], allow: a:read, limit: 1000000/s per principal}
roles:
  reader: [a:read]
identity:
  issuers:
    - {issuer: https://iss, audience: api, algorithms: [RS256], jwks: jwks.json, roles: {from: roles, map: {reader: reader}}}
"""

LARGE = """\
version: 1
workers: auto
data_dir: ./interlock-data
keys: {kek: "${file:/etc/interlock/kek}"}
admin: 127.0.0.1:9443                 # own listener; never reachable through a catch-all route
trusted_proxies: []
listeners:
  - {address: 0.0.0.0:8443, tls: auto}           # issued and rotated by the built-in CA; or {certificate: c.pem, key: k.pem}
issuer: {url: https://id.example.com}            # never taken from Host
defaults: {body: 10MiB, timeout: 30s, record: written}
trust:
  partners: {ca: partners.pem, principal: san-uri}
zones:
  restricted: {from: [partners], require: mtls}
services:
  ledger:
    upstreams: [https://10.0.0.5]
    tls: {ca: up.pem, certificate: client.pem, key: client.key}
    zone: restricted
    data: [financial]                            # phi, pan, pii, financial: raises the default safeguards
    record: durable                              # said aloud here; the default for classified data
    openapi: ledger.openapi.yaml
routes:
  - match: [GET /accounts/{account_id}, api.example.com POST /accounts]
    service: ledger
    authenticate: [jwt+mtls, api_key]
    trust: partners
    allow: {permission: accounts:read, scope: ledger, when: "request.hour >= 8"}
    limit: [50/s burst 100 per principal, 5000/s per route]
    cors: {origins: [https://app.example.com]}
    subject: {account: account_id}
  - {match: GET /health, service: ledger, allow: public, limit: none}
roles:
  teller: [accounts:read]
identity:
  issuers:
    - issuer: https://login.example.com
      audience: ledger
      algorithms: [ES256, RS256]
      roles: {from: groups, map: {Tellers: teller}}   # jwks: URL or FILE; left out: discovery
objectives: {availability: 99.95%, detection: 60s, response: 5m}
frameworks: [pci-dss-4.0.1, gdpr]
"""
FILES = ("partners.pem", "up.pem", "client.pem", "client.key", "ledger.openapi.yaml", "jwks.json")


def read(text: str, folder: Path) -> Config:
    """A file's text, as if it stood in `folder`."""
    return parse(text.encode(), folder / "interlock.yaml")


def faults(text: str, folder: Path) -> list[ConfigProblem]:
    """What is wrong with a file; empty if nothing is."""
    try:
        read(text, folder)
    except ConfigError as error:
        return error.problems
    return []


def with_routes(*routes: str) -> str:
    """The small file with these routes, each as in `match: /a, service: up, ...`."""
    lines = SMALL.splitlines(keepends=True)
    at = lines.index("routes:\n")
    return "".join([*lines[: at + 1], *(f"  - {{{route}}}\n" for route in routes), *lines[at + 2 :]])
