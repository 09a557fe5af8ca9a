"""What can be revoked, as an operator names it: a name that would miss is refused, and how long each is kept."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.config import Config, parse
from interlock.control.credentials import LATEST, OWN_LIFE, Named, OfCertificate, OfIssuer, OfToken, Plain
from interlock.control.paths import Paths
from interlock.control.presented import Tokens
from interlock.errors import ConfigError, UsageError
from interlock.identity import (
    certificate_handle,
    client_handle,
    family_handle,
    issuer_handle,
    principal_handle,
    session_handle,
    token_handle,
    unnamed_token,
)
from interlock.identity.marks import FARTHEST, LONGEST
from interlock.snapshot import NodeSpec, write_snapshot
from tests.unit.identity.authorities import Authority
from tests.unit.identity.fakes import ISSUER, NOW, issuer_spec, token
from tests.unit.jose.material import rsa

OTHER = "https://other.example.com"
OWN = "https://id.example.com"
S = NOW // SECOND
FILE = f"""\
version: 1
listeners: [{{address: 127.0.0.1:8080, tls: off}}]
services: {{up: {{upstreams: [http://127.0.0.1:9000]}}}}
routes: [{{match: GET /a, service: up, authenticate: [api_key], allow: call, limit: none}}]
roles: {{caller: [call]}}
trust:
  partners: {{ca: ca.pem, principal: san-uri, principals: {{"spiffe://x/y": "user:interlock/mapped"}}}}
identity:
  issuers:
    - {{issuer: "{ISSUER}", audience: api, algorithms: [RS256]}}
    - {{issuer: "{OTHER}", audience: api, algorithms: [RS256], authority: others}}
"""


def named(paths: Paths, *, own: bool = False, text: str = FILE, opaque: dict[bytes, bytes] | None = None) -> Named:
    known = opaque or {}
    tokens = Tokens(paths.snapshot, lambda text, _now: known.get(text))
    return Named(config(text + (f"issuer: {{url: {OWN}}}\n" if own else "")), tokens)


def config(text: str) -> Config:
    return parse(text.encode(), Path("/nowhere/interlock.yaml"), look_at_files=False)


def with_keys(paths: Paths, *specs: Any) -> None:
    """A snapshot whose issuers have keys."""
    tables: dict[str, list[tuple[bytes, bytes]]] = {"keys": [], "revoked": [], "marks": [], "risks": []}
    write_snapshot(paths.snapshot, NodeSpec("", 0, 1, issuers=list(specs)), [], tables, 8)


# -- tokens


def test_a_token_by_its_jti(paths: Paths) -> None:
    doomed, verified = named(paths).token(OfToken("t1", ISSUER), NOW)
    assert (doomed.kind, doomed.id, doomed.issuer, doomed.handle) == ("token", "t1", ISSUER, token_handle(ISSUER, "t1"))
    assert verified
    assert doomed.expires == 0, "nobody knows how long an outside token lives"
    until = NOW + 5 * SECOND
    assert named(paths).token(OfToken("t1", ISSUER, until_ns=until), NOW)[0].expires == until
    own, _ = named(paths, own=True).token(OfToken("t1"), NOW)
    assert (own.issuer, own.own, own.expires) == (OWN, True, NOW + OWN_LIFE)


def test_a_token_without_jti_by_what_is_signed(paths: Paths) -> None:
    name = unnamed_token(token())
    assert named(paths).token(OfToken(name, ISSUER), NOW)[0].handle == token_handle(ISSUER, name)
    for wrong in ("sha256:", "sha256:" + "0" * 63, name.upper(), name + "0"):
        with pytest.raises(UsageError, match="64"):
            named(paths).token(OfToken(wrong, ISSUER), NOW)


@pytest.mark.parametrize("jti", ["t1", None, ""])
def test_a_whole_token(paths: Paths, jti: str | None) -> None:
    with_keys(paths, issuer_spec())
    text = token(jti=... if jti is None else jti, fid="f1")
    doomed, verified = named(paths).token(OfToken(token=text.decode() + "\n"), NOW)
    assert verified
    assert doomed.handle == token_handle(ISSUER, jti or unnamed_token(text))
    assert doomed.expires == (S + 600 + 1 + FARTHEST) * SECOND, "whatever leeway its issuer gets"
    assert doomed.hangs_on == (), "an outside issuer has no families of ours"


def test_a_token_of_our_own_takes_its_family_along(paths: Paths) -> None:
    with_keys(paths, issuer_spec(issuer=OWN, authority="interlock"))
    doomed, verified = named(paths, own=True).token(OfToken(token=token(iss=OWN, jti="t", fid="f1").decode()), NOW)
    assert verified
    assert doomed.hangs_on == (("family", "f1"),)


@pytest.mark.parametrize("keys", ["none", "others"])
def test_a_token_that_cannot_be_checked_takes_nothing_along(paths: Paths, keys: str) -> None:
    """Else whoever can have an operator revoke a token could have them end somebody else's session."""
    if keys == "others":
        with_keys(paths, issuer_spec(issuer=OWN))
    made = token(rsa("unknown"), iss=OWN, jti="t", fid="victim")
    doomed, verified = named(paths, own=True).token(OfToken(token=made.decode()), NOW)
    assert not verified
    assert doomed.hangs_on == ()


@pytest.mark.parametrize("harm", ["cut", "claims", "signature", "stranger"])
def test_a_token_that_does_not_hold_is_not_believed_to_be_revoked(paths: Paths, harm: str) -> None:
    """Cut short when it was copied, it would be another token; the one that was meant would go on."""
    with_keys(paths, issuer_spec())
    good = token()
    head, payload, signature = good.split(b".")
    made = {
        "cut": good[:-4],
        "claims": b".".join((head, token(sub="bob").split(b".")[1], signature)),
        "signature": b".".join((head, payload, token(sub="bob").split(b".")[2])),
        "stranger": token(rsa("stranger"), {"kid": rsa().kid}),
    }[harm]
    with pytest.raises(UsageError, match=r"does not hold|no token"):
        named(paths).token(OfToken(token=made.decode()), NOW)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (OfToken(), "either"),
        (OfToken("t", token="x.y.z"), "either"),
        (OfToken(token="nonsense"), "no token"),
        (OfToken(token="a.b"), "no token"),
        (OfToken(token="ü.b.c"), "no token"),
        (OfToken(token="ilr_abc.def"), "no token"),
        (OfToken(token=f"ilr_{'g' * 22}.{'s' * 43}"), "no issuer of our own"),
        (OfToken(token="ila_unknown"), "known to nobody"),
        (OfToken(token=token(iss="https://nobody.example.com").decode()), "none of the file"),
        (OfToken(token=token(iss=...).decode()), "none of the file"),
        (OfToken(token=token(jti=7).decode()), "no text"),
        (OfToken(token=token().decode(), issuer=OTHER), "issued by"),
        (OfToken(token().decode(), ISSUER), "standard input"),  # a token on the command line
        (OfToken("t1"), "--issuer"),
        (OfToken("t1", "https://nobody.example.com"), "no issuer"),
        (OfToken("", ISSUER), "either"),
        (OfToken("a\nb", ISSUER), "printable"),
        (OfToken("x" * 1025, ISSUER), "printable"),
        (OfToken("t1", ISSUER, until_ns=NOW), "to come"),
        (OfToken("t1", ISSUER, until_ns=LATEST), "to come"),
    ],
)
def test_what_names_no_token(paths: Paths, wanted: OfToken, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        named(paths).token(wanted, NOW)
    secret = wanted.token or wanted.id
    assert len(secret) < 100 or secret not in str(caught.value)


def test_an_opaque_token_of_our_own(paths: Paths) -> None:
    claims = {"iss": OWN, "jti": "t1", "fid": "f1", "exp": S + 60}
    opaque = {b"ila_known": json.dumps(claims).encode()}
    doomed, verified = named(paths, own=True, opaque=opaque).token(OfToken(token="ila_known\n"), NOW)
    assert verified
    assert (doomed.handle, doomed.hangs_on) == (token_handle(OWN, "t1"), (("family", "f1"),))
    assert doomed.expires == (S + 61 + FARTHEST) * SECOND
    for text in ("ila_know", "ila_known.x.y", "ila_"):
        with pytest.raises(UsageError, match="known to nobody"):
            named(paths, own=True, opaque=opaque).token(OfToken(token=text), NOW)


def test_a_refresh_token_stands_for_its_family(paths: Paths) -> None:
    text = f"ilr_{'g' * 22}.{'s' * 43}"
    doomed, verified = named(paths, own=True).token(OfToken(token=text), NOW)
    assert verified
    assert (doomed.kind, doomed.id, doomed.handle) == ("family", "g" * 22, family_handle(OWN, "g" * 22))
    assert (doomed.hangs_on, doomed.expires) == ((("family", "g" * 22),), NOW + OWN_LIFE)
    assert "s" * 43 not in repr(doomed)


def test_a_token_is_in_no_repr() -> None:
    assert "secret" not in repr(OfToken(token="secret"))


@pytest.mark.parametrize("exp", [..., "soon", True, 0, -5, 1e300])
def test_a_token_without_an_end_is_kept(paths: Paths, exp: Any) -> None:
    with_keys(paths, issuer_spec())
    assert named(paths).token(OfToken(token=token(exp=exp).decode()), NOW)[0].expires == 0


# -- what issuers name


@pytest.mark.parametrize("own", [False, True])
def test_clients_sessions_and_issuers(paths: Paths, own: bool) -> None:
    issuer = OWN if own else OTHER
    expires = NOW + OWN_LIFE if own else 0
    given = named(paths, own=own)
    client = given.client(OfIssuer("shop", issuer), NOW)
    assert (client.handle, client.marked, client.expires) == (client_handle(issuer, "shop"), True, expires)
    session = given.session(OfIssuer("s1", issuer), NOW)
    assert (session.handle, session.marked, session.expires) == (session_handle(issuer, "s1"), False, expires)
    whole = given.issuer(Plain(issuer, ahead_s=30), NOW)
    assert (whole.handle, whole.marked, whole.ahead, whole.expires) == (issuer_handle(issuer), True, 30, expires)
    assert {client.own, session.own, whole.own} == {own}


def test_whose_it_is_may_be_left_out_where_there_is_no_choice(paths: Paths) -> None:
    one = FILE[: FILE.index(f'    - {{issuer: "{OTHER}"')]
    assert named(paths, text=one).client(OfIssuer("shop"), NOW).issuer == ISSUER
    assert named(paths, own=True).client(OfIssuer("shop"), NOW).issuer == OWN
    with pytest.raises(UsageError, match="--issuer"):
        named(paths).client(OfIssuer("shop"), NOW)


@pytest.mark.parametrize("ahead", [-1, FARTHEST + 1])
def test_no_clock_is_so_far_ahead(paths: Paths, ahead: int) -> None:
    for refused in (
        lambda: named(paths).issuer(Plain(ISSUER, ahead_s=ahead), NOW),
        lambda: named(paths).principal(Plain("user:others/a", ahead_s=ahead), NOW),
        lambda: named(paths).session(OfIssuer("s", ISSUER, ahead_s=1), NOW),
    ):
        with pytest.raises(UsageError):
            refused()


def test_what_the_configuration_allows_is_what_is_counted_on() -> None:
    """A longer leeway or token would outlive the mark that refuses it."""
    for text in (
        FILE.replace("algorithms: [RS256]}", f"algorithms: [RS256], leeway: {FARTHEST + 1}s}}", 1),
        FILE + f"issuer: {{url: {OWN}, access_token: {LONGEST + 1}s}}\n",
    ):
        with pytest.raises(ConfigError, match="it can be from"):
            config(text)
    config(FILE + f"issuer: {{url: {OWN}, access_token: {LONGEST}s}}\n")


# -- principals


@pytest.mark.parametrize(
    ("text", "own", "kept"),
    [
        ("user:login.example.com/alice", False, True),
        ("user:others/alice", False, True),
        ("service:partners/spiffe://x/z", False, True),  # its certificate may live for years
        ("user:interlock/alice", True, False),
        ("service:interlock/billing", True, False),
        ("user:interlock/mapped", True, True),  # a certificate can be this one's
    ],
)
def test_principals(paths: Paths, text: str, own: bool, kept: bool) -> None:
    doomed = named(paths).principal(Plain(text), NOW)
    assert (doomed.kind, doomed.id, doomed.handle, doomed.marked) == ("principal", text, principal_handle(text), True)
    assert doomed.own is own
    assert doomed.expires == (0 if kept else NOW + OWN_LIFE)
    later = NOW + 10 * OWN_LIFE
    assert named(paths).principal(Plain(text, until_ns=later), NOW).expires == later


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice", "is written"),
        ("user:alice", "is written"),
        ("user:login.example.org/alice", "nobody vouches"),
        ("nobody:interlock/alice", "is written"),
        ("user:interlock/", "is written"),
    ],
)
def test_what_names_no_principal(paths: Paths, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        named(paths).principal(Plain(text), NOW)


def test_users_by_their_bare_name_are_our_own(paths: Paths) -> None:
    assert named(paths).user(Plain("alice"), NOW).id == "user:interlock/alice"
    assert named(paths).user(Plain("user:others/alice"), NOW).id == "user:others/alice"
    for text in ("service:interlock/billing", "user:nowhere/alice", ""):
        with pytest.raises(UsageError):
            named(paths).user(Plain(text), NOW)


# -- certificates


def test_certificates(paths: Paths) -> None:
    leaf = Authority().issue(uris=["spiffe://x/y"])
    hexed = leaf.fingerprint.hex()
    colons = ":".join(hexed[at : at + 2] for at in range(0, 64, 2)).upper()
    for text in (hexed, colons, f"SHA256:{hexed}", f"sha256 Fingerprint={colons}"):
        doomed = named(paths).certificate(OfCertificate(text), NOW)
        assert (doomed.handle, doomed.id, doomed.expires) == (certificate_handle(leaf.fingerprint), hexed, 0)
    whole = named(paths).certificate(OfCertificate(pem=leaf.pem), NOW)
    assert whole.handle == certificate_handle(leaf.fingerprint)
    assert whole.expires == int(leaf.certificate.not_valid_after_utc.timestamp() + 1) * SECOND


@pytest.mark.parametrize(
    "wanted",
    [
        OfCertificate(),
        OfCertificate("00" * 32, "x"),
        OfCertificate(hashlib.sha1(b"").hexdigest()),
        OfCertificate("g" * 64),
        OfCertificate(pem="nonsense"),
        OfCertificate(pem="ü"),
        OfCertificate(pem=Authority().pem + Authority().pem),
    ],
)
def test_what_names_no_certificate(paths: Paths, wanted: OfCertificate) -> None:
    with pytest.raises(UsageError):
        named(paths).certificate(wanted, NOW)
