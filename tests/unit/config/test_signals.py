"""The sections about signals: whom we tell, and who may tell us."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import Config, parse
from interlock.errors import ConfigError

SMALL = """\
version: 1
listeners: [{address: 127.0.0.1:8080, tls: off}]
services: {up: {upstreams: [http://127.0.0.1:9000]}}
routes: [{match: GET /a, service: up, authenticate: [api_key], allow: call, limit: none}]
roles: {caller: [call]}
"""
DAY = 86_400 * 1_000_000_000


def read(text: str) -> Config:
    return parse((SMALL + text).encode(), Path("/nowhere/interlock.yaml"), look_at_files=False)


def told(signals: str) -> Config:
    return read(f"issuer: {{url: https://id.example.com, signals: {signals}}}\n")


def heard(signals: str) -> Config:
    return read(
        "identity: {issuers: [{issuer: https://login.example.com, audience: api, algorithms: [RS256], "
        f"signals: {signals}}}]}}\n"
    )


def test_the_default_is_to_tell_and_to_hear_nothing() -> None:
    config = read("issuer: {url: https://id.example.com}\n")
    assert config.issuer is not None
    assert config.issuer.signals is None
    assert "/.well-known/ssf-configuration" not in config.issuer.paths
    assert not config.identity.pushing


def test_an_empty_section_tells_those_who_poll() -> None:
    config = told("{}")
    assert config.issuer is not None
    assert config.issuer.signals is not None
    assert config.issuer.signals.push_to == ()
    assert config.issuer.signals.subjects == "all"
    assert "/.well-known/ssf-configuration" in config.issuer.paths


def test_the_metadata_stand_before_the_issuers_path() -> None:
    config = read("issuer: {url: https://id.example.com/tenant, signals: {}}\n")
    assert config.issuer is not None
    assert "/.well-known/ssf-configuration/tenant" in config.issuer.paths


@pytest.mark.parametrize(
    "place",
    [
        "https://receiver.example.com/events",
        "https://receiver.example.com:8443/a/b",
        "https://receiver.example.com/ssf/*",
        "https://receiver.example.com/*",
        "http://127.0.0.1:9000/events",
    ],
)
def test_places_that_may_be_pushed_to(place: str) -> None:
    config = told(f'{{push_to: "{place}"}}')
    assert config.issuer is not None
    assert config.issuer.signals is not None
    assert config.issuer.signals.push_to == (place,)


@pytest.mark.parametrize(
    "place",
    [
        "http://receiver.example.com/",
        "https://*.example.com/",
        "https://*/",
        "*",
        "https://receiver.example.com/*/events",
        "https://receiver.example.com/a*",
        "https://receiver.example.com/a/../b",
        "https://receiver.example.com/a%2f",
        "https://user@receiver.example.com/",
        "https://receiver.example.com/?a",
        "ftp://receiver.example.com/",
        "receiver.example.com",
        "",
    ],
)
def test_places_that_may_not(place: str) -> None:
    with pytest.raises(ConfigError):
        told(f'{{push_to: ["{place}"]}}')


def test_an_issuer_that_pushes_and_one_that_is_polled() -> None:
    pushing = heard("{push: true}")
    assert pushing.identity.pushing
    assert pushing.identity.issuers[0].signals is not None
    assert pushing.identity.issuers[0].signals.max_age == 14 * DAY
    polled = heard('{poll: "https://login.example.com/poll?stream_id=1", token: "${env:T}", audience: sp}')
    assert not polled.identity.pushing
    assert polled.identity.issuers[0].signals is not None
    assert polled.identity.issuers[0].signals.poll == "https://login.example.com/poll?stream_id=1"
    assert polled.identity.issuers[0].signals.audience == ("sp",)


@pytest.mark.parametrize(
    "signals",
    [
        "{}",
        "{push: false}",
        '{push: true, poll: https://login.example.com/poll, token: "${env:T}"}',
        "{poll: https://login.example.com/poll}",
        '{poll: http://login.example.com/poll, token: "${env:T}"}',
        '{poll: "https://login.example.com/poll#x", token: "${env:T}"}',
        '{poll: "https://a@login.example.com/poll", token: "${env:T}"}',
        '{poll: "file:///etc/passwd", token: "${env:T}"}',
        "{poll: https://login.example.com/poll, token: hunter2}",
        '{push: true, client: {id: a, secret: "${env:S}", token_endpoint: https://login.example.com/token}}',
        '{poll: https://login.example.com/poll, token: "${env:T}", '
        'client: {id: a, secret: "${env:S}", token_endpoint: https://login.example.com/token}}',
        '{poll: https://login.example.com/poll, client: {id: a, secret: "${env:S}", token_endpoint: http://x.example/}}',
        "{push: true, max_age: 1s}",
        "{push: true, unknown: 1}",
        "true",
    ],
)
def test_what_makes_no_sense_is_refused(signals: str) -> None:
    with pytest.raises(ConfigError) as caught:
        heard(signals)
    assert "hunter2" not in str(caught.value)


def test_a_route_in_the_place_where_signals_come_is_refused() -> None:
    text = SMALL.replace("GET /a", "POST /oauth/ssf/events")
    issuer = "{issuer: https://login.example.com, audience: api, algorithms: [RS256], signals: {push: true}}"
    more = f"identity: {{issuers: [{issuer}]}}\n"
    with pytest.raises(ConfigError):
        parse((text + more).encode(), Path("/nowhere/interlock.yaml"), look_at_files=False)
    parse(text.encode(), Path("/nowhere/interlock.yaml"), look_at_files=False)
