"""Token exchange, RFC 8693: less for the same, by whom, and what somebody would gain who could get more."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.identity.handles import (
    client_handle,
    family_handle,
    issuer_handle,
    principal_handle,
    session_handle,
    token_handle,
)
from interlock.issuer.access import Access
from interlock.issuer.http import Response
from interlock.model import Event, Identity, Reason, Refusal
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, told
from tests.unit.issuer.outsiders import OUTSIDE, WORKLOAD, Outside, with_proofs

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
TOKEN = "urn:ietf:params:oauth:token-type:access_token"
API = "https://ledger.example.com"
CERTIFICATE = b"a certificate in DER"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.issuer.settings = desk.settings.model_copy(update={"resources": (API,)})
    desk.issuer.tokens = desk.verifier([URL, API])
    desk.client("app", scopes=("read", "write"))
    desk.client("ledger", grant_types=(GRANT,), scopes=("read", "write", "audit"), resources=(URL, API), roles=("svc",))
    return desk


def alice(desk: Desk, **fields: Any) -> str:
    """A token that Alice allowed the app."""
    values: dict[str, Any] = {
        "client_id": "app",
        "principal": "user:interlock/alice",
        "subject": "usr-alice",
        "audience": (URL, API),
        "scopes": ("read", "write"),
        "roles": ("teller",),
        "session": "sid-1",
        "family": "fam-1",
        "auth_time": 1_799_999_000,
        "acr": "1",
        "amr": ("pwd",),
        **fields,
    }
    return desk.mint(Access(**values))


def exchange(desk: Desk, subject: str, client_id: str = "ledger", *, dpop: str = "", **form: str) -> Response:
    form = {"grant_type": GRANT, "subject_token": subject, "subject_token_type": TOKEN, **form}
    headers = {"dpop": dpop} if dpop else {}
    return desk.send("POST", "/oauth/token", form=form, basic=(client_id, SECRET), headers=headers)


def exchanged(desk: Desk, subject: str, client_id: str = "ledger", **more: Any) -> dict[str, Any]:
    """The claims of what is given."""
    answer = exchange(desk, subject, client_id, **more)
    assert answer.status == 200, answer.body
    return claims_of(told(answer)["access_token"])


def error(answer: Response) -> str:
    return str(told(answer)["error"])


def test_an_api_acts_for_alice(desk: Desk) -> None:
    answer = exchange(desk, alice(desk), scope="read", resource=API)
    body = told(answer)
    assert body["issued_token_type"] == TOKEN
    assert body["token_type"] == "Bearer"
    assert body["scope"] == "read"
    assert "refresh_token" not in body
    claims = claims_of(body["access_token"])
    assert claims["principal"] == "user:interlock/alice"
    assert (claims["sub"], claims["client_id"], claims["aud"]) == ("usr-alice", "ledger", API)
    assert claims["act"] == {"sub": "ledger", "client_id": "ledger", "principal": "service:interlock/ledger"}
    assert claims["roles"] == ["teller"], "hers, not the client's"
    assert (claims["sid"], claims["fid"], claims["acr"]) == ("sid-1", "fam-1", "1")
    assert desk.record.of(Event.TOKEN_ISSUE)[-1]["act"] == "ledger"
    assert isinstance(desk.verifier([API]).verify(body["access_token"].encode(), desk.clock.wall()), Identity)
    assert isinstance(desk.verifier([URL]).verify(body["access_token"].encode(), desk.clock.wall()), Refusal)


# -- never more


def test_scope_audience_and_details_are_only_narrowed(desk: Desk) -> None:
    token = alice(desk, scopes=("read",), audience=(URL,))
    assert exchanged(desk, token)["scope"] == "read"
    assert error(exchange(desk, token, scope="read write")) == "invalid_scope", "the client may, Alice did not"
    assert error(exchange(desk, token, scope="audit")) == "invalid_scope"
    assert error(exchange(desk, token, resource=API)) == "invalid_target"
    assert error(exchange(desk, token, audience=API)) == "invalid_target"
    assert error(exchange(desk, token, resource=URL, audience=API)) == "invalid_target"
    assert error(exchange(desk, token, resource="https://elsewhere.example")) == "invalid_target"
    assert exchanged(desk, token, resource=URL, audience=URL)["aud"] == URL
    assert exchanged(desk, alice(desk))["aud"] == [URL, API]
    desk.client("small", grant_types=(GRANT,), scopes=("read",), resources=(API,))
    less = exchanged(desk, alice(desk), "small")
    assert (less["aud"], less["scope"]) == (API, "read"), "what the client may not ask for is left out"
    assert error(exchange(desk, alice(desk), "small", resource=URL)) == "invalid_target"
    assert error(exchange(desk, alice(desk), "small", scope="write")) == "invalid_scope"


def test_it_does_not_outlive_what_it_was_exchanged_for(desk: Desk) -> None:
    token = alice(desk, expires=desk.clock.wall() + 100 * SECOND)
    desk.clock.pass_seconds(60)
    first = told(exchange(desk, token))
    assert first["expires_in"] == 40
    desk.clock.pass_seconds(30)
    assert told(exchange(desk, first["access_token"]))["expires_in"] == 10, "nor does one that was exchanged again"
    desk.clock.pass_seconds(10)
    assert error(exchange(desk, token)) == "invalid_request"


def test_details_are_whole_or_not_there(desk: Desk) -> None:
    details = {"pay": {"fields": {"to": "text", "amount": "number"}}}
    settings = desk.settings.model_validate({"url": URL, "resources": [API], "details": details})
    desk.issuer.settings = settings
    desk.client("payer", grant_types=(GRANT,), resources=(URL, API), authorization_details_types=("pay",))
    token = alice(desk, details=({"type": "pay", "to": "bob", "amount": 1}, {"type": "pay", "to": "eve", "amount": 2}))
    assert len(exchanged(desk, token, "payer")["authorization_details"]) == 2
    one = '[{"amount": 1, "to": "bob", "type": "pay"}]'
    assert exchanged(desk, token, "payer", authorization_details=one)["authorization_details"] == [
        {"type": "pay", "to": "bob", "amount": 1}
    ]
    for more in (
        '[{"type":"pay","to":"bob","amount":9}]',
        '[{"type":"pay","to":"bob","amount":1.0}]',
        '[{"type":"pay","to":"bob"}]',
        '[{"type":"pay","amount":true}]',
    ):
        assert error(exchange(desk, token, "payer", authorization_details=more)) == "invalid_authorization_details"
    assert "authorization_details" not in exchanged(desk, token), "a client that is not registered for the type"


# -- who may


def test_a_client_for_which_it_was_not_meant_gets_nothing(desk: Desk) -> None:
    desk.client("thief", grant_types=(GRANT,), scopes=("read",))
    assert error(exchange(desk, alice(desk), "thief")) == "invalid_request"
    assert error(exchange(desk, alice(desk), "app")) == "unauthorized_client", "not its grant type"
    desk.client("spa", token_endpoint_auth_method="none", grant_types=(GRANT,), resources=(URL,))
    form = {"grant_type": GRANT, "client_id": "spa", "subject_token": alice(desk), "subject_token_type": TOKEN}
    assert error(desk.send("POST", "/oauth/token", form=form)) == "unauthorized_client", "anybody could be it"


def test_a_client_in_the_audience_by_its_own_name(desk: Desk) -> None:
    desk.client("named", grant_types=(GRANT,), scopes=("read",))
    assert exchanged(desk, alice(desk, audience=(URL, "named")), "named")["aud"] == URL


def test_a_client_takes_less_of_its_own(desk: Desk) -> None:
    own = alice(desk, client_id="ledger")
    less = exchanged(desk, own, scope="read")
    assert "act" not in less, "nobody else acts"
    assert less["scope"] == "read"


def test_may_act_is_honoured_and_stays(desk: Desk) -> None:
    desk.client("other", grant_types=(GRANT,), scopes=("read",), resources=(URL, API))
    token = alice(desk, may_act={"sub": "ledger"})
    assert error(exchange(desk, token, "other")) == "invalid_request", "although it is meant for it"
    claims = exchanged(desk, token)
    assert claims["may_act"] == {"sub": "ledger"}
    again = told(exchange(desk, token))["access_token"]
    assert error(exchange(desk, again, "other")) == "invalid_request"
    for wrong in (
        {},
        {"iss": URL},
        {"sub": "ledger", "iss": OUTSIDE},
        {"sub": "ledger", "email": "x"},
        {"sub": ["ledger"]},
    ):
        assert error(exchange(desk, alice(desk, may_act=wrong))) == "invalid_request", wrong
    apart = alice(desk, audience=(URL,), may_act={"sub": "ledger", "iss": URL})
    assert exchanged(desk, apart)["aud"] == URL


# -- who acts


def actor_of(desk: Desk, **fields: Any) -> dict[str, str]:
    values = {"client_id": "ledger", "principal": "user:interlock/bob", "subject": "usr-bob", "session": "sid-bob"}
    return {"actor_token": alice(desk, **{**values, "family": "", **fields}), "actor_token_type": TOKEN}


def test_an_actor_of_the_clients_own_is_named(desk: Desk) -> None:
    claims = exchanged(desk, alice(desk), **actor_of(desk))
    assert claims["principal"] == "user:interlock/alice"
    assert claims["act"] == {"sub": "usr-bob", "client_id": "ledger", "principal": "user:interlock/bob"}


def test_nobody_is_made_an_actor_by_anothers_token(desk: Desk) -> None:
    assert error(exchange(desk, alice(desk), **actor_of(desk, client_id="app"))) == "invalid_request"
    acting = {"act": {"sub": "x"}}
    assert error(exchange(desk, alice(desk), **actor_of(desk, **acting))) == "invalid_request"
    assert error(exchange(desk, alice(desk), actor_token=actor_of(desk)["actor_token"])) == "invalid_request"
    assert error(exchange(desk, alice(desk), actor_token_type=TOKEN)) == "invalid_request"
    assert error(exchange(desk, alice(desk, may_act={"sub": "ledger"}), **actor_of(desk))) == "invalid_request"
    named = alice(desk, may_act={"sub": "usr-bob"})
    assert exchanged(desk, named, **actor_of(desk))["act"]["sub"] == "usr-bob"


def test_the_actors_token_bounds_it_too(desk: Desk) -> None:
    actor = actor_of(desk, expires=desk.clock.wall() + 30 * SECOND)
    answer = told(exchange(desk, alice(desk), **actor))
    assert answer["expires_in"] == 30
    workers = desk.verifier([URL])
    token = answer["access_token"].encode()
    assert isinstance(workers.verify(token, desk.clock.wall()), Identity)
    desk.directory.revoke(session_handle(URL, "sid-bob"))
    assert isinstance(workers.verify(token, desk.clock.wall()), Refusal), "the actor has gone"


def test_the_chain_of_actors_is_told_and_ends(desk: Desk) -> None:
    token = alice(desk)
    for number in range(4):
        desk.client(f"hop{number}", grant_types=(GRANT,), scopes=("read", "write"), resources=(URL, API))
        token = told(exchange(desk, token, f"hop{number}"))["access_token"]
    act = claims_of(token)["act"]
    chain = []
    while act:
        chain.append(act["sub"])
        act = act.get("act")
    assert chain == ["hop3", "hop2", "hop1", "hop0"]
    assert error(exchange(desk, token)) == "invalid_request", "five would act for each other"
    assert exchange(desk, token, "hop3").status == 200, "less of its own token adds nobody"


def test_a_token_is_not_exchanged_for_ever(desk: Desk) -> None:
    token = alice(desk)
    for _ in range(30):
        answer = exchange(desk, token)
        if answer.status != 200:
            break
        token = told(answer)["access_token"]
    assert error(answer) == "invalid_request"


# -- what does not hold


@pytest.mark.parametrize(
    "handle",
    [
        lambda claims: token_handle(URL, claims["jti"]),
        lambda claims: session_handle(URL, "sid-1"),
        lambda claims: family_handle(URL, "fam-1"),
        lambda claims: client_handle(URL, "app"),
        lambda claims: principal_handle("user:interlock/alice"),
        lambda claims: issuer_handle(URL),
    ],
    ids=["token", "session", "family", "client", "principal", "issuer"],
)
def test_revoking_what_it_stands_on_kills_both(desk: Desk, handle: Any) -> None:
    subject = alice(desk)
    token = told(exchange(desk, subject))["access_token"]
    again = told(exchange(desk, token))["access_token"]
    workers = desk.verifier([URL])
    assert isinstance(workers.verify(again.encode(), desk.clock.wall()), Identity)
    desk.directory.revoke(handle(claims_of(subject)))
    for dead in (token, again):
        found = workers.verify(dead.encode(), desk.clock.wall())
        assert isinstance(found, Refusal)
        assert found.reason is Reason.CREDENTIAL_REVOKED
    assert error(exchange(desk, subject)) == "invalid_request"
    assert error(exchange(desk, token)) == "invalid_request"


def test_a_mark_over_the_first_client_reaches_it_as_well(desk: Desk) -> None:
    token = told(exchange(desk, alice(desk)))["access_token"]
    desk.directory.mark(client_handle(URL, "app"), desk.clock.wall() // SECOND + 1)
    assert isinstance(desk.verifier([URL]).verify(token.encode(), desk.clock.wall()), Refusal)


def test_other_texts_and_types_are_refused(desk: Desk) -> None:
    good = alice(desk)
    cut = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    identity_token = desk.keys.signer.sign({**claims_of(good), "aud": URL}, "JWT")
    for bad in ("", "nonsense", "ü", cut, identity_token, "ilr_" + "A" * 22 + "." + "A" * 43):
        assert error(exchange(desk, bad)) == "invalid_request", bad
    kind = "urn:ietf:params:oauth:token-type:refresh_token"
    assert error(exchange(desk, good, subject_token_type=kind)) == "invalid_request"
    assert error(exchange(desk, good, requested_token_type=kind)) == "invalid_request"
    assert exchange(desk, good, requested_token_type=TOKEN).status == 200
    assert error(desk.token("ledger", grant_type=GRANT, subject_token=good)) == "invalid_request"
    assert error(desk.token("ledger", grant_type=GRANT, subject_token_type=TOKEN)) == "invalid_request"


# -- possession


def test_a_bound_token_needs_the_same_proof_and_stays_bound(desk: Desk) -> None:
    with_proofs(desk)
    token = alice(desk, jkt=hashlib.sha256(b"hers").digest())
    assert error(exchange(desk, token)) == "invalid_dpop_proof"
    assert error(exchange(desk, token, dpop="another")) == "invalid_dpop_proof"
    assert error(exchange(desk, token, dpop="forged")) == "invalid_dpop_proof"
    answer = told(exchange(desk, token, dpop="hers"))
    assert answer["token_type"] == "DPoP"
    assert claims_of(answer["access_token"])["cnf"] == claims_of(token)["cnf"]
    assert told(exchange(desk, alice(desk), dpop="mine"))["token_type"] == "DPoP", "a free one may be bound"


def test_a_certificate_is_a_binding_as_well(desk: Desk) -> None:
    token = alice(desk, certificate=hashlib.sha256(CERTIFICATE).digest())
    form = {"grant_type": GRANT, "subject_token": token, "subject_token_type": TOKEN}
    assert error(exchange(desk, token)) == "invalid_request"
    other = desk.send("POST", "/oauth/token", form=form, basic=("ledger", SECRET), certificate=b"another")
    assert error(other) == "invalid_request"
    same = desk.send("POST", "/oauth/token", form=form, basic=("ledger", SECRET), certificate=CERTIFICATE)
    assert claims_of(told(same)["access_token"])["cnf"] == claims_of(token)["cnf"]


def test_an_actors_bound_token_binds_it_too(desk: Desk) -> None:
    with_proofs(desk)
    actor = actor_of(desk, jkt=hashlib.sha256(b"bobs").digest())
    assert error(exchange(desk, alice(desk), **actor)) == "invalid_dpop_proof"
    assert exchange(desk, alice(desk), dpop="bobs", **actor).status == 200
    certified = actor_of(desk, certificate=hashlib.sha256(CERTIFICATE).digest())
    form = {"grant_type": GRANT, "subject_token": alice(desk), "subject_token_type": TOKEN, **certified}
    assert error(desk.send("POST", "/oauth/token", form=form, basic=("ledger", SECRET))) == "invalid_request"
    given = desk.send("POST", "/oauth/token", form=form, basic=("ledger", SECRET), certificate=CERTIFICATE)
    assert "x5t#S256" in claims_of(told(given)["access_token"])["cnf"], "what was bound is not set free"


# -- tokens of others


@pytest.fixture
def outside(desk: Desk) -> Outside:
    made = Outside(desk)
    desk.issuer.exchanged = made.verifier
    desk.client("ci", roles=("deployer",), scopes=("read",), assertion_issuer=OUTSIDE, assertion_subjects=(WORKLOAD,))
    return made


def test_an_outside_token_speaks_for_a_client_of_ours(desk: Desk, outside: Outside) -> None:
    token = outside.token(scope="read write audit", roles=["interlock:admin"], sid="sid-1", fid="fam-1")
    claims = exchanged(desk, token)
    assert claims["principal"] == "service:interlock/ci"
    assert (claims["sub"], claims["roles"], claims["scope"]) == ("ci", ["deployer"], "read")
    assert claims["act"]["sub"] == "ledger"
    assert "sid" not in claims, "a session there is none of ours"
    assert "fid" not in claims
    assert exchanged(desk, token, resource=API)["aud"] == API
    assert error(exchange(desk, token, scope="write")) == "invalid_scope"


def test_outside_tokens_that_speak_for_nobody_are_refused(desk: Desk, outside: Outside) -> None:
    assert error(exchange(desk, outside.token(sub="somebody"))) == "invalid_request"
    assert error(exchange(desk, outside.token(aud="https://elsewhere.example"))) == "invalid_request"
    assert error(exchange(desk, outside.token(act={"sub": "x"}))) == "invalid_request"
    assert error(exchange(desk, outside.token(may_act={"sub": "ledger"}))) == "invalid_request", "a name of theirs"
    assert exchange(desk, outside.token(may_act={"sub": "ledger", "iss": URL})).status == 200
    assert error(exchange(desk, outside.token(exp=1))) == "invalid_request"
    assert error(exchange(desk, alice(desk), actor_token=outside.token(), actor_token_type=TOKEN)) == "invalid_request"
    desk.client("twin", assertion_issuer=OUTSIDE, assertion_subjects=(WORKLOAD,))
    assert error(exchange(desk, outside.token())) == "invalid_request", "nobody can tell for which of two"
    desk.issuer.exchanged = None
    assert error(exchange(desk, outside.token())) == "invalid_request", "the file does not say so"


def test_what_refuses_the_outside_token_refuses_ours(desk: Desk, outside: Outside) -> None:
    until = desk.clock.wall() // SECOND + 50
    answers = [told(exchange(desk, outside.token(jti=f"j{number}", exp=until))) for number in range(3)]
    assert {answer["expires_in"] for answer in answers} == {50}, "without leeway"
    workers = desk.verifier([URL, API])
    handles = (token_handle(OUTSIDE, "j0"), token_handle(OUTSIDE, "j1"), client_handle(URL, "ci"))
    for answer, handle in zip(answers, handles, strict=True):
        token = answer["access_token"].encode()
        assert isinstance(workers.verify(token, desk.clock.wall()), Identity)
        desk.directory.revoke(handle)
        assert isinstance(workers.verify(token, desk.clock.wall()), Refusal)


def test_a_handle_that_is_none_refuses_the_token(desk: Desk) -> None:
    claims = claims_of(alice(desk))
    for bad in ("x", ["x"], [1], ["AAAA"], None, {"a": 1}):
        text = desk.keys.signer.sign({**claims, "hangs_on": bad}, "at+jwt")
        assert isinstance(desk.verifier([URL]).verify(text.encode(), desk.clock.wall()), Refusal), bad


def test_the_metadata_names_the_grant(desk: Desk) -> None:
    found = told(desk.send("GET", "/.well-known/oauth-authorization-server"))["grant_types_supported"]
    assert GRANT in found
    assert msgspec.json.encode(found)
