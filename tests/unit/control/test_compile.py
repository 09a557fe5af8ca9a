"""From the file to what workers read, for the two examples of the design."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlock.cli.tour.issuer import Issuer, Partner
from interlock.clock import SECOND
from interlock.config import load
from interlock.control.certificates import names
from interlock.control.check import check_file
from interlock.control.compile import compile_node, compile_routes, with_newest_keys
from interlock.control.issuers import DISCOVERY, Known, KnownKeys
from interlock.control.paths import Paths
from interlock.errors import KeyMaterialError
from interlock.snapshot import StrengthSpec
from interlock.snapshot.spec import ISSUER_SERVICE

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
    - {issuer: https://iss, audience: api, algorithms: [RS256], jwks: jwks.json,
       roles: {from: roles, map: {reader: reader}}}
"""
LARGE = """\
version: 1
workers: auto
data_dir: ./interlock-data
keys: {kek: "${file:kek}"}
admin: 127.0.0.1:9443
trusted_proxies: []
listeners:
  - {address: 0.0.0.0:8443, tls: auto}
issuer: {url: https://id.example.com}
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
    data: [financial]
    record: durable
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
      roles: {from: groups, map: {Tellers: teller}}
objectives: {availability: 99.95%, detection: 60s, response: 5m}
frameworks: [pci-dss-4.0.1, gdpr]
"""


@pytest.fixture
def large(tmp_path: Path, paths: Paths) -> Path:
    paths.issuer_jwks.write_text('{"keys": []}')
    partner = Partner(tmp_path)
    (tmp_path / "up.pem").write_bytes(partner.ca_file.read_bytes())
    for name in ("client.pem", "client.key"):
        (tmp_path / name).write_bytes(partner.certificate_file.read_bytes())
    (tmp_path / "ledger.openapi.yaml").write_text("openapi: 3.1.0\n")
    (tmp_path / "kek").write_text("00" * 32)
    path = tmp_path / "interlock.yaml"
    path.write_text(LARGE)
    return path


def test_the_small_example(tmp_path: Path, paths: Paths) -> None:
    path = tmp_path / "interlock.yaml"
    path.write_text(SMALL)
    (tmp_path / "jwks.json").write_text(Issuer().jwks())
    assert check_file(path)[0] == []
    config = load(path)
    node = compile_node(config, paths, 7)
    assert node.built_ns == 7
    assert node.issuers[0].jwks_ns == 0  # from a file: never stale
    assert json.loads(node.issuers[0].jwks)["keys"][0]["kid"] == "tour"
    assert node.issuers[0].roles_map == {"reader": ["reader"]}
    assert node.listeners[0].tls == "off"
    assert not node.listeners[0].ask_client
    (route,) = compile_routes(config)
    assert route.limits[0].count == 1_000_000
    assert route.permission == "a:read"
    assert not route.durable


def test_the_large_example(large: Path, paths: Paths) -> None:
    assert check_file(large)[0] == []
    config = load(large)
    paths.pki.mkdir()
    (paths.pki / "ca.pem").write_text("the authority")
    node = compile_node(config, paths, 0)
    listener = node.listeners[0]
    assert (listener.tls, listener.ask_client) == ("files", True)
    assert listener.certificates[0].certificate == str(paths.pki / "server.pem")
    assert node.auto_ca == "the authority"
    assert node.trust["partners"].ca_pem.startswith("-----BEGIN CERTIFICATE")
    assert node.zones["restricted"].sources == ["partners"]
    assert node.zones["restricted"].require == ["mtls"]
    assert node.services["ledger"].durable
    assert node.services["ledger"].tls_ca == str(large.parent / "up.pem")
    assert node.issuers[0].jwks == ""
    assert node.issuers[1].own
    assert node.issuers[1].audience == ["https://id.example.com"]
    assert node.services[ISSUER_SERVICE].upstreams == [f"unix:{paths.run.absolute()}/issuer.sock"]
    *own, account, health = compile_routes(config)
    assert {route.service for route in own} == {ISSUER_SERVICE}
    assert all(route.limits for route in own)
    assert {pattern.host for route in own for pattern in route.patterns} == {"id.example.com"}
    assert account.durable
    assert health.durable
    assert account.authenticate == [["jwt", "mtls"], ["api_key"]]
    assert (account.permission, account.scope, account.when) == ("accounts:read", "ledger", "request.hour >= 8")
    assert [(one.count, one.burst, one.per) for one in account.limits] == [
        (50, 100, "principal"),
        (5000, 5000, "route"),
    ]
    assert account.cors is not None
    assert account.cors.max_age == 600
    assert (account.patterns[0].segments, account.patterns[1].host) == (["accounts", "{account_id}"], "api.example.com")
    assert health.public
    assert health.limits == []
    assert account.timeout_ns == 30 * SECOND


