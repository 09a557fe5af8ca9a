"""Clients written by others on Node.js, against the real issuer over TLS: openid-client, oauth4webapi."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.desk import AFTER, BACK, DEVICE, Desk, running, settled
from tests.integration.peers import missing, play, prepared
from tests.integration.person import Person, parameters
from tests.unit.jose.material import ec, public

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing("openid-client", "oauth4webapi")), reason=missing("openid-client", "oauth4webapi")),
]

SCOPES = ("--scope", "openid", "--scope", "profile", "--scope", "things.read")
PEOPLE = ("--grant", "authorization_code", "--grant", "refresh_token", "--redirect-uri", BACK, *SCOPES)
Play = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running(tmp_path_factory.mktemp("peers")) as desk:
        settled(time.monotonic())
        yield desk


@pytest.fixture(scope="module")
def alice(desk: Desk) -> Iterator[Person]:
    somebody = desk.person("alice")
    yield somebody
    somebody.close()


@pytest.fixture(scope="module")
def clients(desk: Desk) -> dict[str, dict[str, Any]]:
    keys = desk.node.folder / "keys.json"
    keys.write_text(public(ec("mine")))
    own = ("--grant", "client_credentials", "--role", "caller")
    signs = ("--auth", "private_key_jwt", "--jwks", str(keys))
    return {
        "program": desk.client("program", *own),
        "fresh": desk.client("fresh", *own, "--bound", "dpop"),
        "signer": desk.client("signer", *own, *PEOPLE, *signs),
        "web": desk.client("web", *PEOPLE, "--grant", DEVICE, "--post-logout-redirect-uri", AFTER),
        "bound": desk.client("bound", *PEOPLE, "--bound", "dpop"),
    }


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("scripts"))


@pytest.fixture
def plays(desk: Desk, alice: Person, clients: dict[str, dict[str, Any]], scripts: Path) -> Play:
    def answer(asked: dict[str, Any]) -> str:
        if "device" in asked:
            connect(alice, asked["device"], asked["code"])
            return alice.url
        return alice.sign_in(asked["visit"])

    def run(script: str, scene: str, name: str, **more: Any) -> dict[str, Any]:
        client = clients[name]
        given = {
            "issuer": desk.url,
            "id": client["client_id"],
            "secret": client.get("client_secret"),
            "back": BACK,
            "after": AFTER,
            "key": ec("mine").as_dict(private=True),
            **more,
        }
        return play(scripts, f"{script}.mjs", scene, given, ca=desk.ca, asked=answer)

    return run


def connect(person: Person, page: str, code: str) -> None:
    """Type a device's code, and allow what it asks."""
    if "/oauth/signin" in person.visit(page):
        person.submit("/oauth/signin/password", name=person.name, password=person.password)
    person.submit("/oauth/device", user_code=code)
    person.submit("/oauth/device/consent", decision="allow")
    assert "Connected" in person.text


# -- openid-client


def test_the_issuer_is_discovered_and_only_under_its_own_name(desk: Desk, plays: Play) -> None:
    said = plays("openid_client", "discovery", "web", elsewhere=f"https://127.0.0.1:{desk.node.port}")
    assert said == {"issuer": desk.url, "pkce": True, "elsewhere": "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED"}


def test_a_program_gets_looks_into_and_gives_back_a_token(plays: Play) -> None:
    said = plays("openid_client", "program", "program")
    assert said == {"before": [True, 200], "active": False, "after": "OAUTH_WWW_AUTHENTICATE_CHALLENGE"}


def test_a_program_signs_who_it_is(plays: Play) -> None:
    assert plays("openid_client", "signer", "signer") == {"status": 200}


def test_somebody_signs_in(desk: Desk, clients: dict[str, dict[str, Any]], plays: Play) -> None:
    said = plays("openid_client", "code", "web")
    assert said["claims"]["iss"] == desk.url
    assert said["claims"]["aud"] == clients["web"]["client_id"]
    assert said["person"]["preferred_username"] == "alice"
    assert said["person"]["sub"] == said["claims"]["sub"]
    assert said["before"] == 200
    assert said["renewed"] is True
    assert said["others"] == "OAUTH_INVALID_RESPONSE", "of another browser"
    assert said["again"] == "invalid_grant"
    assert said["ended"] == "OAUTH_WWW_AUTHENTICATE_CHALLENGE", "a code that comes twice ends what came of it"


