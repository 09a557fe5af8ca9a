"""`issuer.profile: fapi2`: FAPI 2.0 Security Profile (final), section 5.3.2.1, clause by clause at the token endpoint.

1 metadata, 2 no passwords, 3 confidential clients, 4 and 5 sender-constrained tokens, 6 how clients authenticate,
8 the audience of their assertions, 9 no rotation, 13 clocks; section 5.4.1 algorithms. Clauses 7, 11 and 12 are of the
authorization endpoint and its codes (`test_authorize.py`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from interlock.clock import SECOND
from interlock.config import OwnIssuer
from interlock.control.issuer_outside import OutsideIssuers
from interlock.issuer import refresh_tokens
from interlock.issuer.client_auth import ASSERTION_TYPE
from interlock.issuer.http import Response
from interlock.jose import split
from interlock.jose.signing import encode_base64url
from interlock.model import Identity, Refusal
from interlock.store.clients import Grant
from tests.unit.issuer.desk import NOW, URL, Desk, claims_of, told
from tests.unit.issuer.outsiders import OUTSIDE, Outside, with_proofs
from tests.unit.issuer.test_device import GRANT as DEVICE
from tests.unit.issuer.test_jwt_bearer import GRANT as JWT_BEARER
from tests.unit.issuer.test_token_exchange import GRANT as EXCHANGE
from tests.unit.issuer.test_token_exchange import TOKEN, alice
from tests.unit.jose.material import ec, ed, public, rsa, sign

TOKENS = "/oauth/token"
CERTIFICATE = b"a certificate in DER"


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path, profile="fapi2")
    with_proofs(made)
    bank(made)
    yield made
    made.state.close()


def bank(desk: Desk, client_id: str = "bank", key: Any = None, **fields: Any) -> None:
    jwks = json.loads(public(key or ec()))
    values = {
        "grant_types": ("client_credentials", "refresh_token", EXCHANGE),
        "scopes": ("read",),
        "resources": (URL,),
    }
    desk.client(client_id, token_endpoint_auth_method="private_key_jwt", jwks=jwks, **{**values, **fields})


def assertion(desk: Desk, client_id: str = "bank", key: Any = None, alg: str = "ES256", **claims: Any) -> str:
    now = desk.clock.wall() // SECOND
    serial = desk.__dict__.setdefault("serial", [])
    serial.append(0)
    stated = {"iss": client_id, "sub": client_id, "aud": URL, "iat": now, "exp": now + 60, "jti": f"j{len(serial)}"}
    stated = {name: value for name, value in {**stated, **claims}.items() if value is not ...}
    signing = key or ec()
    return sign({"alg": alg, "kid": signing.kid, "typ": "JWT"}, json.dumps(stated).encode(), signing).decode()


def proof(alg: str = "ES256", key: Any = None) -> str:
    """One with a real header; whether it holds is not looked at here (`with_proofs`)."""
    signing = key or ec("proof")
    header = {"alg": alg, "typ": "dpop+jwt", "jwk": signing.as_dict(private=False)}
    return sign(header, b"{}", signing).decode()


def ask(
    desk: Desk, text: str | None = None, *, dpop: str = "", certificate: bytes = CERTIFICATE, **form: str
) -> Response:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": text or assertion(desk),
        **form,
    }
    headers = {"dpop": dpop} if dpop else {}
    return desk.send("POST", TOKENS, form=form, headers=headers, certificate=certificate)


def error(answer: Response) -> str:
    return str(told(answer)["error"])


def test_1_the_metadata_says_what_holds(desk: Desk) -> None:
    for where in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
        found = told(desk.send("GET", where))
        methods = {"private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"}
        assert set(found["token_endpoint_auth_methods_supported"]) == methods
        algorithms = {"PS256", "ES256", "EdDSA", "Ed25519"}
        assert set(found["token_endpoint_auth_signing_alg_values_supported"]) == algorithms
        assert set(found["dpop_signing_alg_values_supported"]) <= algorithms
        assert found["require_pushed_authorization_requests"] is True
        assert found["tls_client_certificate_bound_access_tokens"] is True
        assert "password" not in found["grant_types_supported"]


def test_2_there_is_no_password_grant(desk: Desk) -> None:
    assert error(ask(desk, grant_type="password", username="a", password="b")) == "unsupported_grant_type"


def test_3_public_clients_get_nothing_by_any_grant(desk: Desk) -> None:
    grants = ("client_credentials", "refresh_token", "authorization_code", EXCHANGE, DEVICE, JWT_BEARER)
    desk.client("app", token_endpoint_auth_method="none", grant_types=grants)
    for grant in grants:
        form = {"grant_type": grant, "client_id": "app"}
        answer = desk.send("POST", TOKENS, form=form, certificate=CERTIFICATE, headers={"dpop": proof()})
        assert (answer.status, error(answer)) == (401, "invalid_client"), grant
    for path in ("/oauth/device_authorization", "/oauth/par", "/oauth/revoke", "/oauth/introspect"):
        answer = desk.send("POST", path, form={"client_id": "app", "token": "x"}, certificate=CERTIFICATE)
        assert error(answer) == "invalid_client", path


def test_4_no_token_is_issued_that_is_not_bound(desk: Desk) -> None:
    assert error(ask(desk, certificate=b"")) == "invalid_request"
    exchange = {"grant_type": EXCHANGE, "subject_token": alice(desk, audience=(URL,)), "subject_token_type": TOKEN}
    assert error(ask(desk, certificate=b"", **exchange)) == "invalid_request"
    assert "cnf" in claims_of(told(ask(desk, **exchange))["access_token"])


def test_5_it_is_bound_to_a_certificate_or_to_a_proof(desk: Desk) -> None:
    digest = encode_base64url(hashlib.sha256(CERTIFICATE).digest())
    by_certificate = told(ask(desk))
    assert claims_of(by_certificate["access_token"])["cnf"] == {"x5t#S256": digest}
    shown = proof()
    by_proof = told(ask(desk, certificate=b"", dpop=shown))
    assert by_proof["token_type"] == "DPoP"
    assert claims_of(by_proof["access_token"])["cnf"] == {
        "jkt": encode_base64url(hashlib.sha256(shown.encode()).digest())
    }


def test_6_a_secret_authenticates_nobody(desk: Desk) -> None:
    desk.client("old")
    answer = desk.send(
        "POST", TOKENS, form={"grant_type": "client_credentials"}, basic=("old", "ils_secret-of-the-client")
    )
    assert (answer.status, error(answer)) == (401, "invalid_client")
    form = {"grant_type": "client_credentials", "client_id": "old", "client_secret": "ils_secret-of-the-client"}
    assert error(desk.send("POST", TOKENS, form=form, certificate=CERTIFICATE)) == "invalid_client"


def test_8_an_assertion_is_for_the_issuer_as_a_string(desk: Desk) -> None:
    assert ask(desk).status == 200
    for audience in (
        [URL],
        [URL, "https://other.example"],
        f"{URL}{TOKENS}",
        f"{URL}/oauth/par",
        f"{URL}/",
        [],
        ...,
        1,
    ):
        answer = ask(desk, assertion(desk, aud=audience))
        assert (answer.status, error(answer)) == (401, "invalid_client"), audience


def test_9_refresh_tokens_are_not_rotated_and_go_on_while_they_are_used(desk: Desk) -> None:
    grant = Grant(
        id="", client_id="bank", principal="user:interlock/alice", created=0, expires=0, current=b"",
        subject="usr-alice", scopes=("read",), audience=(URL,), certificate=hashlib.sha256(CERTIFICATE).digest(),
    )  # fmt: skip
    kept, text = refresh_tokens.begin(desk.issuer, grant, desk.clock.wall(), refresh=True)
    for _ in range(3):
        desk.clock.pass_seconds(20 * 86_400)
        answer = ask(desk, grant_type="refresh_token", refresh_token=text)
        assert answer.status == 200, answer.body
        assert told(answer)["refresh_token"] == text
        assert "cnf" in claims_of(told(answer)["access_token"])
    desk.clock.pass_seconds(31 * 86_400)
    assert error(ask(desk, grant_type="refresh_token", refresh_token=text)) == "invalid_grant", "it rested too long"
    assert kept.id


def test_9_it_is_nothing_for_another_client_or_without_possession(desk: Desk) -> None:
    grant = Grant(
        id="", client_id="bank", principal="user:interlock/alice", created=0, expires=0, current=b"", audience=(URL,),
        certificate=hashlib.sha256(CERTIFICATE).digest(),
    )  # fmt: skip
    _, text = refresh_tokens.begin(desk.issuer, grant, desk.clock.wall(), refresh=True)
    bank(desk, "other")
    other = assertion(desk, "other")
    assert error(ask(desk, other, grant_type="refresh_token", refresh_token=text)) == "invalid_grant"
    shown = proof()
    assert error(ask(desk, certificate=b"", dpop=shown, grant_type="refresh_token", refresh_token=text)) == (
        "invalid_grant"
    )
    assert ask(desk, grant_type="refresh_token", refresh_token=text).status == 200


def test_13_clocks_may_be_ten_seconds_apart(desk: Desk) -> None:
    now = desk.clock.wall() // SECOND
    assert ask(desk, assertion(desk, iat=now + 10, nbf=now + 10)).status == 200
    assert error(ask(desk, assertion(desk, iat=now + 61))) == "invalid_client"
    assert error(ask(desk, assertion(desk, nbf=now + 61))) == "invalid_client"
    assert error(ask(desk, assertion(desk, exp=now - 11))) == "invalid_client"


@pytest.mark.parametrize(
    ("alg", "key", "fits"),
    [
        ("ES256", ec, True),
        ("PS256", rsa, True),
        ("EdDSA", ed, True),
        ("RS256", rsa, False),
        ("PS384", rsa, False),
        ("PS512", rsa, False),
        ("ES384", lambda: ec("ec384", "P-384"), False),
        ("ES512", lambda: ec("ec521", "P-521"), False),
        ("EdDSA", lambda: OKPKey.generate_key("Ed448", {"kid": "ed448"}), False),
    ],
    ids=["ES256", "PS256", "Ed25519", "RS256", "PS384", "PS512", "ES384", "ES512", "Ed448"],
)
def test_5_4_1_what_clients_sign_with(desk: Desk, alg: str, key: Any, fits: bool) -> None:
    signing = key()
    bank(desk, "signer", signing)
    answer = ask(desk, assertion(desk, "signer", signing, alg))
    assert answer.status == (200 if fits else 401)
    answer = ask(desk, certificate=b"", dpop=proof(alg, signing))
    assert answer.status == (200 if fits else 400)
    assert fits or error(answer) == "invalid_dpop_proof"


def test_5_4_1_what_we_sign_with(desk: Desk) -> None:
    token = told(ask(desk))["access_token"]
    assert split(token.encode()).header["alg"] == "ES256"


def test_5_4_1_what_outside_issuers_sign_with(desk: Desk) -> None:
    outside = Outside(desk, algorithms=["RS256", "ES256"], jwks=public(ec(), rsa()))
    known = OutsideIssuers(desk.directory, lambda _issuer: None)
    for profile, taken in ((None, True), ("fapi2", False)):
        settings = OwnIssuer.model_validate({"url": URL, "assertions": [OUTSIDE], "profile": profile})
        unnamed = Outside(desk, "https://unnamed.example.org")
        known.configure(settings, [outside.spec, unnamed.spec])
        assert isinstance(known.asserted.verify(unnamed.token().encode(), NOW), Refusal), "the file does not name it"
        found = known.asserted.verify(outside.token(rsa(), {"alg": "RS256"}, jti=f"r-{profile}").encode(), NOW)
        assert isinstance(found, Identity) is taken, profile
        strong = known.asserted.verify(outside.token(jti=f"e-{profile}").encode(), NOW)
        assert isinstance(strong, Identity)
        nobody = known.exchanged.verify(outside.token(jti=f"x-{profile}").encode(), NOW)
        assert isinstance(nobody, Refusal), "the file names it for assertions only"
