"""Who tries to get by the issuer, and where that is tried; "below" is here, through a real node over TLS.

| attack | where |
| --- | --- |
| mixed-up issuers | test_issuer_node_clients (another `iss`), unit test_authorize (`iss` in every answer); below |
| a code replayed, injected, of another client | test_issuer_oracle (code_*), unit test_authorize |
| PKCE left out, `plain`, another verifier | test_issuer_oracle (ask_*, code_*), unit test_authorize |
| redirect URIs that look alike | test_issuer_oracle (ask_*), unit test_authorize |
| a refresh token used again, by another client | test_issuer_oracle (refresh_*), unit test_refresh_tokens, test_fapi2 |
| DPoP: replay, another `htm`, `htu`, `ath`, key | test_issuer_oracle (proof_*), test_dpop, unit jose/test_dpop |
| `jwk`, `jku`, `x5u`, `x5c` in a header | unit test_client_auth, jose/test_jwt, jose/test_wycheproof; below |
| `none`, HS256 with a public key, another algorithm | unit test_client_auth, jose/test_jwt, jose/test_wycheproof |
| `kid` as a path, a query, another client's key | unit test_client_auth; below |
| encrypted and compressed tokens, huge ones | unit jose/test_wycheproof_others; below |
| a client's assertion used again, of another client | unit test_client_auth, test_fapi2, test_jwt_bearer |
| consent given by another site | unit signing_in/test_forms, test_authorize, test_device; below |
| signed in as somebody else by another site | unit signing_in/test_signin, signing_in/test_forms |
| metadata that follows `Host` | unit test_client_credentials, test_issuer; below |
| a stolen token with the thief's own certificate | test_issuer_mtls |
| one `sub` of two issuers; a client and a person of one name | below |
| a device's code guessed, or a link to it sent | unit test_device |
| somebody signed out by another site | unit test_authorize; test_mod_auth_openidc (a forged farewell) |
"""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.desk import BACK, CONFIG, Asking, Desk, running, settled
from tests.integration.person import Person, parameters
from tests.unit.issuer.desk import claims_of
from tests.unit.jose.material import b64, ec, forge, public, sign

pytestmark = pytest.mark.integration

OUTSIDE = "https://login.example.org"
IDENTITY = """identity:
  issuers:
    - issuer: https://login.example.org
      audience: things
      algorithms: [ES256]
      jwks: outside.json
      roles: {from: roles, map: {caller: caller}}
"""
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "node").mkdir()
    (folder / "node" / "outside.json").write_text(public(ec("outside")))
    with running(folder, CONFIG, IDENTITY) as desk:
        settled(time.monotonic())
        yield desk


@pytest.fixture(scope="module")
def alice(desk: Desk) -> Iterator[Person]:
    somebody = desk.person("alice")
    yield somebody
    somebody.close()


@pytest.fixture(scope="module")
def web(desk: Desk) -> dict[str, Any]:
    grants = ("--grant", "authorization_code", "--grant", "refresh_token")
    return desk.client("web", *grants, "--redirect-uri", BACK, "--scope", "openid", "--scope", "things.read")


@pytest.fixture(scope="module")
def signer(desk: Desk) -> dict[str, Any]:
    file = desk.node.folder / "signer.json"
    file.write_text(public(ec("signer")))
    grants = ("--grant", "client_credentials", "--grant", "authorization_code", "--redirect-uri", BACK)
    return desk.client("signer", *grants, "--scope", "openid", "--auth", "private_key_jwt", "--jwks", str(file))


# -- tokens that are not what they should be, at every place that reads one


