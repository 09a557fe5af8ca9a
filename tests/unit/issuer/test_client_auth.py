"""Who a client is: every way to say it, and every way to say it wrongly (RFC 6749 section 2.3, RFC 7523, RFC 8705)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from interlock.clock import SECOND
from interlock.issuer.client_auth import ASSERTION_TYPE
from interlock.issuer.http import Response
from interlock.jose.signing import Signer, make_key
from interlock.model import Event
from tests.unit.issuer.desk import NOW, SECRET, URL, Desk, header, told

TOKEN = "/oauth/token"
GRANT = {"grant_type": "client_credentials"}


def error(response: Response) -> tuple[int, str]:
    return response.status, told(response).get("error", "")


REFUSED = (401, "invalid_client")


# -- Basic (RFC 6749 section 2.3.1, RFC 7617)


def basic(desk: Desk, value: str, **form: str) -> Response:
    return desk.send("POST", TOKEN, form={**GRANT, **form}, headers={"authorization": value})


def encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.b64encode(raw).decode()


def test_both_halves_are_form_encoded(desk: Desk) -> None:
    desk.client()
    quoted = "".join(f"%{byte:02X}" for byte in SECRET.encode())
    for value in (f"billing:{SECRET}", f"%62illing:{SECRET}", f"billing:{quoted}"):
        assert basic(desk, f"Basic {encoded(value)}").status == 200
    assert basic(desk, f"bAsIc {encoded(f'billing:{SECRET}')}").status == 200
    assert basic(desk, f"Basic   {encoded(f'billing:{SECRET}')}").status == 200


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic ",
        "Basic =",
        "Basic ====",
        f"Basic {encoded('billing')}",
        f"Basic {encoded('')}",
        f"Basic {encoded(':')}",
        f"Basic {encoded(f':{SECRET}')}",
        f"Basic {encoded('billing:')}",
        f"Basic {encoded(f'billing:{SECRET} ')}",
        f"Basic {encoded(f' billing:{SECRET}')}",
        f"Basic {encoded(f'billing:{SECRET}:')}",
        f"Basic {encoded(f'billing:{SECRET}')[:-1]}",
        f"Basic {encoded(f'billing:{SECRET}')}=",
        f"Basic {encoded(f'billing:{SECRET}')}AAAA",
        f"Basic {encoded(f'billing:{SECRET}')} x",
        f"Basic\t{encoded(f'billing:{SECRET}')}",
        f"Basic {encoded(f'billing:{SECRET}')}, Basic {encoded(f'billing:{SECRET}')}",
        f"Basic {encoded(f'billing:{SECRET}'.encode() + bytes(1))}",
        f"Basic {encoded(bytes(1) + f'billing:{SECRET}'.encode())}",
        f"Basic {encoded(f'billing%00:{SECRET}')}",
        f"Basic {encoded(b'billing:' + bytes([255, 254]))}",
        f"Basic {encoded('billing:%FF%FE')}",
        f"Basic {encoded('billing:' + chr(0xFFFD))}",
        f"Basic {encoded('b' * 30_000)}",
        f"Basic {encoded('billing:' + 's' * 1_000_000)}",
        "Basic \u00e9\u00e9\u00e9\u00e9",
        f"Bearer {SECRET}",
        f"Digest {encoded(f'billing:{SECRET}')}",
        SECRET,
    ],
)
def test_what_is_no_credential_is_refused_with_a_challenge(desk: Desk, value: str) -> None:
    desk.client()
    answer = basic(desk, value)
    assert error(answer) == REFUSED
    assert header(answer, "www-authenticate").startswith("Basic "), "RFC 6749 section 5.2"
    assert SECRET not in str(desk.record.acts)
    assert SECRET.encode() not in answer.body


def test_base64_has_one_spelling(desk: Desk) -> None:
    """The last letter of one that is padded has bits that count for nothing: two spellings, one credential."""
    desk.client("bill")
    value = encoded(f"bill:{SECRET}")
    assert value.endswith("=")
    assert basic(desk, f"Basic {value}").status == 200
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(value.rstrip("=")) - 1
    other = value[:at] + letters[letters.index(value[at]) + 1] + value[at + 1 :]
    assert base64.b64decode(other, validate=True) == base64.b64decode(value)
    assert error(basic(desk, f"Basic {other}")) == REFUSED


def test_a_client_id_beside_the_header_is_the_same_one(desk: Desk) -> None:
    desk.client()
    desk.client("other")
    assert basic(desk, f"Basic {encoded(f'billing:{SECRET}')}", client_id="billing").status == 200
    assert error(basic(desk, f"Basic {encoded(f'billing:{SECRET}')}", client_id="other")) == (400, "invalid_request")


# -- in the body


def post(desk: Desk, **form: str) -> Response:
    return desk.send("POST", TOKEN, form={**GRANT, **form})


def test_a_secret_in_the_body(desk: Desk) -> None:
    desk.client()
    assert post(desk, client_id="billing", client_secret=SECRET).status == 200
    for form in (
        {"client_id": "billing", "client_secret": SECRET[:-1]},
        {"client_id": "billing", "client_secret": SECRET + "\0"},
        {"client_id": "billing", "client_secret": "x" * 900_000},
        {"client_id": "Billing", "client_secret": SECRET},
        {"client_id": "nobody", "client_secret": SECRET},
        {"client_secret": SECRET},
    ):
        assert error(post(desk, **form)) == REFUSED


def test_a_secret_in_the_query_is_none(desk: Desk) -> None:
    """RFC 6749 section 2.3.1: it MUST NOT be in the URI, which is logged everywhere."""
    desk.client()
    answer = desk.send("POST", TOKEN, form=GRANT, query={"client_id": "billing", "client_secret": SECRET})
    assert error(answer) == REFUSED


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({**GRANT, "client_id": "billing", "client_secret": SECRET}).encode()),
        ("text/plain", f"grant_type=client_credentials&client_id=billing&client_secret={SECRET}".encode()),
        ("", f"grant_type=client_credentials&client_id=billing&client_secret={SECRET}".encode()),
        ("application/x-www-form-urlencoded", b"grant_type=client_credentials&client_id=billing&client_secret=\xff"),
        ("application/x-www-form-urlencoded", b"grant_type=client_credentials&client_id=billing&client_secret=%ff"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(1000))),
    ],
)
def test_what_is_no_form_is_no_request(desk: Desk, kind: str, body: bytes) -> None:
    desk.client()
    answer = desk.send("POST", TOKEN, headers={"content-type": kind} if kind else {}, body=body)
    assert error(answer) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "x"])
def test_no_parameter_comes_twice(desk: Desk, name: str) -> None:
    desk.client()
    body = f"grant_type=client_credentials&client_id=billing&client_secret={SECRET}&x=1&{name}=1"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = desk.send("POST", TOKEN, headers=kind, body=body.encode())
    assert error(answer) == (400, "invalid_request")
    assert name not in told(answer).get("error_description", "").split(), "what was sent is not sent back"


# -- one method


def test_two_methods_are_refused_whatever_they_are(desk: Desk) -> None:
    client = Assertions(desk)
    desk.client("app", token_endpoint_auth_method="none", grant_types=("refresh_token",))
    ways: dict[str, dict[str, str]] = {
        "basic": {"authorization": f"Basic {encoded(f'billing:{SECRET}')}"},
        "post": {"client_id": "billing", "client_secret": SECRET},
        "assertion": {"client_assertion_type": ASSERTION_TYPE, "client_assertion": client.made()},
    }
    desk.client()
    for one in ways:
        for other in ways:
            if one == other:
                continue
            both = {**ways[one], **ways[other]}
            head = {"authorization": both.pop("authorization")} if "authorization" in both else {}
            answer = desk.send("POST", TOKEN, form={**GRANT, **both}, headers=head)
            assert error(answer) == (400, "invalid_request"), (one, other)


def test_a_client_authenticates_as_it_is_registered_and_not_otherwise(desk: Desk) -> None:
    client = Assertions(desk)
    assert error(post(desk, client_id="signer", client_secret=SECRET)) == REFUSED
    assert error(post(desk, client_id="signer")) == REFUSED
    desk.client()
    assert error(post(desk, client_id="billing")) == REFUSED
    assert error(client.ask(sub="billing", iss="billing")) == REFUSED, "it has a secret, not keys"


def test_a_public_client_with_a_secret_is_refused(desk: Desk) -> None:
    desk.client("app", token_endpoint_auth_method="none", grant_types=("authorization_code", "refresh_token"))
    form = {"grant_type": "refresh_token", "refresh_token": "ilr_x", "client_id": "app"}
    assert error(desk.send("POST", TOKEN, form=form)) == (400, "invalid_grant"), "it is known by its id"
    assert error(desk.send("POST", TOKEN, form={**form, "client_secret": SECRET})) == REFUSED
    assert error(desk.send("POST", TOKEN, form=form, basic=("app", SECRET))) == REFUSED
    assert error(desk.send("POST", TOKEN, form=form, basic=("app", ""))) == REFUSED


def test_a_disabled_client_is_nobody(desk: Desk) -> None:
    client = Assertions(desk)
    for known in (desk.client(), client.client):
        desk.clients.change(known.client_id, disabled=desk.clock.wall())
    assert error(desk.token(grant_type="client_credentials")) == REFUSED
    assert error(client.ask()) == REFUSED
    unknown = desk.token("nobody", grant_type="client_credentials")
    assert desk.token(grant_type="client_credentials").body == unknown.body


def test_the_record_names_the_client_that_somebody_claims_to_be_and_nothing_else(desk: Desk) -> None:
    desk.client()
    desk.token(secret="wrong", grant_type="client_credentials")
    post(desk, client_id="billing", client_secret="wrong")
    post(desk, client_id=SECRET, client_secret="billing")
    basic(desk, f"Basic {encoded(f'{SECRET}:billing')}")
    assert [act["client"] for act in desk.record.of(Event.TOKEN_REFUSED)] == ["billing", "billing", "", ""]
    assert SECRET not in str(desk.record.acts)


# -- private_key_jwt (RFC 7523 section 3, OpenID Connect Core section 9)


class Assertions:
    """A client that signs, and what it can be made to sign."""

    def __init__(self, desk: Desk, client_id: str = "signer", **fields: Any) -> None:
        self.desk = desk
        self.signer = Signer(make_key("ES256"), "ES256")
        self.client = desk.client(
            client_id,
            **{"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [self.signer.jwk]}, **fields},
        )
        self.number = 0

    def claims(self, **changed: Any) -> dict[str, Any]:
        self.number += 1
        seconds = self.desk.clock.wall() // SECOND
        claims: dict[str, Any] = {
            "iss": self.client.client_id,
            "sub": self.client.client_id,
            "aud": URL,
            "jti": f"{self.client.client_id}-{self.number}",
            "iat": seconds,
            "exp": seconds + 60,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def made(self, kind: str = "JWT", **changed: Any) -> str:
        return self.signer.sign(self.claims(**changed), kind)

    def send(self, assertion: str, **form: str) -> Response:
        asked = {**GRANT, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, **form}
        return self.desk.send("POST", TOKEN, form=asked)

    def ask(self, **changed: Any) -> Response:
        return self.send(self.made(**changed))


@pytest.fixture
def client(desk: Desk) -> Assertions:
    return Assertions(desk)


def test_a_client_that_signs_is_known(desk: Desk, client: Assertions) -> None:
    assert client.ask().status == 200
    assert client.send(client.made(), client_id="signer").status == 200
    assert client.ask(kind="client-authentication+jwt").status == 200
    assert client.ask(iat=...).status == 200
    assert client.ask(nbf=NOW // SECOND).status == 200
    assert client.ask(aud=[URL]).status == 200
    for path in ("/oauth/token", "/oauth/par"):
        assert client.ask(aud=URL + path).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": ...},
        {"iss": ""},
        {"iss": "other"},
        {"iss": URL},
        {"iss": ["signer"]},
        {"sub": ...},
        {"sub": ""},
        {"sub": "nobody"},
        {"sub": ["signer"]},
        {"sub": {"signer": 1}},
        {"sub": 7},
        {"aud": ...},
        {"aud": ""},
        {"aud": []},
        {"aud": [[URL]]},
        {"aud": [URL, "https://other.example"]},
        {"aud": [URL, URL]},
        {"aud": f"{URL}/"},
        {"aud": URL.upper()},
        {"aud": f"{URL}/oauth/introspect"},
        {"aud": f"{URL}/oauth/authorize"},
        {"aud": "https://other.example"},
        {"aud": {"url": URL}},
        {"aud": None},
        {"exp": ...},
        {"exp": 0},
        {"exp": NOW // SECOND - 11},
        {"exp": NOW // SECOND + 3601},
        {"exp": NOW},
        {"exp": str(NOW // SECOND + 60)},
        {"exp": True},
        {"exp": None},
        {"exp": -1},
        {"iat": NOW // SECOND + 11},
        {"iat": "now"},
        {"iat": True},
        {"nbf": NOW // SECOND + 11},
        {"nbf": []},
        {"jti": ...},
        {"jti": ""},
        {"jti": 7},
        {"jti": ["a"]},
        {"jti": None},
    ],
    ids=str,
)
def test_every_claim_counts(desk: Desk, client: Assertions, changed: dict[str, Any]) -> None:
    assert error(client.ask(**changed)) == REFUSED
    assert desk.record.of(Event.TOKEN_ISSUE) == []


def test_leeway_is_that_of_the_profile(desk: Desk, client: Assertions) -> None:
    seconds = desk.clock.wall() // SECOND
    assert client.ask(exp=seconds - 9).status == 200
    assert client.ask(iat=seconds + 10, exp=seconds + 60).status == 200


def test_an_assertion_is_good_once(desk: Desk, client: Assertions) -> None:
    assertion = client.made()
    assert client.send(assertion).status == 200
    assert error(client.send(assertion)) == REFUSED
    desk.clock.pass_seconds(65)
    assert error(client.send(assertion)) == REFUSED, "expired, but for the leeway"


def test_the_same_jti_of_two_clients_is_two_names(desk: Desk, client: Assertions) -> None:
    other = Assertions(desk, "other")
    assert client.ask(jti="1").status == 200
    assert other.ask(jti="1").status == 200
    assert error(other.ask(jti="1")) == REFUSED


def test_a_refused_assertion_is_not_used_up(desk: Desk, client: Assertions) -> None:
    """Whoever breaks the signature of one that he has seen MUST NOT keep its owner out."""
    assertion = client.made()
    assert error(client.send(assertion[:-4] + "AAAA")) == REFUSED
    assert client.send(assertion).status == 200


def test_one_client_cannot_speak_for_another(desk: Desk, client: Assertions) -> None:
    other = Assertions(desk, "other")
    assert error(client.ask(sub="other", iss="other")) == REFUSED
    assert error(client.ask(sub="other")) == REFUSED
    assert error(client.ask(iss="other")) == REFUSED
    assert error(client.send(client.made(), client_id="other")) == REFUSED
    assert other.ask().status == 200


def test_what_is_signed_for_something_else_is_no_assertion(desk: Desk, client: Assertions) -> None:
    """A request object, a DPoP proof, an access token: a client's key signs other things, too."""
    for kind in ("oauth-authz-req+jwt", "dpop+jwt", "at+jwt", "logout+jwt", "secevent+jwt"):
        assert error(client.ask(kind=kind)) == REFUSED


