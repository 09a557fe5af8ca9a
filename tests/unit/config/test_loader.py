from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from interlock.clock import SECOND
from interlock.config import Config, Pattern, load
from interlock.config.document import read_document
from interlock.errors import ConfigError
from interlock.model import LONGEST_CONDITION
from interlock.policy import ConditionInvalid, check_condition
from tests.unit.config.files import FILES, LARGE, SMALL, faults, read, with_routes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text("")
    return tmp_path


def test_the_small_example_of_the_design(folder: Path) -> None:
    config = read(SMALL, folder)
    (route,) = config.routes
    assert route.id == "GET /a"
    assert route.authenticate == (("jwt",),)
    assert (route.allow.permission, route.allow.public) == ("a:read", False)
    assert str(route.limit[0]) == "1000000/s per principal"
    assert config.identity.issuers[0].jwks == folder / "jwks.json"
    assert config.identity.issuers[0].authority == "iss"
    assert config.listeners[0].tls == "off"
    assert config.admin.loopback
    assert config.data_dir == folder / "interlock-data"
    assert config.worker_count >= 1
    assert config.warnings == []


def test_the_large_example_of_the_design(folder: Path) -> None:
    file = folder / "interlock.yaml"
    file.write_text(LARGE)
    config = load(file)
    assert config.path == file
    assert config.digest == hashlib.sha256(LARGE.encode()).hexdigest()
    assert str(config.keys.kek) == "${file:/etc/interlock/kek}"
    assert (config.defaults.body, config.defaults.timeout) == (10 << 20, 30 * SECOND)
    accounts, health = config.routes
    assert accounts.id == "GET /accounts/{account_id}, api.example.com POST /accounts"
    assert accounts.match[1] == Pattern(frozenset({"POST"}), "api.example.com", ("accounts",), False)
    assert accounts.authenticate == (("jwt", "mtls"), ("api_key",))
    assert [str(rate) for rate in accounts.limit] == ["50/s burst 100 per principal", "5000/s per route"]
    assert accounts.cors is not None
    assert accounts.cors.origins == ("https://app.example.com",)
    assert (health.allow.public, health.limit, health.authenticate) == (True, (), ())
    ledger = config.services["ledger"]
    assert ledger.tls is not None
    assert ledger.tls.ca == folder / "up.pem"
    assert config.zones["restricted"].sources == ("partners",)
    assert config.zones["restricted"].require == ("mtls",)
    assert config.record_of(accounts) == "durable"
    assert config.asks_client(config.listeners[0])
    assert config.objectives.availability == 99.95
    assert config.frameworks == ("pci-dss-4.0.1", "gdpr")


def test_loading_changes_nothing(folder: Path) -> None:
    file = folder / "interlock.yaml"
    file.write_text(LARGE)
    before = sorted(folder.iterdir())
    load(file)
    assert sorted(folder.iterdir()) == before


def test_a_loaded_file_is_immutable(folder: Path) -> None:
    config = read(SMALL, folder)
    with pytest.raises(ValueError, match="frozen"):
        config.workers = 3
    with pytest.raises(ValueError, match="frozen"):
        config.routes[0].service = "other"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="interlock init"):
        load(tmp_path / "interlock.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_all_faults_are_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    text = SMALL.replace("tls: off", "tls: maybe").replace("service: up", "service: upp").replace("a:read]", '"*"]')
    found = [(problem.line, problem.where) for problem in faults(text, folder)]
    assert found == [(3, "listeners[0].tls"), (7, "routes[0].service"), (9, "roles.reader[0]")]


def test_faults_between_the_sound_routes_are_told_with_their_own_numbers(folder: Path) -> None:
    text = with_routes(
        "match: GET /x, service: up, allow: public, limit: nonsense",
        "match: GET /a, service: up, allow: public, limit: none",
        "match: GET /a, service: nope, allow: public, limit: none",
    )
    found = {problem.where: problem for problem in faults(text, folder)}
    assert set(found) == {"routes[0].limit", "routes[2].service", "routes[2].match[0]"}
    assert found["routes[2].match[0]"].line == 9
    assert "routes[1].match[0] (line 8)" in found["routes[2].match[0]"].message