def places(desk: Desk, web: dict[str, Any], signer: dict[str, Any]) -> dict[str, Callable[[str], httpx.Response]]:
    own = {"grant_type": "client_credentials"}
    asked = {"response_type": "code", "client_id": signer["client_id"]}
    return {
        "client assertion": lambda text: desk.post(
            "/oauth/token", {**own, "client_assertion_type": ASSERTION, "client_assertion": text}
        ),
        "request object": lambda text: desk.http.get(f"{desk.url}/oauth/authorize", params={**asked, "request": text}),
        "id_token_hint": lambda text: desk.http.get(
            desk.metadata()["end_session_endpoint"], params={"id_token_hint": text}
        ),
        "proof": lambda text: desk.post("/oauth/token", own, web, {"dpop": text}),
        "token at a route": lambda text: desk.http.get(
            f"{desk.url}/things", headers={"authorization": f"Bearer {text}"}
        ),
        "token at userinfo": lambda text: desk.http.get(
            f"{desk.url}/oauth/userinfo", headers={"authorization": f"Bearer {text}"}
        ),
    }


def bomb(segments: int) -> str:
    """Eight KiB that would be eight MiB."""
    packed = b64(zlib.compress(b"\0" * 8_000_000, 9)[2:-4])
    header = b64(json.dumps({"alg": "dir", "enc": "A256GCM", "zip": "DEF", "kid": "signer"}).encode())
    between = ["", b64(b"i" * 12)] if segments == 5 else []
    return ".".join([header, *between, packed, b64(b"t" * 16)])


def evil(signer: dict[str, Any], **header: Any) -> str:
    """An assertion as the client makes it, but for its header and who signs it."""
    now, name = int(time.time()), signer["client_id"]
    claims = {"iss": name, "sub": name, "aud": "x", "iat": now, "exp": now + 60, "jti": str(time.time_ns())}
    return forge({"alg": "ES256", "kid": "signer", **header}, json.dumps(claims).encode(), ec("evil"), "ES256").decode()


def refused(answer: httpx.Response) -> bool:
    """Nothing is given, nobody is sent anywhere, and it was no fault of ours."""
    return 400 <= answer.status_code < 500 or answer.headers.get("location", "").find("error=") > 0


@pytest.mark.parametrize("segments", [3, 5])
def test_compressed_and_encrypted_tokens_are_refused_everywhere(
    desk: Desk, web: dict[str, Any], signer: dict[str, Any], segments: int
) -> None:
    """That nothing is unpacked is shown in unit jose/test_wycheproof_others."""
    before = Counter(desk.refusals(endpoint="/oauth/token"))
    for place, send in places(desk, web, signer).items():
        answer = send(bomb(segments))
        assert refused(answer), (place, answer.status_code, answer.text)
    said = list(Counter(desk.refusals(endpoint="/oauth/token")) - before)
    assert len(said) == 2, "of the assertion and of the proof"
    if segments == 5:
        assert any("a signed token has three segments" in why for why in said), said


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"jwk": ec("evil").as_dict(private=False)}, "header"),
        ({"jku": "https://evil.example.com/jwks"}, "header"),
        ({"x5u": "https://evil.example.com/cert"}, "header"),
        ({"x5c": ["AAAA"]}, "header"),
        ({"crit": ["exp"]}, "header"),
        ({"kid": "../../../../dev/null"}, "key-unknown"),
        ({"kid": "' OR 1=1 --"}, "key-unknown"),
        ({"kid": "https://evil.example.com/jwks"}, "key-unknown"),
        ({}, "signature"),
    ],
)
def test_nobody_brings_a_key_of_his_own(
    desk: Desk, web: dict[str, Any], signer: dict[str, Any], header: dict[str, Any], why: str
) -> None:
    token = evil(signer, **header)
    at = places(desk, web, signer)
    before = Counter(desk.refusals(endpoint="/oauth/token"))
    assert at["client assertion"](token).status_code == 401
    (said,) = Counter(desk.refusals(endpoint="/oauth/token")) - before
    assert why in said
    for place in ("request object", "id_token_hint", "token at a route", "token at userinfo"):
        assert refused(at[place](token)), place


# -- consent


