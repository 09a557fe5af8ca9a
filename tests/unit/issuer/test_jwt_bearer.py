"""Workloads with another issuer's word in place of a secret: RFC 7523 section 2.1, and who would like to be one."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.identity import RoleTable, TokenVerifier
from interlock.identity.handles import issuer_handle, token_handle
from interlock.issuer.http import Response
from interlock.jose.signing import Signer, make_key
from interlock.model import Event, Identity, Principal, Reason, Refusal
from tests.unit.issuer.desk import URL, Desk, claims_of, told
from tests.unit.issuer.outsiders import OUTSIDE, WORKLOAD, Outside
from tests.unit.jose.material import ec

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def outside(desk: Desk) -> Outside:
    made = Outside(desk)
    desk.issuer.asserted = made.verifier
    desk.client(
        "ci",
        token_endpoint_auth_method="none",
        grant_types=(GRANT,),
        roles=("deployer",),
        scopes=("deploy", "openid"),
        assertion_issuer=OUTSIDE,
        assertion_subjects=(WORKLOAD,),
    )
    return made


def ask(desk: Desk, assertion: str, client_id: str = "ci", **form: str) -> Response:
    form = {"grant_type": GRANT, "client_id": client_id, "assertion": assertion, **form}
    return desk.send("POST", "/oauth/token", form=form)


def test_a_workload_is_its_client_and_nobody_else(desk: Desk, outside: Outside) -> None:
    answer = ask(desk, outside.token(roles=["interlock:admin"], scope="everything", principal="user:interlock/root"))
    assert answer.status == 200
    token = told(answer)["access_token"]
    identity = desk.verifier([URL]).verify(token.encode(), desk.clock.wall())
    assert isinstance(identity, Identity)
    assert identity.principal == Principal("service", "interlock", "ci")
    assert identity.roles == {"deployer"}, "roles are the client's, whatever the assertion says"
    assert identity.scopes == {"deploy"}
    assert claims_of(token)["sub"] == "ci"
    assert desk.record.of(Event.TOKEN_ISSUE)[0]["origin"].startswith("outside-")


def test_an_assertion_is_good_once(desk: Desk, outside: Outside) -> None:
    assertion = outside.token()
    assert ask(desk, assertion).status == 200
    assert told(ask(desk, assertion))["error"] == "invalid_grant"
    unnamed = outside.token(jti=...)
    assert ask(desk, unnamed).status == 200
    assert told(ask(desk, unnamed))["error"] == "invalid_grant", "also without a jti"
    assert ask(desk, outside.token(jti=..., nonce="another")).status == 200, "two without one are two"


def test_a_failing_try_does_not_spend_it(desk: Desk, outside: Outside) -> None:
    assertion = outside.token()
    assert told(ask(desk, assertion, scope="admin"))["error"] == "invalid_scope"
    assert ask(desk, assertion).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "repo:evil/app:ref:refs/heads/main"},
        {"sub": WORKLOAD + "x"},
        {"sub": WORKLOAD.upper()},
        {"iss": "https://ci.example.org.evil.example"},
        {"aud": "https://other.example"},
        {"aud": [URL, "https://other.example"]},
        {"aud": ...},
        {"exp": 1},
        {"exp": 1_800_000_000 + 7200},
        {"exp": ...},
        {"nbf": 1_800_000_000 + 60},
        {"iat": 1_800_000_000 + 60},
    ],
    ids=str,
)
def test_what_is_not_for_us_of_them_and_of_now_is_refused(desk: Desk, outside: Outside, claims: dict[str, Any]) -> None:
    answer = ask(desk, outside.token(**claims))
    assert answer.status == 400
    assert told(answer) == {"error": "invalid_grant", "error_description": "the assertion is not good"}


def test_forged_and_foreign_assertions_are_refused(desk: Desk, outside: Outside) -> None:
    assert told(ask(desk, outside.token(ec("ec", "P-384"), header={"alg": "ES384"})))["error"] == "invalid_grant"
    none = outside.token().split(".")
    assert told(ask(desk, f"eyJhbGciOiJub25lIn0.{none[1]}."))["error"] == "invalid_grant"
    assert told(ask(desk, "nonsense"))["error"] == "invalid_grant"
    own = desk.keys.signer.sign({"iss": URL, "sub": WORKLOAD, "aud": URL, "exp": 1_800_000_100}, "JWT")
    assert told(ask(desk, own))["error"] == "invalid_grant", "our own word about others is none"
    stranger = Signer(make_key("ES256"), "ES256").sign({"iss": OUTSIDE, "sub": WORKLOAD, "aud": URL}, "JWT")
    assert told(ask(desk, stranger))["error"] == "invalid_grant"
    desk.issuer.asserted = None
    assert told(ask(desk, outside.token()))["error"] == "invalid_grant", "the file does not say so"


def test_another_client_is_not_spoken_for(desk: Desk, outside: Outside) -> None:
    desk.client("other", token_endpoint_auth_method="none", grant_types=(GRANT,))
    desk.client("plain", token_endpoint_auth_method="none", assertion_issuer=OUTSIDE, assertion_subjects=(WORKLOAD,))
    assert told(ask(desk, outside.token(), "other"))["error"] == "invalid_grant", "no mapping at all"
    assert told(ask(desk, outside.token(), "plain"))["error"] == "unauthorized_client", "not its grant"
    assert ask(desk, outside.token(), "nobody").status == 401


def test_another_issuer_speaks_for_nobody_of_the_same_name(desk: Desk, outside: Outside) -> None:
    other = Outside(desk, "https://other.example.org")
    desk.issuer.asserted = TokenVerifier([outside.spec, other.spec], RoleTable({}), desk.directory, lambda _name: None)
    assert told(ask(desk, other.token()))["error"] == "invalid_grant"
    assert ask(desk, outside.token()).status == 200


def test_a_client_with_a_credential_still_needs_it(desk: Desk, outside: Outside) -> None:
    desk.client("both", grant_types=(GRANT,), assertion_issuer=OUTSIDE, assertion_subjects=(WORKLOAD,))
    assert ask(desk, outside.token(), "both").status == 401
    assert desk.token("both", grant_type=GRANT, assertion=outside.token()).status == 200


def test_the_token_ends_with_the_assertion_and_is_refused_with_it(desk: Desk, outside: Outside) -> None:
    answer = told(ask(desk, outside.token(exp=desk.clock.wall() // 10**9 + 40)))
    assert answer["expires_in"] == 40
    token = told(ask(desk, outside.token(jti="one")))["access_token"].encode()
    other = told(ask(desk, outside.token(jti="two")))["access_token"].encode()
    workers = desk.verifier([URL])
    assert isinstance(workers.verify(token, desk.clock.wall()), Identity)
    desk.directory.revoke(token_handle(OUTSIDE, "one"))
    found = workers.verify(token, desk.clock.wall())
    assert isinstance(found, Refusal)
    assert found.reason is Reason.CREDENTIAL_REVOKED
    assert isinstance(workers.verify(other, desk.clock.wall()), Identity)
    desk.directory.revoke(issuer_handle(OUTSIDE))
    assert isinstance(workers.verify(other, desk.clock.wall()), Refusal), "with the whole issuer"


def test_under_fapi2_the_client_authenticates_as_well(desk: Desk, outside: Outside) -> None:
    desk.issuer.settings = desk.settings.model_copy(update={"profile": "fapi2"})
    assert ask(desk, outside.token()).status == 401


def test_keys_that_are_not_there_are_waited_for(desk: Desk, outside: Outside) -> None:
    stale = Outside(desk, jwks="", jwks_ns=1)
    desk.issuer.asserted = stale.verifier
    answer = ask(desk, outside.token())
    assert (answer.status, told(answer)["error"]) == (503, "temporarily_unavailable")
