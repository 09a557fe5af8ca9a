"""DPoP proofs: each check of RFC 9449 section 4.3, what attackers send, and the standard's own examples."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from interlock.clock import SECOND
from interlock.jose import Malformed, Proof, ProofRefused, TokenRefused, dpop, normal_url, thumbprint, verify_proof
from interlock.jose.dpop import AHEAD, MAX_PROOF, WINDOW
from interlock.model import Reason
from tests.unit.jose.material import FOLDER, b64, ec, ed, forge, oct_key, rsa, sign

S = 1_700_000_000
NOW = S * SECOND
URL = "https://api.example.com/accounts/4711"
TOKEN = b"access.token.bytes"
ATH = b64(hashlib.sha256(TOKEN).digest())
INVALID = Reason.DPOP_INVALID


def header(key: Any = None, **members: Any) -> dict[str, Any]:
    """A good header but for what is said; a member that is `...` is left out."""
    key = key or ec()
    stated = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public_jwk(key), **members}
    return {name: value for name, value in stated.items() if value is not ...}


def public_jwk(key: Any) -> dict[str, Any]:
    return {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}


def claims(**members: Any) -> bytes:
    stated = {"jti": "one", "htm": "GET", "htu": URL, "iat": S, "ath": ATH, **members}
    return json.dumps({name: value for name, value in stated.items() if value is not ...}).encode()


def proof(key: Any = None, head: dict[str, Any] | None = None, **members: Any) -> bytes:
    return sign(header(key, **(head or {})), claims(**members), key or ec())


def verify(made: bytes, **how: Any) -> Proof:
    return verify_proof(made, **{"method": "GET", "url": URL, "now": NOW, "access_token": TOKEN, **how})


def refused(made: bytes, **how: Any) -> tuple[Reason, str]:
    with pytest.raises(ProofRefused) as caught:
        verify(made, **how)
    return caught.value.reason, caught.value.note


def jkt(key: Any) -> bytes:
    return thumbprint(public_jwk(key))


# -- what is good


def test_a_good_proof_says_whose_key_it_shows() -> None:
    shown = verify(proof(iat=S - 1), key=jkt(ec()))
    assert shown == Proof(jkt(ec()), "one", (S - 1) * SECOND, "")
    assert shown.jkt == ec().thumbprint()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec(), "ES256"),
        (ec("e3", "P-384"), "ES384"),
        (ec("e5", "P-521"), "ES512"),
        (ed(), "EdDSA"),
        (ed(), "Ed25519"),
        *((rsa(), name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    ],
)
def test_every_algorithm_that_is_offered(key: Any, algorithm: str) -> None:
    assert algorithm in dpop.PROOF_ALGORITHMS
    assert verify(proof(key, {"alg": algorithm})).key == jkt(key)


def test_the_examples_of_the_standard() -> None:
    """RFC 9449 figures 2 and 13, the thumbprint of figure 9."""
    of_the_key = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoR"
        "jQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
    )
    at_the_token_endpoint = of_the_key + (
        "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0I"
        "joxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    )
    shown = verify_proof(
        at_the_token_endpoint.encode(),
        method="POST",
        url="https://server.example.com/token",
        now=1562262616 * SECOND,
    )
    assert (shown.jkt, shown.jti) == ("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "-BwC3ESc6acc2lTc")
    at_a_resource = of_the_key + (
        "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZ"
        "XNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9."
        "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    )
    shown = verify_proof(
        at_a_resource.encode(),
        method="GET",
        url="https://resource.example.org/protectedresource",
        now=1562262618 * SECOND,
        access_token=b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
        key=shown.key,
    )
    assert shown.jti == "e1j3V_bKic8-LAEB"


def test_a_token_endpoint_has_no_token_yet() -> None:
    assert verify(proof(ath=...), access_token=b"").jti == "one"


def test_unknown_members_do_no_harm() -> None:
    assert verify(proof(head={"kid": "k", "x-own": 1}, extra=[1])).jti == "one"
    assert verify(proof(head={"jwk": {**public_jwk(ec()), "kid": "other", "use": "sig"}})).key == jkt(ec())


# -- the checks in their order


@pytest.mark.parametrize(
    "made", [b"", b", ", proof() + b", " + proof(jti="two"), proof() + b"," + proof(), b"," + proof()]
)
def test_1_one_field(made: bytes) -> None:
    assert refused(made)[1] in ("empty", "not one proof")


def test_1_a_huge_proof_is_not_even_read() -> None:
    exact = MAX_PROOF - len(proof(pad=""))
    long = proof(pad="x" * (exact * 3 // 4 + 64))
    assert len(long) > MAX_PROOF
    assert refused(long) == (INVALID, "longer than 8 KiB")
    assert refused(b"x" * 10_000_000) == (INVALID, "longer than 8 KiB")
    assert verify(proof(pad="x" * (exact * 3 // 4 - 64)))


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (b"abc", "segments"),
        (proof() + b".x", "segments"),
        (proof().rsplit(b".", 1)[0], "segments"),
        (proof() + b"=", "base64url"),
        (proof().replace(b".", b"=.", 1), "base64url"),
        (b"e30\n." + proof().split(b".", 1)[1], "base64url"),
        (forge(b"[]", claims(), ec(), "ES256"), "JSON object"),
        (forge(b"{", claims(), ec(), "ES256"), "JSON"),
        (forge(json.dumps(header()).encode()[:-1] + b',"typ":"dpop+jwt"}', claims(), ec(), "ES256"), "repeated"),
        (sign(header(), b"[]", ec()), "JSON object"),
        (sign(header(), b'{"jti":"a","jti":"b"}', ec()), "repeated"),
        (sign(header(), b"", ec()), "JSON"),
        (json.dumps({"payload": "", "protected": "", "signature": ""}).encode().replace(b" ", b""), "not one proof"),
    ],
)
def test_2_a_well_formed_jwt(made: bytes, note: str) -> None:
    assert refused(made)[0] is INVALID
    assert note in refused(made)[1]


@pytest.mark.parametrize("typ", [..., None, "", "JWT", "at+jwt", "DPoP+JWT", "application/dpop+jwt", 5, ["dpop+jwt"]])
def test_3_its_type(typ: Any) -> None:
    assert refused(forge(header(typ=typ), claims(), ec(), "ES256"))[1].startswith("typ is ")


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "", "HS256", "HS512", "ES256K", "RS1", "RSA-OAEP", "dir", 7, None]
)
def test_4_its_algorithm(algorithm: Any) -> None:
    made = forge(header(alg=algorithm), claims(), ec(), "ES256")
    assert refused(made)[1].startswith("alg ")


def test_4_unsigned() -> None:
    assert refused(forge(header(alg="none"), claims(), None))[1].startswith("alg ")
    assert refused(forge(header(), claims(), None)) == (INVALID, "signature")


def test_4_a_public_key_is_no_shared_secret() -> None:
    """HS256 keyed with whatever form of the public key: the classic confusion."""
    for secret in (ec().as_pem(private=False), json.dumps(public_jwk(ec())).encode(), public_jwk(ec())["x"].encode()):
        signed = f"{b64(json.dumps(header(alg='HS256')).encode())}.{b64(claims())}".encode()
        made = signed + b"." + b64(hmac.digest(secret, signed, "sha256")).encode()
        assert refused(made)[1].startswith("alg ")
    shared = {"kty": "oct", "k": oct_key().as_dict(private=True)["k"]}
    assert refused(forge(header(alg="HS256", jwk=shared), claims(), oct_key(), "HS256"))[1].startswith("alg ")


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"jku": "https://evil.example.com/jwks"},
        {"x5u": "https://evil.example.com/x5u"},
        {"x5c": ["MIIB"]},
    ],
)
def test_5_no_second_key_and_nothing_critical(extra: dict[str, Any]) -> None:
    made = forge({**header(), **extra}, claims(), ec(), "ES256")
    assert refused(made) == (INVALID, f"header parameter {next(iter(extra))}")


@pytest.mark.parametrize("jwk", [..., None, "x", [], [public_jwk(ec())], "https://evil.example.com"])
def test_6_a_key_is_there(jwk: Any) -> None:
    assert refused(forge(header(jwk=jwk), claims(), ec(), "ES256")) == (INVALID, "jwk is missing, or no object")


@pytest.mark.parametrize("key", [ec(), ed(), rsa()])
def test_6_nothing_private_in_it(key: Any) -> None:
    whole = key.as_dict(private=True)
    algorithm = {"EC": "ES256", "OKP": "EdDSA", "RSA": "RS256"}[whole["kty"]]
    assert "private" in refused(proof(key, {"alg": algorithm, "jwk": whole}))[1]
    for name in set(whole) - {"kty", "crv", "x", "y", "n", "e", "kid"}:  # one member is enough
        made = proof(key, {"alg": algorithm, "jwk": {**public_jwk(key), name: whole[name]}})
        assert "private" in refused(made)[1], name


def test_6_no_shared_key() -> None:
    assert "shared" in refused(forge(header(jwk={"kty": "oct", "k": "AAAA"}), claims(), ec(), "ES256"))[1]


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "EC"},
        {**public_jwk(ec()), "kty": "RSA"},
        {**public_jwk(ec()), "crv": "P-384"},
        {**public_jwk(ec()), "crv": "secp256k1"},
        {**public_jwk(ec()), "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {**public_jwk(ec()), "x": public_jwk(ec())["x"] + "="},
        {**public_jwk(ec()), "x": "AA" + public_jwk(ec())["x"]},
        {**public_jwk(ec()), "use": "enc"},
        {**public_jwk(ec()), "key_ops": ["sign"]},
        {**public_jwk(ec()), "alg": "ES384"},
        public_jwk(OKPKey.generate_key("X25519")),
        public_jwk(rsa("short", 1024)),
    ],
)
def test_6_a_public_key_that_can_be_read(jwk: dict[str, Any]) -> None:
    assert refused(forge(header(jwk=jwk), claims(), ec(), "ES256"))[1].startswith("jwk")


def test_6_one_key_has_one_form() -> None:
    """Else one key would have many thumbprints: an RSA modulus with a zero before it, an exponent in more bytes."""
    jwk = public_jwk(rsa())
    modulus = b64(b"\0" + base64.urlsafe_b64decode(jwk["n"] + "=="))
    for other in ({**jwk, "n": modulus}, {**jwk, "e": "AAEAAQ"}):
        assert refused(proof(rsa(), {"alg": "RS256", "jwk": other}))[1] == "jwk is not in its one form"


@pytest.mark.parametrize(("key", "algorithm"), [(ec(), "ES256"), (ed(), "EdDSA"), (rsa(), "RS256")])
@pytest.mark.parametrize("value", [5, None, True, [], {}, "", "\u00e4", "A", "AAAA"])
def test_6_no_numbers_of_another_type_of_key(key: Any, algorithm: str, value: Any) -> None:
    """Whatever stands there is a refusal, whoever signed it: nobody without a credential makes this raise."""
    jwk = public_jwk(key)
    for name in {"x", "y", "n", "e"} - set(jwk):
        made = proof(key, {"alg": algorithm, "jwk": {**jwk, name: value}})
        assert refused(made) == (INVALID, "jwk is not in its one form")


def test_6_a_key_for_another_algorithm() -> None:
    assert refused(forge(header(alg="RS256"), claims(), rsa(), "RS256"))[1] == "jwk is not for RS256"
    assert refused(forge(header(alg="ES384"), claims(), ec("e3", "P-384"), "ES384"))[1] == "jwk is not for ES384"


def test_6_nobody_makes_us_work_with_a_huge_key() -> None:
    big = public_jwk(rsa("big", 4104))
    assert "4096 bits" in refused(forge(header(alg="RS256", jwk=big), claims(), rsa(), "RS256"))[1]
    exponent = {**public_jwk(rsa()), "e": b64((2**70 + 1).to_bytes(9, "big"))}
    assert "exponent" in refused(forge(header(alg="RS256", jwk=exponent), claims(), rsa(), "RS256"))[1]


@pytest.mark.parametrize("name", ["jti", "htm", "htu", "iat"])
@pytest.mark.parametrize("value", [..., None, "", [], {}, True])
def test_7_the_required_claims(name: str, value: Any) -> None:
    assert refused(proof(**{name: value}))[1].startswith(f"{name} is missing, or no ")


@pytest.mark.parametrize("iat", [-1, 1e300, 10**400, 253_402_300_800, f"{S}"])
def test_7_a_date_is_a_date(iat: Any) -> None:
    assert refused(proof(iat=iat))[1] in ("iat is out of range", "iat is missing, or no date")


def test_8_the_key_that_the_token_is_bound_to() -> None:
    """A thief has a key of his own, and the proof he makes with it is good in all else."""
    other = ec("thief")
    made = sign(header(other), claims(), other)
    assert verify(made).key == jkt(other)
    reason, note = refused(made, key=jkt(ec()))
    assert reason is Reason.TOKEN_BINDING
    assert "another key" in note


def test_8_before_any_signature_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> bool:
        raise AssertionError

    monkeypatch.setattr(dpop, "signature_holds", never)
    assert refused(proof(ec("thief")), key=jkt(ec()))[0] is Reason.TOKEN_BINDING


def test_9_the_signature() -> None:
    good = proof()
    head, body, signature = good.split(b".")
    other = proof(jti="two").split(b".")
    for made in (
        b".".join((head, other[1], signature)),
        b".".join((head, body, other[2])),
        b".".join((head, body, b"")),
        b".".join((head, body, b64(bytes(64)).encode())),
        sign(header(), claims(), ec("thief")),  # says one key, signed with another
        forge(header(), claims(), ec("e3", "P-384"), "ES384"),
    ):
        assert refused(made) == (INVALID, "signature")


@pytest.mark.parametrize("method", ["POST", "get", "HEAD", "GET "])
def test_10_the_method(method: str) -> None:
    assert refused(proof(htm=method))[1].startswith("htm is ")


@pytest.mark.parametrize(
    ("htu", "part"),
    [
        ("http://api.example.com/accounts/4711", "another scheme"),
        ("https://api.example.com:8443/accounts/4711", "another host"),
        ("https://api.example.org/accounts/4711", "another host"),
        ("https://api.example.com.evil.example/accounts/4711", "another host"),
        ("https://api.example.com/accounts/4712", "another path"),
        ("https://api.example.com/accounts/4711/", "another path"),
        ("https://api.example.com/Accounts/4711", "another path"),
        ("https://api.example.com/accounts%2F4711", "another path"),
        ("https://api.example.com/", "another path"),
        ("https://api.example.com", "another path"),
        ("https://api.example.com@evil.example/accounts/4711", "no authority"),
        ("https://user@api.example.com/accounts/4711", "no authority"),
        ("https:///accounts/4711", "no authority"),
        ("//api.example.com/accounts/4711", "not an http URL"),
        ("/accounts/4711", "not an http URL"),
        ("urn:accounts", "not an http URL"),
        ("wss://api.example.com/accounts/4711", "not an http URL"),
        (" https://api.example.com/accounts/4711", "not an http URL"),
        ("https://api.example.com/accounts/4711\n", "characters in the path"),
        ("https://api.example.com/accounts/4711 ", "characters in the path"),
        ("https://api.example.com/accounts\\4711", "characters in the path"),
        ("https://api.example.com/accounts/4711%", "characters in the path"),
        ("https://\u0430pi.example.com/accounts/4711", "no authority"),
    ],
)
def test_11_the_url(htu: str, part: str) -> None:
    reason, note = refused(proof(htu=htu))
    assert reason is INVALID
    assert note == f"htu: {part}", "and nothing of the URL itself, which may name a person"


@pytest.mark.parametrize(
    "htu",
    [
        "HTTPS://API.example.COM/accounts/4711",
        "https://api.example.com:443/accounts/4711",
        "https://api.example.com:/accounts/4711",
        "https://api.example.com/accounts/4711?a=b&c",
        "https://api.example.com/accounts/4711#part",
        "https://api.example.com/accounts/4711?a=b#part",
        "https://api.example.com/accounts/%34711",
        "https://api.example.com/accounts/./x/../4711",
        "https://api.example.com/%61ccounts/4711",
    ],
)
def test_11_the_same_url_in_another_form(htu: str) -> None:
    assert verify(proof(htu=htu)).jti == "one"
    assert verify(proof(), url=htu).jti == "one"


def test_12_a_nonce() -> None:
    asked: list[str] = []

    def holds(nonce: str) -> bool:
        asked.append(nonce)
        return nonce == "good"

    assert verify(proof(nonce="good"), nonce_holds=holds).nonce == "good"
    assert refused(proof(nonce="bad"), nonce_holds=holds)[0] is Reason.DPOP_NONCE_NEEDED
    assert asked == ["good", "bad"]
    assert refused(proof(nonce="good"))[0] is Reason.DPOP_NONCE_NEEDED, "nobody here gave one"
    assert refused(proof(), nonce_holds=holds, nonce_required=True) == (Reason.DPOP_NONCE_NEEDED, "without a nonce")
    assert refused(proof(nonce=""), nonce_holds=holds, nonce_required=True)[0] is Reason.DPOP_NONCE_NEEDED
    assert refused(proof(nonce=5), nonce_holds=holds) == (INVALID, "nonce is not a string")
    assert refused(proof(nonce=None), nonce_holds=holds) == (INVALID, "nonce is not a string")


def test_13_the_window() -> None:
    assert verify(proof(iat=S - WINDOW))
    assert verify(proof(iat=S + AHEAD))
    assert refused(proof(iat=S - WINDOW), now=NOW + 1) == (INVALID, "iat is too old")
    assert refused(proof(iat=S + AHEAD), now=NOW - 1) == (INVALID, "iat is in the future")
    assert refused(proof(iat=S - 6), window=5) == (INVALID, "iat is too old")
    assert refused(proof(iat=0))[1] == "iat is too old"
    assert verify(proof(iat=S + 0.5)).iat_ns == NOW + SECOND // 2


@pytest.mark.parametrize(
    "ath", [..., None, "", 5, ATH[:-1], ATH + "=", b64(hashlib.sha256(b"other").digest()), "\u00e9" * 43]
)
def test_14_the_token(ath: Any) -> None:
    assert refused(proof(ath=ath))[1].startswith("ath is ")


def test_a_proof_for_one_token_is_none_for_another() -> None:
    assert refused(proof(), access_token=b"another.token.here")[1] == "ath is not the hash of this token"


# -- a client that comes again


def test_a_client_that_comes_again_costs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = ECKey.generate_key("P-256")
    imported = []
    real = dpop.verification_key
    monkeypatch.setattr(dpop, "verification_key", lambda jwk: imported.append(jwk) or real(jwk))
    for number in range(3):
        assert verify(proof(key, jti=str(number))).key == jkt(key)
    assert len(imported) == 1


def test_what_is_remembered_of_a_sender_is_checked_no_less() -> None:
    assert verify(proof())
    assert refused(proof(), key=jkt(ed()))[0] is Reason.TOKEN_BINDING
    assert refused(sign(header(), claims(), ec("thief"))) == (INVALID, "signature")
    assert refused(proof(iat=0))[1] == "iat is too old"


def test_who_is_refused_is_not_remembered_and_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpop, "_senders", known := {})
    monkeypatch.setattr(dpop, "_SENDERS", 3)
    refused(proof(head={"kid": "a"}, iat=0))
    assert known == {}
    for number in range(10):
        verify(proof(head={"kid": str(number)}))
        assert len(known) <= 3
    verify(proof(head={"kid": "k" * 2000}))
    assert max(map(len, known)) <= 2048


def test_nothing_of_a_proof_is_in_the_error() -> None:
    with pytest.raises(ProofRefused) as caught:
        verify(proof(ath="A" * 43, jti="very-secret"))
    assert "very-secret" not in str(caught.value)
    assert URL not in str(caught.value)
    assert isinstance(caught.value, TokenRefused)


# -- URLs


HOSTS = st.from_regex(r"[a-z0-9-]{1,10}(\.[a-z0-9-]{1,10}){0,3}", fullmatch=True)
SEGMENTS = st.lists(st.text("abcXYZ019-._~!$&'()*+,=:@;", min_size=0, max_size=6), max_size=5).filter(
    lambda found: not set(found) & {".", ".."}
)


def written(draw: st.DrawFn, text: str) -> str:
    """The text with some of its unreserved characters percent-encoded, in either case."""
    made = ""
    for character in text:
        if re.fullmatch(r"[A-Za-z0-9\-._~]", character) and draw(st.booleans()):
            octet = f"%{ord(character):02x}"
            made += octet.upper() if draw(st.booleans()) else octet
        else:
            made += character
    return made


@st.composite
def same_urls(draw: st.DrawFn) -> tuple[str, str]:
    """Two ways to write one URL."""
    scheme, host = draw(st.sampled_from(("http", "https"))), draw(HOSTS)
    port = draw(st.one_of(st.none(), st.integers(1, 65535)))
    default = {"http": 80, "https": 443}[scheme]
    path = "/" + "/".join(draw(SEGMENTS))
    ports = [f":{port}"] if port is not None and port != default else ["", ":", f":{default}"]
    plain = f"{scheme}://{host}{ports[0]}{path}"
    cased = "".join(draw(st.sampled_from((one.lower(), one.upper()))) for one in f"{scheme}://{host}")
    query = draw(st.sampled_from(("", "?", "?a=b", "#", "#f", "?a=/../b#f?g")))
    bare = path == "/" and draw(st.booleans())
    detour = draw(st.sampled_from(("", "/.", "/x/..", "/%2e", "/x/%2E%2e")))
    return plain, f"{cased}{draw(st.sampled_from(ports))}{'' if bare else detour + written(draw, path)}{query}"


@given(same_urls())
def test_all_ways_to_write_a_url_are_one(urls: tuple[str, str]) -> None:
    """Scheme, host, default port, unreserved characters, dot segments, query and fragment do not count."""
    assert normal_url(urls[0]) == normal_url(urls[1])


@given(st.text())
@example("https://a/%2e%2E/..//b/.")
@example("https://a/a/%2f/%zz")
def test_a_normal_url_is_normal(text: str) -> None:
    """Whatever can be read reads the same again."""
    for url in (text, f"https://a/{text}", f"https://{text}/a"):
        try:
            scheme, host, path = normal_url(url)
        except Malformed:
            continue
        assert normal_url(f"{scheme}://{host}{path}") == (scheme, host, path)
        assert path.startswith("/")
        assert "/../" not in path + "/"


@given(HOSTS, HOSTS, SEGMENTS, SEGMENTS)
def test_other_urls_stay_others(host: str, other: str, one: list[str], two: list[str]) -> None:
    first, second = "/" + "/".join(one), "/" + "/".join(two)
    assume((host, first) != (other, second))
    assert normal_url(f"https://{host}{first}") != normal_url(f"https://{other}{second}")


@given(st.binary(max_size=400))
def test_no_bytes_break_it(data: bytes) -> None:
    """Anything at all is a refusal or a proof."""
    for made in (
        data,
        b".".join((proof().split(b".")[0], data, data)),
        b64(data).encode() + b"." + b64(data).encode() + b".",
    ):
        with pytest.raises(ProofRefused):
            verify(made)


# -- keys of the Wycheproof set, each brought by a proof


def wycheproof() -> list[Any]:
    file = FOLDER / "wycheproof" / "json_web_key_test.json"
    groups = json.loads(file.read_text())["testGroups"] if file.exists() else []
    return [
        pytest.param(jwk, group["comment"], id=f"{group['tests'][0]['tcId']}-{group['comment']}-{number}")
        for group in groups
        for number, jwk in enumerate((group.get("public") or group["private"])["keys"])
    ]


# Keys that nothing is wrong with here: the set's own point is elsewhere (a duplicate in a set; ROCA, which is a
# weakness of whoever made the key and brings it).
SOUND = {"rs256": "RS256", "jws_rsa_roca_key": "RS256", "jws_mixedSymmetryKeyset": "ES256"}


@pytest.mark.parametrize(("jwk", "comment"), wycheproof())
def test_keys_of_wycheproof(jwk: dict[str, Any], comment: str) -> None:
    """Only the sound ones get as far as their signature, which they did not make here."""
    algorithm = jwk.get("alg", "")
    algorithm = algorithm if algorithm in dpop.PROOF_ALGORITHMS else "ES256"
    note = refused(forge(header(alg=algorithm, jwk=jwk), claims(), ec(), "ES256"))[1]
    sound = comment in SOUND and jwk["kty"] != "oct" and jwk.get("alg") == SOUND[comment]
    assert (note == "signature") == sound, note
    assert sound or note.startswith("jwk"), note


def test_rsa_keys_of_a_callers_own_size() -> None:
    assert verify(proof(RSAKey.generate_key(3072), {"alg": "PS256"})).jti == "one"