def test_a_request_object_of_the_same_type_is_no_assertion(desk: Desk, client: Assertions) -> None:
    """It has been in somebody's browser; libraries call both `JWT`, and some say `sub` in both."""
    for more in ({"response_type": "code"}, {"redirect_uri": "https://app.example.com/back"}):
        assert error(client.ask(client_id="signer", **more)) == REFUSED


def test_our_own_tokens_are_no_assertions(desk: Desk, client: Assertions) -> None:
    token = told(client.ask())["access_token"]
    assert error(client.send(token)) == REFUSED


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def taken_apart(head: bytes, claims: bytes) -> str:
    return f"{part(head)}.{part(claims)}.AAAA"


def test_none_is_no_algorithm(desk: Desk, client: Assertions) -> None:
    for name in ("none", "None", "NONE", "nOnE", "", None, 0):
        for end in ("", part(b"x")):
            forged = f"{part({'alg': name, 'typ': 'JWT'})}.{part(client.claims())}.{end}"
            assert error(client.send(forged)) == REFUSED


def test_a_public_key_is_no_shared_secret(desk: Desk) -> None:
    """The oldest attack: HS256 with what everybody may know."""
    private = rsa.generate_private_key(65537, 2048)
    jwk = RSAKey.import_key(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ).as_dict()
    client = Assertions(desk, "rsa", jwks={"keys": [jwk]})
    public = private.public_key()
    shapes = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).rstrip(b"\n"),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk).encode(),
        json.dumps({"keys": [jwk]}).encode(),
        str(jwk["n"]).encode(),
        b"",
    ]
    for name, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for secret in shapes:
            signed = f"{part({'alg': name, 'typ': 'JWT'})}.{part(client.claims())}"
            assert error(client.send(f"{signed}.{part(hmac.digest(secret, signed.encode(), digest))}")) == REFUSED


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA", "RS512", "RS384", "ES256K"])
def test_the_algorithm_is_one_of_the_list_and_fits_the_key(desk: Desk, algorithm: str) -> None:
    keys: dict[str, Any] = {
        "RS": RSAKey.generate_key(2048),
        "PS": RSAKey.generate_key(2048),
        "ES": ECKey.generate_key({"ES384": "P-384", "ES256K": "secp256k1"}.get(algorithm, "P-256")),
        "Ed": OKPKey.generate_key("Ed25519"),
    }
    key = keys[algorithm[:2]]
    client = Assertions(desk, "any", jwks={"keys": [key.as_dict(private=False)]})
    text = jwt.encode({"alg": algorithm, "typ": "JWT"}, client.claims(), key, algorithms=[algorithm])
    expected = 200 if algorithm in ("RS256", "PS256", "ES256", "ES384", "EdDSA") else 401
    assert client.send(text).status == expected


