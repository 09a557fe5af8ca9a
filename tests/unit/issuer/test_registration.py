"""What a client may be. The corpus of redirect URIs is of those that have led codes to somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from interlock.errors import UsageError
from interlock.issuer.registration import check, check_redirect, self_signed
from interlock.jose.signing import Signer, make_key
from interlock.store.clients import Client
from tests.unit.identity.authorities import Authority
from tests.unit.issuer.test_client_auth import pem
from tests.unit.issuer.test_client_auth import self_signed as certificate

GOOD = [
    "https://app.example.com/callback",
    "https://app.example.com",
    "https://app.example.com:8443/cb?tenant=1",
    "https://app.example.com/a%20b",
    "https://xn--bcher-kva.example/cb",
    "https://192.0.2.7/cb",
    "https://[2001:db8::1]:8443/cb",
    "https://a.b/;x=1,(2)",
    "http://127.0.0.1/cb",
    "http://127.0.0.1:51004/cb",
    "http://127.3.4.5/cb",
    "http://[::1]:8080/cb",
    "http://localhost:3000/cb",
]
OF_APPS = ["com.example.app:/callback", "com.example.app:callback", "com.example.app:/a?b=c"]
BAD = [
    "",
    " ",
    "/callback",
    "//evil.example/cb",
    "app.example.com/cb",
    "https:",
    "https:/",
    "https://",
    "https:///cb",
    "https:/app.example.com/cb",
    "https:app.example.com/cb",
    "http://app.example.com/cb",
    "HTTP://app.example.com/cb",
    # a fragment, in which a token would come along
    "https://app.example.com/cb#",
    "https://app.example.com/cb#x",
    "https://app.example.com#@evil.example/",
    # whose host is it?
    "https://app.example.com@evil.example/cb",
    "https://app.example.com:443@evil.example/cb",
    "https://user@app.example.com/cb",
    "https://user:pass@app.example.com/cb",
    "https://@app.example.com/cb",
    "https://app.example.com\\@evil.example/cb",
    "https://app.example.com\\.evil.example/cb",
    "https:\\\\app.example.com\\cb",
    "https://evil.example\\app.example.com/cb",
    "https://app.example.com%2eevil.example/cb",
    "https://app.example.com%00.evil.example/cb",
    "https://app.example.com%40evil.example/cb",
    "https://app.example.com%2f@evil.example/cb",
    "https://app.example.com:/cb",
    "https://app.example.com:0/cb",
    "https://app.example.com:65536/cb",
    "https://app.example.com:port/cb",
    "https://app.example.com:80:90/cb",
    "https://[::1/cb",
    "https://::1]/cb",
    "https://[evil.example]/cb",
    # patterns
    "https://*.example.com/cb",
    "https://app.example.com/*",
    "https://app.example.com/cb?*",
    # loopback that is none
    "http://127.0.0.1.evil.example/cb",
    "http://localhost.evil.example/cb",
    "http://evil.example/127.0.0.1",
    "http://127.0.0.1@evil.example/cb",
    "http://127.0.0.1%2eevil.example/cb",
    "http://0.0.0.0/cb",
    "http://0/cb",
    "http://127.1/cb",
    "http://2130706433/cb",
    "http://0x7f000001/cb",
    "http://0177.0.0.1/cb",
    "http://192.168.0.1/cb",
    "http://169.254.169.254/latest",
    "http://[::]/cb",
    "http://[::2]/cb",
    "http://localhost./cb",
    "http://LOCALHOSTx/cb",
    # characters that readers disagree about
    "https://app.example.com/c b",
    "https://app.example.com/cb\n",
    "\nhttps://app.example.com/cb",
    "https://app.example.com/cb\r\nSet-Cookie: a=b",
    "https://app.exa\tmple.com/cb",
    "\x00https://app.example.com/cb",
    "https://app.example.com/cb\x7f",
    "https://app.example.com/\u202ebc",
    "https://\u0430pp.example.com/cb",
    "https://app.example\u3002com/cb",
    "https://app.example\uff0ecom/cb",
    "https://app.example.com/%",
    "https://app.example.com/%zz",
    'https://app.example.com/"><script>',
    "https://app.example.com/<x>",
    "https://app.example.com/{x}",
    "https://app.example.com/|x",
    "https://app.example.com/^x",
    "https://app.example.com/`x`",
    "https://app.example.com/" + "a" * 2048,
    # what runs
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "javascript://app.example.com/%0aalert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://app.example.com/1",
    "about:blank",
    "view-source:https://app.example.com",
    "filesystem:https://app.example.com/x",
    "intent://app#Intent;end",
    # others' schemes
    "urn:ietf:wg:oauth:2.0:oob",
    "urn:ietf:wg:oauth:2.0:oob:auto",
    "ftp://app.example.com/cb",
    "ws://app.example.com/cb",
    "myapp:/callback",
    "myapp://callback",
    "com.example.app://evil.example/cb",
    "com.example.app://callback",
    ".:/x",
    "1com.example:/x",
]


@pytest.mark.parametrize("uri", GOOD)
@pytest.mark.parametrize("public", [False, True])
def test_a_redirect_uri_that_leads_where_it_says(uri: str, public: bool) -> None:
    check_redirect(uri, public=public)


@pytest.mark.parametrize("uri", OF_APPS)
def test_an_app_s_own_scheme_is_for_public_clients(uri: str) -> None:
    """Whoever claims it on a phone gets what comes: a client with a secret would be worth the trouble."""
    check_redirect(uri, public=True)
    with pytest.raises(UsageError):
        check_redirect(uri, public=False)


@pytest.mark.parametrize("uri", BAD)
@pytest.mark.parametrize("public", [False, True])
def test_a_redirect_uri_that_may_lead_elsewhere(uri: str, public: bool) -> None:
    with pytest.raises(UsageError):
        check_redirect(uri, public=public)


def client(**fields: Any) -> Client:
    values: dict[str, Any] = {"client_id": "a", "client_name": "a", "principal": "service:interlock/a", "created": 1}
    return Client(**{**values, **fields})


WEB: dict[str, Any] = {"grant_types": ("authorization_code",), "redirect_uris": ("https://a.example/cb",)}
KEYS = {"keys": [Signer(make_key("ES256"), "ES256").jwk]}
SELF = certificate()
PEM = pem(SELF)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scopes": ("read", "accounts.read", "https://api.example/x")},
        WEB,
        {**WEB, "token_endpoint_auth_method": "none"},
        {**WEB, "post_logout_redirect_uris": ("https://a.example/bye",)},
        {**WEB, "backchannel_logout_uri": "https://a.example/logout"},
        {**WEB, "backchannel_logout_uri": "http://127.0.0.1:8000/logout"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS, "token_endpoint_auth_signing_alg": "ES256"},
        {"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "a.example"},
        {"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=a,O=Example"},
        {"token_endpoint_auth_method": "self_signed_tls_client_auth", "certificates": (PEM,)},
        {"certificates": (PEM,), "tls_client_certificate_bound_access_tokens": True},
    ],
)
def test_a_client_that_can_be(fields: dict[str, Any]) -> None:
    check(client(**fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "no way to authenticate"),
        ({"token_endpoint_auth_method": ""}, "no way to authenticate"),
        ({"grant_types": ("password",)}, "not a grant type"),
        ({"grant_types": ("implicit",)}, "not a grant type"),
        ({"token_endpoint_auth_method": "none"}, "cannot have tokens of its own"),
        ({"grant_types": ("authorization_code",)}, "needs a redirect URI"),
        ({"redirect_uris": ("https://a.example/cb",)}, "for the authorization_code grant"),
        ({**WEB, "redirect_uris": ("http://a.example/cb",)}, "a redirect URI is"),
        ({**WEB, "redirect_uris": tuple(f"https://a.example/{n}" for n in range(33))}, "at most"),
        ({**WEB, "post_logout_redirect_uris": ("javascript:x",)}, "not a URI|a redirect URI is"),
        ({**WEB, "post_logout_redirect_uris": tuple(f"https://a.example/{n}" for n in range(33))}, "at most"),
        ({**WEB, "backchannel_logout_uri": "http://10.0.0.1/logout"}, "back-channel"),
        ({**WEB, "backchannel_logout_uri": "file:///etc/passwd"}, "back-channel"),
        ({**WEB, "backchannel_logout_uri": "https://a.example/x#y"}, "not a URI"),
        ({"scopes": ("a b",)}, "not a scope"),
        ({"scopes": ('a"b',)}, "not a scope"),
        ({"scopes": ("",)}, "not a scope"),
        ({"scopes": ("x" * 129,)}, "not a scope"),
        ({"scopes": tuple(f"s{n}" for n in range(257))}, "at most"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "public keys"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {}}, "public keys"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": 5}}, "JWK Set"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": {}}}, "JWK Set"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS["keys"][0]}, "JWK Set"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": []}}, "none of the client's keys"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [7, None]}}, "none of the client's keys"),
        ({"jwks": {"keys": [{**KEYS["keys"][0], "d": "AAAA"}]}}, "private or symmetric"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "private or symmetric"),
        (
            {"token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS, "token_endpoint_auth_signing_alg": "HS256"},
            "no algorithm",
        ),
        ({"request_object_signing_alg": "none"}, "no algorithm"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "exactly one name"),
        (
            {
                "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_san_dns": "a",
                "tls_client_auth_san_uri": "b",
            },
            "exactly one name",
        ),
        ({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "billing"}, "RFC 4514"),
        ({"tls_client_auth_san_dns": "a.example"}, "no meaning"),
        ({"certificates": (PEM,)}, "no meaning"),
        (
            {
                "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_san_dns": "a",
                "certificates": (PEM,),
                "tls_client_certificate_bound_access_tokens": True,
            },
            "no meaning",
        ),
        ({"token_endpoint_auth_method": "self_signed_tls_client_auth"}, "needs the client's certificate"),
        ({"token_endpoint_auth_method": "self_signed_tls_client_auth", "certificates": ("x",)}, "cannot be read"),
        ({"token_endpoint_auth_method": "self_signed_tls_client_auth", "certificates": ("\u00e9",)}, "cannot be read"),
    ],
)
def test_a_client_that_cannot_be_or_not_safely(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check(client(**fields))


def test_of_a_certificate_nothing_else_is_kept() -> None:
    """Who exports one often exports its key along with it."""
    second = pem(certificate("other"))
    assert self_signed(f"# a comment\n{PEM}\n{second}") == PEM
    leaf = Authority().issue(uris=["spiffe://example.org/a"])
    with pytest.raises(UsageError, match="private key"):
        self_signed(PEM + leaf.key_pem)
    with pytest.raises(UsageError, match="not self-signed"):
        self_signed(leaf.pem)


def test_a_certificate_that_only_names_itself_as_its_issuer_is_not_self_signed() -> None:
    data = SELF.public_bytes(Encoding.DER)
    spoiled = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(UsageError, match="not self-signed"):
        self_signed(pem(load_der_x509_certificate(spoiled)))
