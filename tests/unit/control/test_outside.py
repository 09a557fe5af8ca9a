"""Outside issuers that open no route, and what the issuer takes from those that the file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import load
from interlock.control.compile import compile_issuers, compile_node
from interlock.control.issuer_outside import OutsideIssuers
from interlock.control.issuers import KnownKeys
from interlock.control.paths import Paths
from interlock.errors import ConfigError
from interlock.identity import TokenVerifier
from tests.unit.identity.fakes import FakeDirectory
from tests.unit.jose.material import ec, public

CI, LOGIN = "https://ci.example.org", "https://login.example.org"
FILE = """\
version: 1
listeners:
  - {{address: 127.0.0.1:8080, tls: off}}
issuer: {{url: https://id.example.com, {own}}}
services:
  up: {{upstreams: [http://127.0.0.1:9000]}}
routes:
  - {{match: GET /a, service: up, authenticate: [jwt], allow: call, limit: none}}
roles:
  caller: [call]
identity:
  issuers:
    - {{issuer: https://ci.example.org, audience: nobody, algorithms: [ES256], jwks: jwks.json, callers: false}}
    - {{issuer: https://login.example.org, audience: api, algorithms: [ES256], jwks: jwks.json}}
"""


def write(folder: Path, own: str) -> Path:
    (folder / "jwks.json").write_text(public(ec()))
    file = folder / "interlock.yaml"
    file.write_text(FILE.format(own=own))
    return file


def test_an_issuer_that_is_none_of_callers_is_nothing_to_workers(tmp_path: Path, paths: Paths) -> None:
    config = load(write(tmp_path, f"assertions: {CI}"))
    paths.issuer_jwks.write_text(public(ec()))
    workers = [spec.issuer for spec in compile_node(config, paths, 0).issuers]
    assert workers == [LOGIN, "https://id.example.com"]
    assert [spec.issuer for spec in compile_issuers(config, KnownKeys(paths.jwks))] == [CI, LOGIN]


@pytest.mark.parametrize("use", ["exchange", "assertions"])
def test_who_is_named_must_be_known(tmp_path: Path, use: str) -> None:
    file = write(tmp_path, f"{use}: https://other.example.org")
    with pytest.raises(ConfigError, match="not among"):
        load(file)


def test_each_use_is_for_those_it_names_with_the_audience_it_needs(tmp_path: Path, paths: Paths) -> None:
    config = load(write(tmp_path, f"assertions: {CI}, exchange: {LOGIN}, audience: https://api.example.com"))
    assert config.issuer is not None
    outside = OutsideIssuers(FakeDirectory(), lambda _issuer: None)
    outside.configure(config.issuer, compile_issuers(config, KnownKeys(paths.jwks)))

    def audience(verifier: TokenVerifier, name: str) -> list[str] | None:
        known = verifier.issuer(name)
        return None if known is None else known.spec.audience

    assert audience(outside.asserted, CI) == ["https://id.example.com"], "not what its tokens say for callers"
    assert audience(outside.asserted, LOGIN) is None
    assert audience(outside.exchanged, CI) is None
    assert audience(outside.exchanged, LOGIN) == ["api", "https://id.example.com", "https://api.example.com"]
    outside.configure(config.issuer.model_copy(update={"assertions": (), "exchange": ()}), [])
    assert audience(outside.asserted, CI) is None, "a reload takes it away"