def test_a_client_may_be_held_to_one_algorithm(desk: Desk) -> None:
    key = RSAKey.generate_key(2048)
    client = Assertions(
        desk, "held", jwks={"keys": [key.as_dict(private=False)]}, token_endpoint_auth_signing_alg="PS256"
    )
    for algorithm, status in (("RS256", 401), ("PS256", 200)):
        text = jwt.encode({"alg": algorithm}, client.claims(), key, algorithms=[algorithm])
        assert client.send(text).status == status


def test_kid_is_a_name_among_the_client_s_own_keys(desk: Desk) -> None:
    first, second = Signer(make_key("ES256"), "ES256"), Signer(make_key("EdDSA"), "EdDSA")
    client = Assertions(desk, "two", jwks={"keys": [first.jwk, second.jwk]})
    for signer in (first, second):
        client.signer = signer
        assert client.ask().status == 200
    stranger = Signer(make_key("ES256"), "ES256")
    client.signer = stranger
    assert error(client.ask()) == REFUSED
    for kid in (first.kid, second.kid, "../../etc/passwd", "' OR 1=1 --", "\0", "", 7, None, [first.kid], "x" * 5000):
        stranger._headers.clear()
        stranger._headers["JWT"] = part({"alg": "ES256", "typ": "JWT", "kid": kid}).encode()
        assert error(client.ask()) == REFUSED, kid


