from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.files import FILES, LARGE, SMALL, faults, read, with_routes

ASKING = "127.0.0.1:1, tls: off, client_certificates: optional"
UP = "  up: {upstreams: [http://127.0.0.1:9000]"
PUBLIC = "service: up, allow: public, limit: none"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("service: ledger\n    auth", "service: leger\n    auth", "routes[0].service", "did you mean `ledger`?"),
        ("trust: partners\n", "trust: partner\n", "routes[0].trust", "did you mean `partners`?"),
        ("    trust: partners\n", "", "routes[0].trust", "needs a bundle"),
        ("zone: restricted", "zone: restrictd", "services.ledger.zone", "did you mean `restricted`?"),
        ("from: [partners]", "from: [partnerz]", "zones.restricted.from", "did you mean `partners`?"),
        ("{from: [partners], require: mtls}", "{}", "zones.restricted", "asks for nothing"),
        ("Tellers: teller", "Tellers: tellr", "identity.issuers[0].roles.map.Tellers", "did you mean `teller`?"),
        ("san-uri}", "san-uri, roles: {x: tellr}}", "trust.partners.roles.x", "did you mean `teller`?"),
        ("allow: {permission", "allow: {role: tellr, permission", "routes[0].allow.role", "did you mean `teller`?"),
        ("account: account_id}", "account: acount_id}", "routes[0].subject.account", "did you mean `account_id`?"),
        ("account: account_id}", "user: account_id}", "routes[0].subject.user", "choose another name"),
        ("account: account_id}", "a: account_id, b: account_id}", "routes[0].subject.b", "somebody else already"),
        ("allow: public", "allow: public, authenticate: [jwt]", "routes[1].allow", "is public, yet"),
        ("allow: public", "allow: public, strength: {risk: 9}", "routes[1].strength", "nobody authenticates"),
        ("allow: {permission", "strength: {acr: x}\n    allow: {permission", "routes[0].strength", "`api_key` alone"),
        ("allow: {permission", "strength: {}\n    allow: {permission", "routes[0].strength", "asks for nothing"),
        ("allow: {permission", "strength: {risk: 0}\n    allow: {permission", "routes[0].strength.risk", "1"),
        ("allow: {permission", "strength: {acr: a b}\n    allow: {permission", "routes[0].strength.acr", "cannot have"),
        ("allow: {per", "strength: {network: home}\n    allow: {per", "routes[0].strength.network", "same"),
        ("    authenticate: [jwt+mtls, api_key]\n", "", "routes[0].authenticate", "is missing"),
        ("[jwt+mtls, api_key]", "none", "routes[0].authenticate", "is missing"),
        ("[jwt+mtls, api_key]", "[api_key]", "routes[0].allow.scope", "only tokens have scopes"),
        ("0.0.0.0:8443, tls: auto", "0.0.0.0:8443, tls: off", "listeners[0].tls", "in the clear"),
        ("0.0.0.0:8443, tls: auto", "127.0.0.1:1, tls: off, hosts: [a.example]", "listeners[0].hosts", "no meaning"),
        ("0.0.0.0:8443, tls: auto", ASKING, "listeners[0].client_certificates", "cannot be asked"),
        ("0.0.0.0:8443", "0.0.0.0:9443", "listeners[0].address", "takes the address of `admin`"),
        ("https://10.0.0.5", "http://10.0.0.5", "services.ledger.tls", "no meaning"),
        ("up.pem, certificate: client.pem", "up.pem", "services.ledger.tls", "together"),
        ("ca: partners.pem", "ca: nowhere.pem", "trust.partners.ca", "does not exist"),
        ("ca: up.pem", "ca: .", "services.ledger.tls.ca", "is not a file"),
        ("ledger.openapi.yaml", "nowhere.yaml", "services.ledger.openapi", "does not exist"),
        ("tls: auto}", "tls: {certificate: no.pem, key: no.key}}", "listeners[0].tls.certificate", "does not exist"),
        ("https://login.example.com", "https://partners", "identity.issuers[0].issuer", "a trust bundle"),
        ("https://login.example.com", "https://interlock", "identity.issuers[0].issuer", "the product itself"),
        ("  partners: {", "  interlock: {", "trust.interlock", "meaning of its own"),
    ],
)  # fmt: skip
def test_what_is_wrong_between_the_parts(old: str, new: str, where: str, message: str, folder: Path) -> None:
    text = LARGE.replace(old, new, 1)
    assert text != LARGE
    found = {problem.where: problem for problem in faults(text, folder)}
    assert where in found, [str(problem) for problem in found.values()]
    assert message in f"{found[where].message} ({found[where].hint})"
    assert found[where].line is not None


def test_tls_is_off_for_others_only_when_said_aloud(folder: Path) -> None:
    text = SMALL.replace("127.0.0.1:8080, tls: off", "0.0.0.0:8080, tls: off")
    assert [problem.where for problem in faults(text, folder)] == ["listeners[0].tls"]
    assert (
        read(text.replace("tls: off", "tls: off, plaintext: accept-risk"), folder).listeners[0].plaintext
        == "accept-risk"
    )