def test_a_syntax_error_names_file_and_line(folder: Path) -> None:
    (problem,) = faults(SMALL.replace("roles:", "roles: ]", 1), folder)
    assert problem.file == str(folder / "interlock.yaml")
    assert problem.line == 8
    assert "not valid YAML" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "where", "hint"),
    [
        ("version: 1", "versoin: 1", "versoin", "version"),
        ("listeners:", "listener:", "listener", "listeners"),
        ("tls: off}", "tls: off, adress: x}", "listeners[0].adress", "address"),
        ("tls: off}", "tls: {certificat: a}}", "listeners[0].tls.certificat", "certificate"),
        ("allow: a:read", "allow: {permision: a:read}", "routes[0].allow.permision", "permission"),
        ("allow: a:read", "allow: a:read, timeuot: 1s", "routes[0].timeuot", "timeout"),
        ("limit: 1", "cors: {origin: x}, limit: 1", "routes[0].cors.origin", "origins"),
        ("{from: roles,", "{form: roles,", "identity.issuers[0].roles.form", "from"),
        ("audience: api", "audiense: api", "identity.issuers[0].audiense", "audience"),
        ("up: {", "up: {zones: x, ", "services.up.zones", "zone"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    old: str, new: str, where: str, hint: str, folder: Path
) -> None:
    found = {problem.where: problem for problem in faults(SMALL.replace(old, new, 1), folder)}
    assert found[where].message == "is not a key that belongs here"
    assert f"`{hint}`" in found[where].hint
    assert found[where].line is not None


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("version: 1\n", "", "version", "is missing"),
        ("version: 1", "version: 2", "version", "must be 1"),
        ("version: 1", "version: 1\nworkers: 0", "workers", "must be `auto`"),
        ("version: 1", "version: 1\nworkers: true", "workers", "must be `auto`"),
        ("version: 1", "version: 1\nadmin: 0.0.0.0:9443", "admin", "can be reached by others"),
        ("version: 1", "version: 1\ntrusted_proxies: [0.0.0.0/0]", "trusted_proxies[0]", "is everybody"),
        ("version: 1", "version: 1\ndefaults: {timeout: 30}", "defaults.timeout", "write 30s"),
        ("version: 1", "version: 1\ndefaults: {timeout: 0s}", "defaults.timeout", "from 10ms to 1d"),
        ("version: 1", "version: 1\ndefaults: {body: 10Mb}", "defaults.body", "is not a size"),
        ("version: 1", "version: 1\ndefaults:", "defaults", "is empty"),
        ("version: 1", "version: 1\ndefaults: [1]", "defaults", "must be a mapping"),
        ("version: 1", "version: 1\nconnections: {failures: 20/m per route}", "connections.failures", "per address"),
        ("version: 1", "version: 1\nconnections: {per_worker: many}", "connections.per_worker", "whole number"),
        ("version: 1", "version: 1\nissuer: {url: http://id.example.com}", "issuer.url", "must be https"),
        ("version: 1", "version: 1\ndata_dir: ${env:HOME}", "data_dir", "only secrets"),
        ("version: 1", "version: 1\nframeworks: [pci]", "frameworks[0]", "must be gdpr"),
        ("version: 1", "version: 1\nobjectives: {availability: 2}", "objectives.availability", "not a share"),
        (", tls: off", "", "listeners[0].tls", "is missing"),
        ("tls: off", "tls: {certificate: jwks.json}", "listeners[0].tls.key", "is missing"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/api", "services.up.upstreams[0]", "has a path"),
        ("[http://127.0.0.1:9000]", "[]", "services.up.upstreams", "is empty"),
        (", limit: 1000000/s per principal", "", "routes[0].limit", "is missing"),
        (", allow: a:read", "", "routes[0].allow", "is missing"),
        ("limit: 1000000/s per principal", "limit: []", "routes[0].limit", "is empty"),
        ("limit: 1000000/s per principal", "limit: [none, 1/s per route]", "routes[0].limit[0]", "stands alone"),
        ("limit: 1000000/s per principal", "limit: 5/s", "routes[0].limit", "whom it counts"),
        ("limit: 1000000/s per principal", "limit: 5", "routes[0].limit", "must be a list"),
        ("allow: a:read", "allow: {}", "routes[0].allow", "is empty"),
        ("allow: a:read", "allow: [a, b]", "routes[0].allow", "must be a permission"),
        ("allow: a:read", 'allow: {when: ""}', "routes[0].allow.when", "is empty"),
        ("allow: a:read", "allow: {permission: public}", "routes[0].allow.permission", "meaning of its own"),
        ("authenticate: [jwt]", "authenticate: [jwt+jwt]", "routes[0].authenticate[0]", "twice"),
        ("authenticate: [jwt]", "authenticate: [basic]", "routes[0].authenticate[0]", "not a way"),
        ("service: up", "service: 1", "routes[0].service", "must be text"),
        ("match: GET /a", "match: GET /a%2e", "routes[0].match", "characters"),
        ("match: GET /a", "match: []", "routes[0].match", "is empty"),
        ("match: GET /a", "record: maybe, match: GET /a", "routes[0].record", "must be written or durable"),
        ("service: up", 'service: up, cors: {origins: ["*"], credentials: true}', "routes[0].cors", "name the origins"),
        ("service: up", "service: up, cors: {origins: [app.example]}", "routes[0].cors.origins[0]", "not an origin"),
        ("reader: [a:read]", "interlock:admin: [a:read]", "roles.interlock:admin", "product's own"),
        ("[RS256]", "[HS256]", "identity.issuers[0].algorithms[0]", "proves nothing"),
        ("[RS256]", "[none]", "identity.issuers[0].algorithms[0]", "proves nothing"),
        ("algorithms: [RS256], ", "", "identity.issuers[0].algorithms", "is missing"),
        ("audience: api, ", "", "identity.issuers[0].audience", "is missing"),
        ("audience: api", "audience: []", "identity.issuers[0].audience", "is empty"),
        ("https://iss", "http://iss.example", "identity.issuers[0].issuer", "must be https"),
        ("jwks: jwks.json", "jwks: http://iss.example/keys", "identity.issuers[0].jwks", "must be https"),
        ("reader: reader}", "reader: interlock:admin}", "identity.issuers[0].roles.map.reader", "product's own"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_itself(old: str, new: str, where: str, message: str, folder: Path) -> None:
    text = SMALL.replace(old, new, 1)
    assert text != SMALL
    found = {problem.where: problem for problem in faults(text, folder)}
    assert where in found, found.keys()
    assert message in f"{found[where].message} ({found[where].hint})"


def test_words_may_stand_for_lists_of_one(folder: Path) -> None:
    config = read(SMALL.replace("authenticate: [jwt]", "authenticate: jwt").replace("[RS256]", "RS256"), folder)
    assert config.routes[0].authenticate == (("jwt",),)
    assert config.identity.issuers[0].algorithms == ("RS256",)


def test_what_a_route_does_not_say_its_service_and_the_defaults_say(folder: Path) -> None:
    text = with_routes(
        "match: /a, service: up, allow: public, limit: none",
        "match: /b, service: up, allow: public, limit: none, timeout: 1s, body: 0, record: durable",
        "match: /c, service: pii, allow: public, limit: none",
    ).replace("  up: {", "  pii: {upstreams: http://127.0.0.1:1, data: [pii], timeout: 2s}\n  up: {")
    config = read(text, folder)
    plain, own, classified = config.routes
    assert (config.record_of(plain), config.record_of(own), config.record_of(classified)) == (
        "written",
        "durable",
        "durable",
    )
    assert [config.timeout_of(route) // SECOND for route in config.routes] == [30, 1, 2]
    assert [config.body_of(route) for route in config.routes] == [10 << 20, 0, 10 << 20]


def test_a_fault_found_elsewhere_gets_file_and_line(folder: Path) -> None:
    problem = read(LARGE, folder).problem(("routes", 0, "allow", "when"), "does not compile")
    line = next(number for number, text in enumerate(LARGE.splitlines(), 1) if "when:" in text)
    assert str(problem) == f"{folder / 'interlock.yaml'}:{line}: routes[0].allow.when: does not compile"


def test_json_is_yaml(folder: Path) -> None:
    import json

    config = read(json.dumps(read_document(SMALL.encode())), folder)
    assert config.routes == read(SMALL, folder).routes


def test_ten_thousand_routes(folder: Path) -> None:
    route = "match: GET /r{}/{{id}}, service: up, authenticate: [jwt], allow: a:read, limit: 1000000/s per principal"
    config = read(with_routes(*(route.format(number) for number in range(10_000))), folder)
    assert isinstance(config, Config)
    assert config.routes[9_999].match[0].texts() == ["r9999", "{id}"]
    assert config.problem(("routes", 9_999), "").line == 10_006


def test_a_condition_is_as_long_as_can_be_compiled_and_no_longer(tmp_path: Path) -> None:
    """One number for the file's schema and for the compiler."""
    for length, fits in ((LONGEST_CONDITION, True), (LONGEST_CONDITION + 1, False)):
        when = "true" + " " * (length - 4)
        text = SMALL.replace("allow: a:read", f"allow: {{permission: a:read, when: '{when}'}}")
        found = [fault for fault in faults(text, tmp_path) if "when" in fault.where]
        assert (found == []) is fits
        if fits:
            check_condition(when)
        else:
            with pytest.raises(ConditionInvalid):
                check_condition(when)