def test_an_assertion_brings_no_key_of_its_own(desk: Desk, client: Assertions) -> None:
    thief = Signer(make_key("ES256"), "ES256")
    for extra in (
        {"jwk": thief.jwk},
        {"jku": "https://thief.example/keys"},
        {"x5u": "https://thief.example/chain"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"], "exp": 1},
        {"b64": False, "crit": ["b64"]},
    ):
        for signer, kid in ((thief, thief.kid), (thief, client.signer.kid), (client.signer, client.signer.kid)):
            head = {"alg": "ES256", "typ": "JWT", "kid": kid, **extra}
            signer._headers["JWT"] = part(head).encode()
            assert error(client.send(signer.sign(client.claims(), "JWT"))) == REFUSED, extra
    client.signer._headers.clear()
    assert client.ask().status == 200


@pytest.mark.parametrize(
    "assertion",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        "e30.e30.e30.e30.e30",
        "é" * 10,
        "x" * 17_000,
        taken_apart(b'{"alg":"ES256"}', b"{"),
        taken_apart(b'{"alg":"ES256"}', b"[]"),
        taken_apart(b'{"alg":"ES256"}', b'{"a":' * 500),
        taken_apart(b'{"alg":"ES256","alg":"none"}', b'{"sub":"signer"}'),
        taken_apart(b'{"alg":"ES256"}', b'{"sub":"signer","sub":"other"}'),
        taken_apart(b'{"alg":"ES256"}', b'{"sub":"\xed\xa0\x80"}'),
        taken_apart(b'{"alg":"ES256"}', b'{"sub":"\\ud800"}'),
    ],
)
def test_nonsense_is_refused_and_no_fault_of_ours(desk: Desk, client: Assertions, assertion: str) -> None:
    assert error(client.send(assertion)) == REFUSED


