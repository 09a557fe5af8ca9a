"""The section `issuer`: what it may say, and that no route stands where the issuer does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from interlock.config import Config, OwnIssuer, parse
from interlock.errors import ConfigError

FILE = """\
version: 1
issuer: {url: URL}
listeners:
  - {address: 127.0.0.1:8080, tls: off}
services:
  up: {upstreams: [http://127.0.0.1:9000]}
routes:
  - {match: "MATCH", service: up, authenticate: [jwt], allow: a, limit: none}
roles:
  caller: [a]
"""
LOCAL, NAMED, TENANT = "http://127.0.0.1:8080", "https://id.example.com", "https://id.example.com/tenant"


def read(url: str, match: str, text: str = FILE) -> Config:
    return parse(text.replace("URL", url).replace("MATCH", match).encode(), Path("/x/interlock.yaml"))


def refused(url: str, match: str, text: str = FILE) -> str:
    with pytest.raises(ConfigError) as problem:
        read(url, match, text)
    return str(problem.value)


@pytest.mark.parametrize("match", ["/*", "GET /{a}/*", "/.well-known/{x}", "/other/*", "api.example.com /oauth/token"])
@pytest.mark.parametrize("url", [LOCAL, NAMED, TENANT])
def test_a_route_may_take_what_is_left(url: str, match: str) -> None:
    assert read(url, match).issuer is not None


@pytest.mark.parametrize(
    ("url", "match"),
    [
        (LOCAL, "POST /oauth/token"),
        (LOCAL, "GET /oauth/token"),
        (LOCAL, "/oauth/token"),
        (LOCAL, "/oauth/*"),
        (LOCAL, "/oauth"),
        (LOCAL, "/oauth/{x}"),
        (LOCAL, "GET /oauth/{x}"),
        (LOCAL, "/oauth/authorize/continue"),
        (LOCAL, "/oauth/nothing/at/all"),
        (LOCAL, "/{a}/token"),
        (LOCAL, "PUT /oauth/token"),
        (LOCAL, "/.well-known/oauth-authorization-server"),
        (LOCAL, "/.well-known/openid-configuration"),
        (NAMED, "id.example.com POST /oauth/token"),
        (NAMED, "id.example.com /oauth/*"),
        (NAMED, "ID.example.com /oauth/signin"),
        (NAMED, "id.example.com GET /.well-known/openid-configuration"),
        (TENANT, "id.example.com /tenant/oauth/token"),
        (TENANT, "id.example.com /.well-known/oauth-authorization-server/tenant"),
        (TENANT, "id.example.com /tenant/.well-known/openid-configuration"),
    ],
)
def test_no_route_is_given_what_is_meant_for_the_issuer(url: str, match: str) -> None:
    """Secrets, passwords and codes: whoever writes such a route would receive them."""
    said = refused(url, match)
    assert "issuer" in said
    assert "routes[0].match[0]" in said


@pytest.mark.parametrize(
    ("url", "match"),
    [
        (NAMED, "POST /oauth/token"),
        (NAMED, "*.example.com /oauth/token"),
        (NAMED, "other.example.com /oauth/token"),
        (TENANT, "id.example.com /oauth/token"),
        (TENANT, "id.example.com /other/oauth/token"),
    ],
)
def test_what_is_at_another_name_or_path_is_not_the_issuer_s(url: str, match: str) -> None:
    assert read(url, match).issuer is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.example.com",
        "http://id.example.com",
        "ftp://id.example.com",
        "https://id.example.com/",
        "https://id.example.com/tenant/",
        "https://id.example.com?x=1",
        "https://id.example.com#x",
        "https://user@id.example.com",
        "https://",
        "https:///x",
        "https://id.example.com/a b",
        "https://id.example.com/a/../b",
        "https://id.example.com/%2e%2e/b",
        "https://id.example.com//b",
    ],
)
def test_an_issuer_s_url_is_one_that_everybody_writes_alike(url: str) -> None:
    """Tokens name it, and are compared with it, letter by letter (RFC 8414 section 2)."""
    with pytest.raises((ValidationError, ValueError)):
        OwnIssuer.model_validate({"url": url})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    found = OwnIssuer.model_validate({"url": url})
    assert found.listens_for == ""
    assert not found.secure


def test_the_host_it_listens_for() -> None:
    assert OwnIssuer.model_validate({"url": "https://ID.Example.com"}).listens_for == "id.example.com"
    assert OwnIssuer.model_validate({"url": "https://192.0.2.7"}).listens_for == ""
    assert OwnIssuer.model_validate({"url": "https://[2001:db8::1]:8443"}).listens_for == ""


def test_its_paths() -> None:
    assert OwnIssuer.model_validate({"url": NAMED}).paths == [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/.well-known/openid-configuration",
        "/oauth",
    ]
    assert OwnIssuer.model_validate({"url": TENANT}).paths == [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/oauth-protected-resource/tenant",
        "/tenant/.well-known/openid-configuration",
        "/tenant/oauth",
    ]


@pytest.mark.parametrize(
    "section",
    [
        {"signing": "HS256"},
        {"signing": "none"},
        {"signing": "RS256"},
        {"rotate": "1h"},
        {"access_token": "2h"},
        {"access_token": "1s"},
        {"refresh_token": "1s"},
        {"scopes": {"a b": "x"}},
        {"scopes": {'a"': "x"}},
        {"resources": ["a b"]},
        {"audience": [""]},
        {"session": {"idle": "13h"}},
        {"profile": "fapi1"},
        {"registration": "open"},
        {"secret": "x"},
    ],
)
def test_what_it_may_not_say(section: dict[str, object]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        OwnIssuer.model_validate({"url": NAMED, **section})


TRUSTING = FILE.replace("issuer: {url: URL}", "issuer: {url: URL, trust: NAME}")
TRUST = "\ntrust:\n  partners: {ca: partners.pem, principal: san-uri}\n"


def test_the_bundle_it_trusts_is_one_of_the_file() -> None:
    def reading(name: str, rest: str) -> Config:
        text = TRUSTING.replace("NAME", name) + rest
        return parse(
            text.replace("URL", LOCAL).replace("MATCH", "/a").encode(), Path("/x/interlock.yaml"), look_at_files=False
        )

    assert [str(warning) for warning in reading("partners", TRUST).warnings if "trust" in str(warning)] == []
    with pytest.raises(ConfigError, match=r"issuer\.trust: `partner` is not a trust bundle of this file"):
        reading("partner", TRUST)


def test_it_is_not_also_an_outside_issuer() -> None:
    text = FILE + f"identity: {{issuers: [{{issuer: '{NAMED}', audience: a, algorithms: [ES256]}}]}}\n"
    assert "this node's own" in refused(NAMED, "/a", text)


@pytest.mark.parametrize("way", ["dpop", "api_key+dpop", "[jwt+dpop, mtls+dpop]", "jwt+dpop+dpop", "jwt+dpopp"])
def test_possession_is_proved_of_a_token_s_key(way: str) -> None:
    with pytest.raises(ConfigError, match="authenticate"):
        read(NAMED, "/a", FILE.replace("[jwt]", way))


def test_a_route_may_ask_for_tokens_that_are_bound_to_a_key() -> None:
    assert read(NAMED, "/a", FILE.replace("[jwt]", "[jwt+dpop]")).routes[0].authenticate == (("jwt", "dpop"),)


def test_proofs_may_have_to_bring_a_nonce() -> None:
    assert OwnIssuer(url=NAMED).dpop.nonce == "accepted"
    assert OwnIssuer.model_validate({"url": NAMED, "dpop": {"nonce": "required"}}).dpop.nonce == "required"
    with pytest.raises(ValidationError):
        OwnIssuer.model_validate({"url": NAMED, "dpop": {"nonce": "sometimes"}})


# -- where certificates are shown (RFC 8705 section 5)

PLACE = "https://mtls.example.com:8444"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (NAMED, "http://127.0.0.1:8444"),
        (NAMED, "http://mtls.example.com"),
        (NAMED, f"{PLACE}?x=1"),
        (NAMED, f"{PLACE}#x"),
        (NAMED, f"{PLACE}/"),
        (NAMED, f"{PLACE}/tenant"),
        (TENANT, PLACE),
        (NAMED, NAMED),
        (NAMED, "https://user@mtls.example.com"),
        (NAMED, ""),
    ],
)
def test_a_place_for_certificates_is_the_same_issuer_by_https(url: str, place: str) -> None:
    with pytest.raises((ValidationError, ValueError)):
        OwnIssuer.model_validate({"url": url, "mtls_url": place})


@pytest.mark.parametrize(
    ("url", "place", "hosts"),
    [
        (NAMED, PLACE, ["id.example.com", "mtls.example.com"]),
        (NAMED, f"{NAMED}:8444", ["id.example.com"]),
        (TENANT, f"{PLACE}/tenant", ["id.example.com", "mtls.example.com"]),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8444", [""]),
        ("https://127.0.0.1:8443", PLACE, ["", "mtls.example.com"]),
    ],
)
def test_the_hosts_that_programs_call(url: str, place: str, hosts: list[str]) -> None:
    assert OwnIssuer.model_validate({"url": url, "mtls_url": place}).program_hosts == hosts


TWO_PLACES = FILE.replace("issuer: {url: URL}", f'issuer: {{url: URL, mtls_url: "{PLACE}"}}')


def test_no_route_is_given_there_what_is_meant_for_the_issuer() -> None:
    assert "belongs to the `issuer`" in refused(NAMED, "mtls.example.com POST /oauth/token", TWO_PLACES)
    assert "belongs to the `issuer`" in refused(NAMED, "id.example.com POST /oauth/token", TWO_PLACES)
    assert read(NAMED, "mtls.example.com /other/*", TWO_PLACES).issuer is not None


def test_it_is_told_when_nobody_asks_for_certificates_there() -> None:
    asks = "\n  - {address: 127.0.0.1:8444, tls: auto, client_certificates: optional}"
    elsewhere = asks.replace("8444", "9444")
    silent = asks.replace("optional", "none")

    def told(*more: str) -> bool:
        text = TWO_PLACES.replace("tls: off}", "tls: off}" + "".join(more))
        return any("asks for client certificates" in str(one) for one in read(NAMED, "/a", text).warnings)

    assert told()
    assert told(silent)
    assert told(silent, elsewhere), "another listener does, but not the one that is named"
    assert not told(asks)
    assert not told(elsewhere), "a proxy may lead there"