def test_an_answer_in_the_name_of_another_issuer_is_refused_by_the_client(plays: Play) -> None:
    """RFC 9207 section 2.4: it can, because we always say who answers."""
    assert plays("openid_client", "mixed", "web") == {"refused": "OAUTH_INVALID_RESPONSE"}


@pytest.mark.parametrize(("scene", "client"), [("pushed", "web"), ("signed", "signer")])
def test_a_request_that_is_pushed_or_signed(plays: Play, scene: str, client: str) -> None:
    assert plays("openid_client", scene, client)["sub"].startswith("usr-")


def test_tokens_are_bound_to_a_key(plays: Play) -> None:
    said = plays("openid_client", "bound", "bound")
    assert said.pop("sub").startswith("usr-")
    refused = "OAUTH_WWW_AUTHENTICATE_CHALLENGE"
    assert said == {"type": "dpop", "status": 200, "other": refused, "unproved": refused}


def test_a_device_is_connected(plays: Play) -> None:
    said = plays("openid_client", "device", "web")
    assert said["sub"].startswith("usr-")
    assert said["status"] == 200


# -- oauth4webapi


def test_all_three_documents_hold_what_the_standards_say(desk: Desk, plays: Play) -> None:
    assert plays("oauth4webapi", "metadata", "web") == {"issuers": [desk.url, desk.url], "servers": [desk.url]}


def test_an_api_of_others_validates_our_tokens(desk: Desk, clients: dict[str, dict[str, Any]], plays: Play) -> None:
    said = plays("oauth4webapi", "program", "program")
    assert (said["before"], said["after"]) == (True, False)
    assert said["claims"]["client_id"] == clients["program"]["client_id"]
    assert said["claims"]["iss"] == desk.url


def test_every_step_of_signing_in_by_itself(plays: Play) -> None:
    said = plays("oauth4webapi", "code", "web")
    assert said["person"]["preferred_username"] == "alice"
    assert set(said["scope"].split()) == {"openid", "profile", "things.read", "offline_access"}


def test_a_strict_client_pushes_signs_and_binds(plays: Play) -> None:
    said = plays("oauth4webapi", "strict", "signer")
    assert said.pop("sub").startswith("usr-")
    assert (said["type"], said["status"]) == ("dpop", 200)


def test_a_request_object_of_oauth4webapi(plays: Play) -> None:
    assert plays("oauth4webapi", "signed", "signer")["sub"].startswith("usr-")


def test_a_device_waits_and_is_told_so(plays: Play) -> None:
    assert plays("oauth4webapi", "device", "web") == {"waiting": "authorization_pending", "type": "bearer"}


# -- at last: it ends the session of everybody above


def test_somebody_signs_out_at_the_client(plays: Play) -> None:
    said = plays("openid_client", "logout", "web")
    assert said["where"].startswith(AFTER)
    assert parameters(said["where"]) == {"state": "bye"}
    assert said["status"] == "OAUTH_WWW_AUTHENTICATE_CHALLENGE", "with the session its tokens end"


# -- a node of their own


def test_after_a_start_proofs_need_a_nonce_and_clients_fetch_one(
    tmp_path_factory: pytest.TempPathFactory, scripts: Path
) -> None:
    """For ten seconds a node cannot tell whether a proof was used before, and asks for a nonce (RFC 9449 section 8)."""
    for _ in range(3):  # a busy machine may need longer than that to begin
        with running(tmp_path_factory.mktemp("fresh")) as desk:
            made = desk.client("fresh", "--role", "caller", "--bound", "dpop")
            given = {"issuer": desk.url, "id": made["client_id"], "secret": made["client_secret"]}
            said = [
                play(scripts, script, "nonce", given, ca=desk.ca, asked=str)
                for script in ("openid_client.mjs", "oauth4webapi.mjs")
            ]
        assert [(one["type"], one["status"]) for one in said] == [("dpop", 200)] * 2
        if all(one["asked"] for one in said):
            return
    raise AssertionError("no proof was ever asked for a nonce")