def test_the_type_of_an_assertion_is_said(desk: Desk, client: Assertions) -> None:
    for kind in ("", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", ASSERTION_TYPE.upper()):
        answer = client.send(client.made(), client_assertion_type=kind)
        assert error(answer) == (400, "invalid_request")
    only = desk.send("POST", TOKEN, form={**GRANT, "client_assertion_type": ASSERTION_TYPE})
    assert error(only) == REFUSED


def test_an_ecdsa_signature_has_one_form(desk: Desk, client: Assertions) -> None:
    """ASN.1 as libraries make it, truncated, of zeros (CVE-2022-21449): none of them is r and s of 32 bytes each."""
    signed = client.made().rpartition(".")[0]
    key = client.signer._key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    asn1 = key.sign(signed.encode(), ec.ECDSA(SHA256()))
    for signature in (asn1, bytes(64), b"\xff" * 64, bytes(63), bytes(65), b""):
        assert error(client.send(f"{signed}.{part(signature)}")) == REFUSED


# -- FAPI 2.0


def test_fapi2_takes_keys_and_certificates_only(tmp_path: Any) -> None:
    desk = Desk(tmp_path, profile="fapi2")
    desk.client()
    desk.client("app", token_endpoint_auth_method="none", grant_types=("refresh_token",))
    assert error(desk.token(grant_type="client_credentials")) == REFUSED
    assert error(post(desk, client_id="billing", client_secret=SECRET)) == REFUSED
    form = {"grant_type": "refresh_token", "refresh_token": "ilr_x", "client_id": "app"}
    assert error(desk.send("POST", TOKEN, form=form)) == REFUSED
    client = Assertions(desk)
    certificate = self_signed()
    asked = {**GRANT, "client_assertion_type": ASSERTION_TYPE}

    def send(**changed: Any) -> Response:
        form = {**asked, "client_assertion": client.made(**changed)}
        return desk.send("POST", TOKEN, form=form, certificate=der(certificate))

    assert send().status == 200
    assert error(send(aud=f"{URL}/oauth/token")) == REFUSED, "section 5.3.2.1: the issuer and nothing else"
    key = RSAKey.generate_key(2048)
    other = Assertions(desk, "rsa", jwks={"keys": [key.as_dict(private=False)]})
    text = jwt.encode({"alg": "RS256"}, other.claims(), key, algorithms=["RS256"])
    form = {**asked, "client_assertion": text}
    assert error(desk.send("POST", TOKEN, form=form, certificate=der(certificate))) == REFUSED
    desk.state.close()


# -- certificates (RFC 8705 section 2)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def self_signed(
    name: str = "billing", *, days: tuple[int, int] = (-1, 30), names: list[x509.GeneralName] | None = None
) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    now = datetime.fromtimestamp(NOW // SECOND, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def shown(desk: Desk, certificate: bytes, client_id: str = "billing", **form: str) -> Response:
    return desk.send("POST", TOKEN, form={**GRANT, "client_id": client_id, **form}, certificate=certificate)


def test_a_self_signed_certificate_is_known_by_itself(desk: Desk) -> None:
    mine, theirs = self_signed(), self_signed()
    desk.client(token_endpoint_auth_method="self_signed_tls_client_auth", certificates=(pem(mine),))
    assert shown(desk, der(mine)).status == 200
    assert error(shown(desk, der(theirs))) == REFUSED, "the same name is nothing"
    assert error(shown(desk, b"")) == REFUSED
    assert error(shown(desk, der(mine)[:-1])) == REFUSED
    assert error(shown(desk, der(mine) + b"\0")) == REFUSED
    assert error(shown(desk, der(mine), client_id="other")) == REFUSED
    assert error(desk.send("POST", TOKEN, form=GRANT, certificate=der(mine))) == REFUSED, "the client says who it is"


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)])
def test_a_self_signed_certificate_has_dates(desk: Desk, days: tuple[int, int]) -> None:
    certificate = self_signed(days=days)
    desk.client(token_endpoint_auth_method="self_signed_tls_client_auth", certificates=(pem(certificate),))
    assert error(shown(desk, der(certificate))) == REFUSED