@pytest.mark.parametrize(("said", "required"), [("", False), ("nonce: accepted", False), ("nonce: required", True)])
def test_whether_proofs_for_an_issuers_tokens_bring_a_nonce(
    tmp_path: Path, paths: Paths, said: str, required: bool
) -> None:
    path = tmp_path / "interlock.yaml"
    path.write_text(SMALL.replace("jwks: jwks.json,", f"jwks: jwks.json, dpop: {{{said}}},"))
    (tmp_path / "jwks.json").write_text(Issuer().jwks())
    assert compile_node(load(path), paths, 0).issuers[0].dpop_nonce is required


def test_keys_of_an_issuer_as_last_fetched(large: Path, paths: Paths) -> None:
    KnownKeys(paths.jwks).put(Known("https://login.example.com", '{"keys": []}', 123, DISCOVERY))
    paths.pki.mkdir()
    (paths.pki / "ca.pem").write_text("x")
    node = compile_node(load(large), paths, 0)
    assert (node.issuers[0].jwks, node.issuers[0].jwks_ns) == ('{"keys": []}', 123)


def test_keys_of_a_url_that_was_replaced_are_trusted_no_more(large: Path, paths: Paths) -> None:
    paths.pki.mkdir()
    (paths.pki / "ca.pem").write_text("x")
    known = KnownKeys(paths.jwks)
    known.put(Known("https://login.example.com", "old", 1, "https://old.example.com/keys"))
    large.write_text(LARGE.replace("audience: ledger", "audience: ledger\n      jwks: https://new.example.com/keys"))
    issuer, _own = compile_node(load(large), paths, 0).issuers
    assert (issuer.jwks, issuer.source) == ("", "https://new.example.com/keys")
    assert with_newest_keys([issuer], known) == [issuer]
    known.put(Known("https://login.example.com", "new", 2, "https://new.example.com/keys"))
    (newer,) = with_newest_keys([issuer], known)
    assert (newer.jwks, newer.jwks_ns) == ("new", 2)


def test_a_replaced_file_of_a_service_makes_another_service(large: Path, paths: Paths) -> None:
    """Its path alone would leave workers on connections under the old certificate for ever."""
    paths.pki.mkdir()
    (paths.pki / "ca.pem").write_text("x")
    config = load(large)
    seen = [compile_node(config, paths, 0).services["ledger"]]
    assert compile_node(config, paths, 1).services["ledger"] == seen[0]
    for name in ("up.pem", "client.pem", "client.key"):
        (large.parent / name).write_text(name)
        seen.append(compile_node(config, paths, 0).services["ledger"])
    assert len({one.tls_digest for one in seen}) == 4
    (large.parent / "client.key").unlink()
    with pytest.raises(KeyMaterialError, match=r"client\.key"):
        compile_node(config, paths, 0)


def test_a_file_that_is_gone_is_an_error(large: Path, paths: Paths) -> None:
    config = load(large)
    (large.parent / "partners.pem").unlink()
    with pytest.raises(KeyMaterialError, match=r"partners\.pem"):
        compile_node(config, paths, 0)


def test_the_names_of_the_own_certificate(large: Path) -> None:
    found = names(load(large))
    assert found[:3] == ["localhost", "127.0.0.1", "::1"]
    assert "0.0.0.0" not in found


def test_damaged_keys_count_as_never_fetched(paths: Paths) -> None:
    known = KnownKeys(paths.jwks)
    assert known.get("https://iss", "https://iss/keys") is None
    known.put(Known("https://iss", "{}", 5, "https://iss/keys"))
    (file,) = paths.jwks.iterdir()
    file.write_bytes(b"{")
    assert known.get("https://iss", "https://iss/keys") is None


@pytest.mark.parametrize(
    ("said", "spec"),
    [
        ("{risk: 60}", StrengthSpec(risk=60)),
        ("{max_age: 90s}", StrengthSpec(max_age_s=90)),
        ("{network: same}", StrengthSpec(same_network=True)),
        ("{acr: [gold, silver]}", StrengthSpec(acr=["gold", "silver"], accepted=["gold", "silver"])),
        (
            "{acr: urn:interlock:acr:mfa}",
            StrengthSpec(acr=["urn:interlock:acr:mfa"], accepted=["urn:interlock:acr:mfa", "urn:interlock:acr:phr"]),
        ),
    ],
)
def test_what_a_route_asks_of_a_sign_in(tmp_path: Path, said: str, spec: StrengthSpec) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    file = tmp_path / "interlock.yaml"
    file.write_text(SMALL.replace("allow: a:read", f"strength: {said}, allow: a:read"))
    (route,) = compile_routes(load(file))
    assert route.strength == spec