def test_an_address_is_listened_on_once(folder: Path) -> None:
    listener = "  - {address: 127.0.0.1:8080, tls: off}\n"
    (problem,) = faults(SMALL.replace(listener, listener * 2), folder)
    assert "taken by listeners[0] (line 3)" in problem.message
    free = listener.replace("8080", "0")
    assert faults(SMALL.replace(listener, free * 2), folder) == []


def test_tokens_need_an_issuer(folder: Path) -> None:
    text = SMALL[: SMALL.index("identity:")]
    assert [problem.where for problem in faults(text, folder)] == ["routes[0].authenticate"]


def test_two_issuers_of_one_host_would_share_their_principals(folder: Path) -> None:
    issuer = "    - {issuer: https://iss/realms/two, audience: api, algorithms: [RS256]}\n"
    (problem,) = faults(SMALL + issuer, folder)
    assert problem.where == "identity.issuers[1].issuer"
    assert "`iss`, which is another issuer" in problem.message
    apart = read(SMALL + issuer.replace("audience", "authority: iss-two, audience"), folder)
    assert [one.authority for one in apart.identity.issuers] == ["iss", "iss-two"]
    (twice,) = faults(SMALL + issuer.replace("/realms/two", ""), folder)
    assert "named twice" in twice.message


@pytest.mark.parametrize(
    ("one", "other"),
    [("GET /a", "GET /a"), ("GET /a", "/a"), ("/a/{x}", "/{y}/b"), ("/a/*", "/{x}"), ("GET,PUT /a", "PUT,POST /a")],
)
def test_conflicts_name_both_lines(one: str, other: str, folder: Path) -> None:
    text = with_routes(f'match: "{one}", {PUBLIC}', f'match: "/c", {PUBLIC}', f'match: ["/d", "{other}"], {PUBLIC}')
    (problem,) = faults(text, folder)
    assert (problem.where, problem.line) == ("routes[2].match[1]", 9)
    assert "routes[0].match[0] (line 7)" in problem.message or "routes[0].match (line 7)" in problem.message
    assert one in problem.message
    assert other in problem.message


def test_a_route_cannot_contradict_itself(folder: Path) -> None:
    (problem,) = faults(with_routes(f'match: ["/a", "GET /a"], {PUBLIC}'), folder)
    assert problem.where == "routes[0].match[1]"


def test_many_conflicts_are_counted_after_the_first_hundred(folder: Path) -> None:
    routes = [f"match: /r{number}, {PUBLIC}" for number in range(150)]
    found = faults(with_routes(*routes, *routes), folder)
    assert len(found) == 101
    assert any("50 more conflicts" in problem.message for problem in found)


def test_more_specific_routes_are_no_conflict(folder: Path) -> None:
    matches = (
        "/*",
        "/a/*",
        "/a/{x}",
        "/a/b",
        "GET api.example.com /*",
        "GET,POST *.example.com /a",
        "PUT *.example.com /a",
    )
    assert faults(with_routes(*(f'match: "{match}", {PUBLIC}' for match in matches)), folder) == []


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("allow: a:read", "allow: a:raed", "routes[0].allow", "no role grants `a:raed`"),
        ("jwks: jwks.json", "jwks: nowhere.json", "identity.issuers[0].jwks", "does not exist"),
        ("  up: {", "  idle: {upstreams: http://127.0.0.1:1}\n  up: {", "services.idle", "not used"),
        (UP, f"{UP}, data: [pan], record: written", "services.up.record", "less than"),
        (UP, UP.replace("127.0.0.1", "10.0.0.1") + ", data: [pan]", "services.up.upstreams", "in the clear"),
        ("authenticate: [jwt], allow: a:read", "allow: public", "routes[0].limit", "one principal"),
    ],
)  # fmt: skip
def test_what_is_allowed_and_probably_not_meant(old: str, new: str, where: str, message: str, folder: Path) -> None:
    text = SMALL.replace(old, new, 1)
    assert text != SMALL
    warnings = {problem.where: problem.message for problem in read(text, folder).warnings}
    assert message in warnings[where]


def test_a_pattern_that_may_hide_somebody_from_erasure(folder: Path) -> None:
    text = LARGE.replace("POST /accounts]", "POST /accounts/{id}]")
    warnings = {problem.where: problem.message for problem in read(text, folder).warnings}
    assert "has no `account_id`" in warnings["routes[0].match[1]"]
    assert "routes[0].match[1]" not in {problem.where for problem in read(LARGE, folder).warnings}


def test_an_alternative_that_the_zone_never_lets_pass(folder: Path) -> None:
    warnings = {problem.where: problem.message for problem in read(LARGE, folder).warnings}
    assert "`api_key` alone never passes" in warnings["routes[0].authenticate"]