def test_two_certificates_follow_each_other(desk: Desk) -> None:
    old, new = self_signed(), self_signed()
    desk.client(token_endpoint_auth_method="self_signed_tls_client_auth", certificates=(pem(old), pem(new)))
    assert {shown(desk, der(one)).status for one in (old, new)} == {200}


URI, OTHER = "spiffe://example.org/billing", "spiffe://example.org/other"
NAMED: dict[str, dict[str, str]] = {
    "uri": {"tls_client_auth_san_uri": URI},
    "dns": {"tls_client_auth_san_dns": "billing.example.com"},
    "dn": {"tls_client_auth_subject_dn": "CN=billing,O=Example"},
}
ALL = [x509.UniformResourceIdentifier(URI), x509.DNSName("billing.example.com")]


@pytest.mark.parametrize("kind", NAMED)
def test_a_vouched_certificate_is_known_by_its_name(desk: Desk, kind: str) -> None:
    desk.issuer.vouched = lambda _certificate, _now: True
    desk.client(token_endpoint_auth_method="tls_client_auth", **NAMED[kind])
    assert shown(desk, der(self_signed(names=ALL))).status == 200
    assert error(shown(desk, der(self_signed("other", names=[x509.UniformResourceIdentifier(OTHER)])))) == REFUSED
    assert error(shown(desk, der(self_signed("other")))) == REFUSED
    desk.issuer.vouched = lambda _certificate, _now: False
    assert error(shown(desk, der(self_signed(names=ALL)))) == REFUSED, "a name is nothing that nobody vouches for"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("uri", [x509.UniformResourceIdentifier(f"{URI}/x")]),
        ("uri", [x509.UniformResourceIdentifier(URI.upper())]),
        ("uri", [x509.DNSName("spiffe://example.org/billing")]),
        ("dns", [x509.DNSName("billing.example.com.evil.example")]),
        ("dns", [x509.DNSName("*.example.com")]),
        ("dns", [x509.UniformResourceIdentifier("billing.example.com")]),
        ("dns", [x509.RFC822Name("billing.example.com")]),
    ],
)
def test_names_are_compared_whole_and_of_their_kind(desk: Desk, kind: str, names: list[x509.GeneralName]) -> None:
    desk.issuer.vouched = lambda _certificate, _now: True
    desk.client(token_endpoint_auth_method="tls_client_auth", **NAMED[kind])
    assert error(shown(desk, der(self_signed("x", names=names)))) == REFUSED


