"""Advice on roles: unused permissions are found, needed ones never taken away, whoever is the caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.config import Config, parse
from interlock.policy.advice import Advice, advise

FILE = """\
version: 1
listeners:
  - {address: 127.0.0.1:8080, tls: off}
services:
  up: {upstreams: [http://127.0.0.1:9000]}
trust:
  partners:
    ca: ca.pem
    principal: san-dns
    roles: {billing: [teller]}
    principals: {alias: "user:iss/carol"}
routes:
  - {match: GET /accounts, service: up, authenticate: [api_key, jwt, mtls], trust: partners, allow: read, limit: none}
  - {match: POST /accounts, service: up, authenticate: [api_key], allow: write, limit: none}
  - {match: DELETE /accounts, service: up, authenticate: [api_key], allow: delete, limit: none}
  - {match: GET /open, service: up, allow: public, limit: none}
roles:
  teller: [read, write, delete, "on:hold"]
  reader: [read]
  auditor: [delete]
identity:
  issuers:
    - {issuer: https://iss, audience: api, algorithms: [RS256], jwks: jwks.json, roles: {from: r, map: {T: teller}}}
"""
KEYS = [
    {"id": "k1", "roles": ["teller"]},
    {"id": "k2", "roles": ["teller", "reader"]},
    {"id": "k3", "roles": ["auditor"]},
]


@pytest.fixture
def config() -> Config:
    return parse(FILE.encode(), Path("/nowhere/interlock.yaml"), look_at_files=False)


def row(route: str, *methods: str, **more: Any) -> dict[str, Any]:
    base = {"time": "2026-01-01T00:00:00.000000Z", "principal": "service:interlock/a", "credential": "k1"}
    return {**base, "methods": list(methods or ("api_key",)), "route": route, "decision": "allow", "reason": "", **more}


def of(config: Config, *rows: dict[str, Any]) -> Advice:
    return advise(config, "teller", rows, KEYS)


def test_what_nobody_used_is_proposed_to_go(config: Config) -> None:
    advice = of(config, row("GET /accounts"), row("GET /accounts", time="2026-02-01T00:00:00.000000Z"))
    assert advice.kept == ("read",)
    assert advice.unused == {"write": ("POST /accounts",), "delete": ("DELETE /accounts",), "on:hold": ()}
    (use,) = advice.uses
    assert (use.route, use.permission, use.calls, use.last) == (
        "GET /accounts",
        "read",
        2,
        "2026-02-01T00:00:00.000000Z",
    )
    assert (use.principals, use.possible) == ({"service:interlock/a"}, False)
    assert advice.would_be_denied == 0
    assert advice.since == "2026-01-01T00:00:00.000000Z"
    assert advice.snippet() == "roles:\n  teller: [read]\n"


def test_calls_of_others_and_calls_that_were_refused_are_no_use(config: Config) -> None:
    advice = of(
        config,
        row("DELETE /accounts", credential="k3"),
        row("POST /accounts", decision="deny", reason="rate-limited"),
        row("GET /open", "", principal="anonymous:interlock/anonymous", credential=""),
        row("GET /gone"),
    )
    assert advice.kept == ()
    assert advice.calls == 2
    assert advice.snippet() == "roles:\n  teller: []\n"


@pytest.mark.parametrize(
    ("methods", "principal", "certain"),
    [
        (("mtls",), "service:partners/billing", True),
        (("jwt",), "user:iss/bob", False),
        (("jwt", "mtls"), "user:iss/carol", False),
    ],
)
def test_certificates_and_tokens_count(config: Config, methods: tuple[str, ...], principal: str, certain: bool) -> None:
    advice = of(config, row("GET /accounts", *methods, principal=principal, credential=""))
    assert advice.kept == ("read",)
    assert advice.uses[0].possible is not certain


@pytest.mark.parametrize("principal", ["user:elsewhere/bob", "service:partners/other"])
def test_who_cannot_have_the_role_does_not_count(config: Config, principal: str) -> None:
    advice = of(config, row("GET /accounts", "jwt", "mtls", principal=principal, credential=""))
    assert advice.uses == []


def test_another_role_that_grants_the_same_is_named(config: Config) -> None:
    advice = of(config, row("GET /accounts", credential="k2"))
    assert advice.uses[0].elsewhere == {"reader"}
    assert advice.kept == ("read",), "it is in use by this role all the same"


def test_what_is_missing_is_said(config: Config) -> None:
    advice = advise(
        config, "reader", [row("POST /accounts", credential="k2", decision="deny", reason="permission-missing")], KEYS
    )
    assert [(use.permission, use.calls) for use in advice.refused] == [("write", 1)]


def test_names_that_yaml_reads_otherwise_are_quoted(config: Config) -> None:
    advice = Advice("on", ("no",), ("no", "a:b", "1x"), {}, [], [], 0, 0, "")
    assert advice.snippet() == 'roles:\n  "on": ["no", a:b, "1x"]\n'