def test_another_site_gives_no_consent(desk: Desk, alice: Person, web: dict[str, Any]) -> None:
    asked = Asking(web, prompt="consent")
    where = alice.visit(asked.url(desk))
    if "/oauth/signin" in where:
        alice.submit("/oauth/signin/password", name=alice.name, password=alice.password)
    page, url = alice.page, alice.url
    assert "/authorize/consent" in page
    own = dict(alice.client.headers)
    for forged in (
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        alice.client.headers.update(forged)
        alice.submit("/authorize/consent", decision="allow")
        assert alice.url.startswith(desk.url), forged
        alice.client.headers.update({name: own[name] for name in forged})
        alice.page, alice.url = page, url
    for token in ("", "made up"):
        alice.submit("/authorize/consent", decision="allow", csrf=token)
        assert alice.url.startswith(desk.url), token
        alice.page, alice.url = page, url
    assert {"form origin", "form token"} <= set(desk.refusals(endpoint="/oauth/authorize/consent"))
    assert "code" in parameters(alice.submit("/authorize/consent", decision="allow")), "her own form is taken"


# -- names


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "evil.example.com"},
        {"x-forwarded-host": "evil.example.com"},
        {"forwarded": "host=evil.example.com;proto=http"},
        {"x-forwarded-proto": "http", "x-forwarded-port": "81"},
        {"x-original-url": "/evil", "x-rewrite-url": "/evil"},
    ],
)
def test_nothing_of_a_call_is_in_the_metadata(desk: Desk, fields: dict[str, str]) -> None:
    for path in ("openid-configuration", "oauth-authorization-server", "oauth-protected-resource"):
        honest = desk.http.get(f"{desk.url}/.well-known/{path}")
        answer = desk.http.get(f"{desk.url}/.well-known/{path}", headers=fields)
        assert "evil" not in answer.text + str(answer.headers)
        assert answer.status_code >= 400 or answer.json() == honest.json()


def outside(sub: str, **claims: Any) -> str:
    now = int(time.time())
    stated = {"iss": OUTSIDE, "sub": sub, "aud": "things", "iat": now, "exp": now + 300, "roles": ["caller"], **claims}
    return sign({"alg": "ES256", "kid": "outside", "typ": "JWT"}, json.dumps(stated).encode(), ec("outside")).decode()


def test_one_name_with_two_issuers_and_of_a_person_and_a_client_are_four(
    desk: Desk, alice: Person, web: dict[str, Any]
) -> None:
    namesake = desk.client("alice", "--role", "caller")
    program = desk.post("/oauth/token", {"grant_type": "client_credentials"}, namesake).json()["access_token"]
    asked = Asking(web, "openid things.read")
    hers = desk.post("/oauth/token", asked.exchange(asked.code(desk, alice)), web).json()["access_token"]
    sub = claims_of(hers)["sub"]
    tokens = [program, hers, outside("alice"), outside(sub)]
    assert [desk.call(token) for token in tokens] == [200] * 4
    said = {row["principal"] for row in desk.node.query("--limit", "100") if row["resource"] == "/things"}
    assert {
        "service:interlock/alice",
        "user:interlock/alice",
        "user:login.example.org/alice",
        f"user:login.example.org/{sub}",
    } <= said
    claimed = outside("eve", principal="user:interlock/alice", roles=["interlock:admin"])
    assert desk.call(claimed) == 403, "what it says of principals and roles of ours counts for nothing"
    desk.node.cli("revoke", "principal", "user:interlock/alice")
    assert [desk.call(token) for token in tokens] == [200, 401, 200, 200]
    told = desk.post("/oauth/introspect", {"token": outside("alice")}, web).json()
    assert told == {"active": False}, "what others issued is nothing that we know"


def test_a_code_in_the_name_of_another_issuer_is_worth_nothing_here(desk: Desk, web: dict[str, Any]) -> None:
    """A client that was mixed up sends us what somebody else's server gave it (RFC 9207 section 1)."""
    asked = Asking(web)
    answer = desk.post("/oauth/token", asked.exchange("SplxlOBeZQQYbYS6WxSbIA"), web)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert "unknown or expired" in desk.refusals(endpoint="/oauth/token", error="invalid_grant")