@pytest.mark.parametrize(
    "dn", ["CN=billing", "O=Example,CN=billing", "CN=Billing,O=Example", "CN=billing,O=Example,C=DE"]
)
def test_a_subject_is_compared_whole_and_in_order(desk: Desk, dn: str) -> None:
    desk.issuer.vouched = lambda _certificate, _now: True
    desk.client(token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject_dn=dn)
    assert error(shown(desk, der(self_signed()))) == REFUSED


def test_a_certificate_that_cannot_be_read_is_a_refusal(desk: Desk) -> None:
    desk.issuer.vouched = lambda _certificate, _now: True
    desk.client(token_endpoint_auth_method="tls_client_auth", **NAMED["uri"])
    for data in (b"\0", b"\x30\x03\x02\x01\x01", b"x" * 5000):
        assert error(shown(desk, data)) == REFUSED


def test_a_client_without_a_certificate_method_gains_nothing_by_one(desk: Desk) -> None:
    desk.issuer.vouched = lambda _certificate, _now: True
    desk.client()
    assert error(shown(desk, der(self_signed(names=ALL)))) == REFUSED


def test_tokens_are_bound_to_the_certificate_that_is_shown(desk: Desk) -> None:
    certificate = self_signed()
    desk.client(
        token_endpoint_auth_method="self_signed_tls_client_auth",
        certificates=(pem(certificate),),
        tls_client_certificate_bound_access_tokens=True,
    )
    token = told(shown(desk, der(certificate)))["access_token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["cnf"] == {"x5t#S256": part(hashlib.sha256(der(certificate)).digest())}


def test_a_secret_and_a_registered_certificate_go_together(desk: Desk) -> None:
    """A client that has a secret, and tokens that are bound to its own certificate."""
    mine, thief = self_signed(), self_signed()
    desk.client(certificates=(pem(mine),), tls_client_certificate_bound_access_tokens=True)
    form = {**GRANT, "client_id": "billing", "client_secret": SECRET}
    assert desk.send("POST", TOKEN, form=form, certificate=der(mine)).status == 200
    for shown_one in (b"", der(thief)):
        assert error(desk.send("POST", TOKEN, form=form, certificate=shown_one)) == (400, "invalid_request")


def test_ed25519_keys_sign_too(desk: Desk) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    jwk = OKPKey.import_key(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).as_dict()
    client = Assertions(desk, "ed", jwks={"keys": [jwk]})
    for algorithm in ("EdDSA", "Ed25519"):
        signed = f"{part({'alg': algorithm})}.{part(client.claims())}"
        assert client.send(f"{signed}.{part(key.sign(signed.encode()))}").status == 200
