"""Clients that register themselves, RFC 7591 and RFC 7592: what they may say, and what they would like to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.control.credentials import Doomed
from interlock.control.dependants import Families
from interlock.errors import RecordUnavailable, StateError
from interlock.issuer import registration_endpoint
from interlock.issuer.http import Response
from interlock.issuer.registry import Registry
from interlock.keys import lookup_hash
from interlock.model import Event, Identity, Refusal
from interlock.store.registrations import InitialToken, Registrations
from tests.unit.issuer.desk import LOOKUP, URL, Desk, claims_of, header, told
from tests.unit.issuer.test_refresh_tokens import Family
from tests.unit.jose.material import ec, public

REGISTER = "/oauth/register"
INITIAL = "ili_initial-access-token"
WEB = {"client_name": "Shop", "redirect_uris": ["https://shop.example/cb"]}


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path, registration="token", scopes={"ledger": "See your ledger"}, details={"pay": {}})
    made.issuer.registrations = Registrations(made.state)
    initial(made, uses=10)
    yield made
    made.state.close()


def initial(desk: Desk, text: str = INITIAL, *, uses: int = 1, seconds: int = 3600) -> None:
    now = desk.clock.wall()
    hashed = lookup_hash(LOOKUP, text.encode())
    Registrations(desk.state).add(InitialToken(f"id-{text[-5:]}", uses, now, now + seconds * SECOND, hashed))


def send(desk: Desk, method: str, path: str, body: Any = None, token: str = INITIAL) -> Response:
    return desk.send(
        method,
        path,
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        body=b"" if body is None else msgspec.json.encode(body),
    )


def register(desk: Desk, token: str = INITIAL, **metadata: Any) -> Response:
    return send(desk, "POST", REGISTER, {**WEB, **metadata}, token)


def registered(desk: Desk, **metadata: Any) -> dict[str, Any]:
    answer = register(desk, **metadata)
    assert answer.status == 201, answer.body
    return told(answer)


def error(answer: Response) -> str:
    return str(told(answer)["error"])


def own(desk: Desk, made: dict[str, Any], method: str, body: Any = None, token: str | None = None) -> Response:
    """The client manages its registration."""
    path = made["registration_client_uri"].removeprefix(URL)
    return send(desk, method, path, body, made["registration_access_token"] if token is None else token)


def test_a_client_registers_and_uses_what_it_was_given(desk: Desk) -> None:
    answer = register(desk, scope="openid ledger")
    assert answer.status == 201
    assert header(answer, "cache-control") == "no-store"
    made = told(answer)
    assert made["client_id"].startswith("dyn-")
    assert made["client_secret"].startswith("ils_")
    assert made["client_secret_expires_at"] == 0
    assert made["registration_client_uri"] == f"{URL}/oauth/register/{made['client_id']}"
    assert made["grant_types"] == ["authorization_code"]
    assert made["response_types"] == ["code"]
    assert made["scope"] == "openid ledger"
    client = desk.clients.get(made["client_id"])
    assert client.self_registered
    assert client.principal == f"service:interlock/registered/{made['client_id']}"
    assert client.roles == ()
    assert not client.first_party
    (act,) = desk.record.of(Event.CLIENT_CREATE)
    assert act["initial"] == "id-token"
    assert act["name"] == "Shop"
    for secret in (made["client_secret"], made["registration_access_token"], INITIAL):
        assert secret not in str(desk.record.acts)
        assert secret.encode() not in (Path(desk.state.path).read_bytes())
    asked = desk.token(made["client_id"], made["client_secret"], grant_type="authorization_code", code="x")
    assert error(asked) == "invalid_grant", "it is authenticated"


def test_the_metadata_says_where_only_if_it_is_offered(desk: Desk) -> None:
    where = "/.well-known/oauth-authorization-server"
    assert told(desk.send("GET", where))["registration_endpoint"] == URL + REGISTER
    desk.issuer.settings = desk.settings.model_copy(update={"registration": "off"})
    assert "registration_endpoint" not in told(desk.send("GET", where))
    assert register(desk).status == 404


# -- who may


def test_without_a_token_that_holds_nobody_registers(desk: Desk) -> None:
    for token in ("", "nonsense", "ili_other", INITIAL + "x", INITIAL[:-1]):
        answer = register(desk, token)
        assert (answer.status, error(answer)) == (401, "invalid_token")
        assert header(answer, "www-authenticate").startswith("Bearer ")
    basic = desk.send("POST", REGISTER, headers={"content-type": "application/json"}, body=b"{}", basic=("a", INITIAL))
    assert basic.status == 401
    initial(desk, "ili_short", seconds=10)
    desk.clock.pass_seconds(10)
    assert register(desk, "ili_short").status == 401


def test_a_token_is_good_as_often_as_was_said(desk: Desk) -> None:
    initial(desk, "ili_twice", uses=2)
    assert register(desk, "ili_twice", redirect_uris=["javascript:alert(1)"]).status == 400
    assert register(desk, "ili_twice").status == 201, "a mistake costs nothing"
    assert register(desk, "ili_twice").status == 201
    assert register(desk, "ili_twice").status == 401


def test_what_cannot_be_recorded_is_not_done_and_costs_no_use(desk: Desk) -> None:
    initial(desk, "ili_once")
    desk.record.broken = RecordUnavailable("the disk is full")
    assert register(desk, "ili_once").status == 503
    assert desk.clients.all() == []
    desk.record.broken = None
    assert register(desk, "ili_once").status == 201


def test_there_are_not_more_than_so_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration_endpoint, "MOST", 1)
    assert register(desk).status == 201
    assert register(desk).status == 503
    desk.client("made by an operator")
    assert register(desk).status == 503


# -- what it would like to be


def test_nobody_gives_themselves_roles_or_the_trust_of_an_operator(desk: Desk) -> None:
    made = registered(
        desk,
        roles=["interlock:admin"],
        principal="service:interlock/billing",
        client_id="billing",
        client_secret="chosen",
        first_party=True,
        opaque=True,
        resources=["https://elsewhere.example"],
        registration="x",
        assertion_issuer="https://evil.example",
        assertion_subjects=["x"],
        backchannel_logout_uri="http://169.254.169.254/",
        secrets=[],
        scope="ledger",
        grant_types=["authorization_code", "client_credentials"],
    )
    client = desk.clients.get(made["client_id"])
    assert client.roles == client.resources == client.assertion_subjects == ()
    assert client.client_id != "billing"
    assert "billing" not in client.principal
    trusted = (client.first_party, client.opaque, client.backchannel_logout_uri, client.assertion_issuer)
    assert not any(trusted)
    answer = desk.token(made["client_id"], made["client_secret"], grant_type="client_credentials")
    claims = claims_of(told(answer)["access_token"])
    assert "roles" not in claims
    assert "scope" not in claims, "its scopes are for what people allow"
    asked = desk.token(made["client_id"], made["client_secret"], grant_type="client_credentials", scope="ledger")
    assert error(asked) == "invalid_scope"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"software_statement": "eyJ..."}, "unapproved_software_statement"),
        ({"jwks_uri": "http://169.254.169.254/latest/meta-data"}, "invalid_client_metadata"),
        ({"jwks_uri": "https://shop.example/jwks"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "self_signed_tls_client_auth"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
        ({"grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]}, "invalid_client_metadata"),
        ({"grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"grant_types": []}, "invalid_client_metadata"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),  # redirect URIs have no meaning then
        ({"grant_types": ["client_credentials"], "token_endpoint_auth_method": "none"}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"response_types": ["code", "code id_token"]}, "invalid_client_metadata"),
        ({"response_types": []}, "invalid_client_metadata"),
        ({"scope": "openid admin"}, "invalid_client_metadata"),
        ({"authorization_details_types": ["other"]}, "invalid_client_metadata"),
        ({"client_name": "Shop\u202egnp.exe"}, "invalid_client_metadata"),
        ({"client_name": "Shop\n" + "x"}, "invalid_client_metadata"),
        ({"client_name": "x" * 101}, "invalid_client_metadata"),
        ({"client_name": 1}, "invalid_client_metadata"),
        ({"client_uri": "javascript:alert(1)"}, "invalid_client_metadata"),
        ({"client_uri": "https://user@shop.example/"}, "invalid_client_metadata"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "invalid_client_metadata"),
        ({"jwks": {"keys": []}}, "invalid_client_metadata"),
        ({"jwks": "x"}, "invalid_client_metadata"),
        ({"dpop_bound_access_tokens": "yes"}, "invalid_client_metadata"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://shop.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://shop.example/cb#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://*.shop.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://shop.example@evil.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["data:text/html,x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["com.example.app:/cb"]}, "invalid_redirect_uri"),  # not of a confidential client
        ({"redirect_uris": ["//shop.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": [f"https://shop.example/{number}" for number in range(33)]}, "invalid_client_metadata"),
        ({"post_logout_redirect_uris": ["javascript:x"]}, "invalid_redirect_uri"),
    ],
    ids=str,
)
def test_what_is_not_offered_is_refused(desk: Desk, metadata: dict[str, Any], expected: str) -> None:
    answer = register(desk, **metadata)
    assert (answer.status, error(answer)) == (400, expected), answer.body
    assert desk.clients.all() == []


def test_other_bodies_are_refused(desk: Desk) -> None:
    large = msgspec.json.encode({**WEB, "ignored": "x" * 70_000})
    for body in (b"", b"[]", b"nonsense", b"{" * 100, large):
        headers = {"authorization": f"Bearer {INITIAL}", "content-type": "application/json"}
        assert desk.send("POST", REGISTER, headers=headers, body=body).status == 400
    form = desk.send("POST", REGISTER, form={"client_name": "x"}, headers={"authorization": f"Bearer {INITIAL}"})
    assert form.status == 400


def test_keys_come_with_the_registration(desk: Desk) -> None:
    jwks = msgspec.json.decode(public(ec()))
    made = registered(desk, token_endpoint_auth_method="private_key_jwt", jwks=jwks)
    assert "client_secret" not in made
    assert made["jwks"] == jwks
    private = {"keys": [ec().as_dict(private=True)]}
    assert (
        error(register(desk, token_endpoint_auth_method="private_key_jwt", jwks=private)) == "invalid_client_metadata"
    )


def test_a_public_client_may_have_a_scheme_of_its_own(desk: Desk) -> None:
    made = registered(desk, token_endpoint_auth_method="none", redirect_uris=["com.example.app:/cb"])
    assert "client_secret" not in made
    assert made["token_endpoint_auth_method"] == "none"


def test_under_fapi2_only_what_it_allows(desk: Desk) -> None:
    desk.issuer.settings = desk.settings.model_copy(update={"profile": "fapi2"})
    assert error(register(desk)) == "invalid_client_metadata"
    assert error(register(desk, token_endpoint_auth_method="none")) == "invalid_client_metadata"
    jwks = msgspec.json.decode(public(ec()))
    assert register(desk, token_endpoint_auth_method="private_key_jwt", jwks=jwks).status == 201


# -- afterwards


def test_it_reads_what_it_is_without_anything_secret(desk: Desk) -> None:
    made = registered(desk)
    found = told(own(desk, made, "GET"))
    assert found["client_name"] == "Shop"
    assert "client_secret" not in found
    assert "registration_access_token" not in found
    assert own(desk, made, "HEAD").status == 200
    assert own(desk, made, "POST", WEB).status == 405


def test_only_its_own_token_opens_it(desk: Desk) -> None:
    made, other = registered(desk), registered(desk)
    desk.client("by-hand")
    for token in ("", "x", INITIAL, made["client_secret"], other["registration_access_token"]):
        for method in ("GET", "PUT", "DELETE"):
            answer = own(desk, made, method, {**WEB, "client_id": made["client_id"]}, token)
            assert (answer.status, error(answer)) == (401, "invalid_token")
    nobody = send(desk, "GET", f"{REGISTER}/dyn-nobody", None, made["registration_access_token"])
    by_hand = send(desk, "GET", f"{REGISTER}/by-hand", None, made["registration_access_token"])
    empty = send(desk, "GET", f"{REGISTER}/by-hand", None, "")
    wrong = own(desk, made, "GET", None, "x")
    assert nobody.body == by_hand.body == empty.body == wrong.body
    assert own(desk, made, "GET").status == 200


def test_put_replaces_all_of_it_and_the_token(desk: Desk) -> None:
    made = registered(desk, scope="openid ledger", client_uri="https://shop.example")
    desk.clients.change(made["client_id"], roles=("caller",))
    wanted = {**WEB, "client_id": made["client_id"], "client_name": "New shop", "client_secret": made["client_secret"]}
    changed = told(own(desk, made, "PUT", wanted))
    assert changed["client_name"] == "New shop"
    assert changed["scope"] == "openid", "what it does not say is as if it had never said it"
    assert "client_uri" not in changed
    assert "client_secret" not in changed, "it has one"
    assert own(desk, made, "GET").status == 401, "the former token is nothing"
    assert own(desk, {**made, **changed}, "GET").status == 200
    client = desk.clients.get(made["client_id"])
    assert client.roles == ("caller",), "what an operator gave stays"
    assert client.self_registered
    (act,) = desk.record.of(Event.CLIENT_CHANGE)
    assert act["by"] == "the client"


def test_put_does_not_become_what_post_would_not(desk: Desk) -> None:
    made = registered(desk)
    good = {**WEB, "client_id": made["client_id"]}
    for wrong, expected in (
        (WEB, "invalid_request"),
        ({**WEB, "client_id": "dyn-other"}, "invalid_request"),
        ({**good, "client_secret": "chosen"}, "invalid_request"),
        ({**good, "client_secret": 1}, "invalid_request"),
        ({**good, "registration_access_token": made["registration_access_token"]}, "invalid_request"),
        ({**good, "registration_client_uri": "https://evil.example"}, "invalid_request"),
        ({**good, "client_id_issued_at": 0}, "invalid_request"),
        ({**good, "client_secret_expires_at": 0}, "invalid_request"),
        ({**good, "jwks_uri": "http://127.0.0.1/"}, "invalid_client_metadata"),
        ({**good, "redirect_uris": ["https://evil.example/#"]}, "invalid_redirect_uri"),
        ({**good, "grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]}, "invalid_client_metadata"),
    ):
        answer = own(desk, made, "PUT", wrong)
        assert (answer.status, error(answer)) == (400, expected), wrong
    again = {**good, "roles": ["admin"], "principal": "service:interlock/billing", "first_party": True, "disabled": 0}
    assert own(desk, made, "PUT", again).status == 200
    client = desk.clients.get(made["client_id"])
    assert (client.roles, client.first_party) == ((), False)


def test_another_way_to_authenticate_ends_the_one_before(desk: Desk) -> None:
    made = registered(desk, grant_types=["authorization_code", "client_credentials"])
    jwks = msgspec.json.decode(public(ec()))
    wanted = {**WEB, "client_id": made["client_id"], "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks}
    wanted["grant_types"] = ["authorization_code", "client_credentials"]
    changed = told(own(desk, made, "PUT", wanted))
    assert desk.token(made["client_id"], made["client_secret"], grant_type="client_credentials").status == 401
    back = {**wanted, "token_endpoint_auth_method": "client_secret_basic"}
    again = told(own(desk, {**made, **changed}, "PUT", back))
    assert again["client_secret"] != made["client_secret"]
    assert desk.token(made["client_id"], again["client_secret"], grant_type="client_credentials").status == 200


def test_of_two_changes_at_once_one_is_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = registered(desk)
    stale = desk.issuer.registry.get(made["client_id"])
    assert stale is not None
    wanted = {**WEB, "client_id": made["client_id"]}
    assert own(desk, made, "PUT", wanted).status == 200
    monkeypatch.setattr(desk.issuer.registry, "get", lambda *_: stale)  # as it was when the other request came
    assert own(desk, made, "PUT", wanted).status == 401


def test_a_change_brings_no_ended_secret_back(desk: Desk) -> None:
    made = registered(desk, grant_types=["authorization_code", "client_credentials"])
    stale = desk.issuer.registry.get(made["client_id"])
    assert stale is not None
    ended = tuple(msgspec.structs.replace(one, until=desk.clock.wall()) for one in stale.client.secrets)
    desk.clients.change(made["client_id"], secrets=ended, roles=("caller",))  # while the request was on its way
    wanted = {**WEB, "client_id": made["client_id"], "grant_types": ["authorization_code", "client_credentials"]}
    changed = told(own(desk, made, "PUT", wanted))
    assert desk.token(made["client_id"], made["client_secret"], grant_type="client_credentials").status == 401
    assert desk.token(made["client_id"], changed["client_secret"], grant_type="client_credentials").status == 200
    assert desk.clients.get(made["client_id"]).roles == ("caller",)


@pytest.mark.parametrize(
    ("owner", "step"),
    [("revoker", "client"), ("clients", "revoke_grants"), ("clients", "remove"), ("registry", "drop")],
)
def test_a_removal_that_broke_off_is_gone_through_with(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, owner: str, step: str
) -> None:
    """Asked for again it either goes on, or everything is gone already; also after the process was started anew."""
    made = registered(desk, grant_types=["authorization_code", "refresh_token"])
    family = Family(desk, made["client_id"], known=False, scopes=("openid",))
    desk.clients.allow("acc", made["client_id"], frozenset({"openid"}), frozenset(), 1)

    def broken(*_: object, **__: object) -> None:
        raise StateError("database is locked")

    with monkeypatch.context() as once:
        once.setattr(getattr(desk.issuer, owner), step, broken)
        assert own(desk, made, "DELETE").status == 503
    desk.issuer.registry = Registry(desk.clients, LOOKUP)
    assert own(desk, made, "DELETE").status == (401 if step == "drop" else 204)
    desk.issuer.registry = Registry(desk.clients, LOOKUP)
    assert own(desk, made, "GET").status == 401
    assert not family.opens(family.access)
    assert desk.clients.consent("acc", made["client_id"]) == (frozenset(), frozenset())
    assert desk.clients.living_grants(desk.clock.wall(), client_id=made["client_id"]) == []


def test_what_removes_itself_takes_its_tokens_along(desk: Desk) -> None:
    made = registered(desk, grant_types=["authorization_code", "client_credentials"])
    token = told(desk.token(made["client_id"], made["client_secret"], grant_type="client_credentials"))["access_token"]
    workers = desk.verifier([URL])
    assert isinstance(workers.verify(token.encode(), desk.clock.wall()), Identity)
    answer = own(desk, made, "DELETE")
    assert (answer.status, answer.body) == (204, b"")
    assert isinstance(workers.verify(token.encode(), desk.clock.wall()), Refusal)
    assert own(desk, made, "GET").status == 401
    assert desk.token(made["client_id"], made["client_secret"], grant_type="client_credentials").status == 401
    assert desk.clients.all() == []
    assert desk.record.of(Event.CLIENT_DISABLE)[0]["by"] == "the client"


def test_a_disabled_client_manages_nothing(desk: Desk) -> None:
    made = registered(desk)
    desk.clients.change(made["client_id"], disabled=desk.clock.wall())
    assert own(desk, made, "GET").status == 401
    assert own(desk, made, "PUT", {**WEB, "client_id": made["client_id"]}).status == 401


def test_one_that_was_revoked_manages_nothing_and_comes_to_no_new_secret(desk: Desk) -> None:
    """The attack: who has its registration access token asks for another secret after the old one was revoked."""
    made = registered(desk, grant_types=["authorization_code", "client_credentials"])
    families = Families(desk.state, lambda _client: None)
    client_id, now = made["client_id"], desk.clock.wall()
    dead = families.kill(Doomed(kind="client", id=client_id, handle=b"h" * 32, own=True), now, "revoked")
    assert {one.kind for one in dead} == {"client-secret", "registration-token"}
    wanted = {**WEB, "client_id": client_id, "grant_types": ["authorization_code", "client_credentials"]}
    for method, body in (("GET", None), ("PUT", wanted), ("DELETE", None)):
        answer = own(desk, made, method, body)
        assert answer.status == 401, method
        assert "client_secret" not in told(answer)
    assert own(desk, {**made, "registration_access_token": ""}, "GET").status == 401
    assert desk.issuer.registry.get(client_id) is not None, "an operator can give it another secret"
    assert desk.token(client_id, made["client_secret"], grant_type="client_credentials").status == 401


def test_paths_beside_it_are_nothing(desk: Desk) -> None:
    made = registered(desk)
    token = made["registration_access_token"]
    for path in (f"{REGISTER}/", f"{REGISTER}/{made['client_id']}/x", f"{REGISTER}x"):
        assert send(desk, "GET", path, None, token).status in (401, 404), path
