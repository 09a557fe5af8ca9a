"""Device authorization, RFC 8628: what the device sees, what the person sees, and who guesses."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import msgspec
import pytest

from interlock.clock import SECOND
from interlock.errors import RecordUnavailable
from interlock.identity.handles import family_handle
from interlock.issuer import device
from interlock.issuer.codes import Full
from interlock.issuer.device_requests import ALPHABET, DeviceRequest, DeviceRequests, letters
from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Response
from interlock.jose.signing import encode_base64url
from interlock.model import Event, Identity, Refusal
from interlock.store.clients import Grant
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, header, told
from tests.unit.issuer.outsiders import with_proofs

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PAGE = "/oauth/device"


@pytest.fixture
def tv(desk: Desk) -> Desk:
    desk.client(
        "tv",
        token_endpoint_auth_method="none",
        grant_types=(GRANT, "refresh_token"),
        scopes=("openid", "watch", "record", "offline_access"),
        roles=(),
    )
    desk.people.sign_in_now(desk.clock.wall())
    return desk


def begin(desk: Desk, client_id: str = "tv", *, dpop: str = "", source: str = "198.51.100.9", **form: str) -> Response:
    headers = {"dpop": dpop} if dpop else {}
    form = {"client_id": client_id, **form}
    return desk.send("POST", "/oauth/device_authorization", form=form, headers=headers, source=source)


def poll(desk: Desk, device_code: str, client_id: str = "tv", *, dpop: str = "") -> Response:
    form = {"grant_type": GRANT, "client_id": client_id, "device_code": device_code}
    return desk.send("POST", "/oauth/token", form=form, headers={"dpop": dpop} if dpop else {})


def error(answer: Response) -> str:
    return str(told(answer)["error"])


def typed(desk: Desk, user_code: str, **more: str) -> Response:
    return desk.answer(PAGE, user_code=user_code, **more)


def allow(desk: Desk, user_code: str, decision: str = "allow") -> Response:
    page = typed(desk, user_code)
    assert page.status == 200, page.body
    flow = page.body.decode().split()[1]
    return desk.answer(f"{PAGE}/consent", flow=flow, decision=decision)


def test_a_device_gets_what_alice_allows_it(tv: Desk) -> None:
    codes = told(begin(tv, scope="openid watch offline_access"))
    assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", codes["user_code"])
    assert codes["verification_uri"] == URL + PAGE
    assert "verification_uri_complete" not in codes, "a link that somebody could send her"
    assert (codes["expires_in"], codes["interval"]) == (600, 5)
    assert error(poll(tv, codes["device_code"])) == "authorization_pending", "at once, but not too early after another"
    assert error(poll(tv, codes["device_code"])) == "slow_down"
    tv.clock.pass_seconds(10)
    assert error(poll(tv, codes["device_code"])) == "authorization_pending"
    page = typed(tv, codes["user_code"].lower().replace("-", " "))
    assert page.body.decode().startswith("consent ")
    assert page.body.decode().endswith("tv openid watch offline_access")
    assert "198.51.100.9" in tv.people.said, "she is told where it is"
    assert tv.record.of(Event.GRANT_GIVE) == []
    assert b"Connected" in allow(tv, codes["user_code"]).body
    (act,) = tv.record.of(Event.GRANT_GIVE)
    assert (act["principal"], act["client"], act["by"]) == ("user:interlock/alice", "tv", "device")
    assert act["subject"] == "source:198.51.100.9", "sealed, as addresses are"
    body = told(poll(tv, codes["device_code"]))
    claims = claims_of(body["access_token"])
    assert (claims["principal"], claims["client_id"]) == ("user:interlock/alice", "tv")
    assert claims["roles"] == ["teller"]
    assert claims_of(body["id_token"])["aud"] == "tv"
    again = tv.send(
        "POST",
        "/oauth/token",
        form={"grant_type": "refresh_token", "client_id": "tv", "refresh_token": body["refresh_token"]},
    )
    assert again.status == 200
    secrets = (codes["device_code"], codes["user_code"], codes["user_code"].replace("-", ""))
    assert not [secret for secret in secrets if secret in str(tv.record.acts)]


def test_it_is_fetched_once(tv: Desk) -> None:
    codes = told(begin(tv))
    allow(tv, codes["user_code"])
    assert poll(tv, codes["device_code"]).status == 200
    assert error(poll(tv, codes["device_code"])) == "invalid_grant"
    assert b"no such code" in typed(tv, codes["user_code"]).body, "the user code is gone as well"


def test_what_is_given_hangs_on_one_grant(tv: Desk) -> None:
    codes = told(begin(tv))
    allow(tv, codes["user_code"])
    token = told(poll(tv, codes["device_code"]))["access_token"]
    workers = tv.verifier([URL])
    assert isinstance(workers.verify(token.encode(), tv.clock.wall()), Identity)
    tv.directory.revoke(family_handle(URL, claims_of(token)["fid"]))
    assert isinstance(workers.verify(token.encode(), tv.clock.wall()), Refusal)


def test_a_refusal_and_the_end_of_time_are_told(tv: Desk) -> None:
    codes = told(begin(tv))
    assert b"Not allowed" in allow(tv, codes["user_code"], "deny").body
    assert error(poll(tv, codes["device_code"])) == "access_denied"
    late = told(begin(tv))
    tv.clock.pass_seconds(600)
    assert error(poll(tv, late["device_code"])) == "expired_token"
    assert b"no such code" in typed(tv, late["user_code"]).body
    approved = told(begin(tv))
    allow(tv, approved["user_code"])
    tv.clock.pass_seconds(600)
    assert error(poll(tv, approved["device_code"])) == "expired_token", "also what was allowed"


def test_each_poll_that_is_too_early_slows_it_down(tv: Desk) -> None:
    code = told(begin(tv))["device_code"]
    answers = []
    for seconds in (0, 5, 1, 5, 10, 10, 9, 14, 20):
        tv.clock.pass_seconds(seconds)
        answers.append(error(poll(tv, code)))
    pending, slow = "authorization_pending", "slow_down"
    assert answers == [pending, pending, slow, slow, slow, slow, slow, slow, slow]
    tv.clock.pass_seconds(40)
    assert error(poll(tv, code)) == pending


def test_another_client_learns_and_slows_nothing(tv: Desk) -> None:
    tv.client("other", token_endpoint_auth_method="none", grant_types=(GRANT,))
    codes = told(begin(tv))
    tv.clock.pass_seconds(5)
    assert error(poll(tv, codes["device_code"], "other")) == "invalid_grant"
    assert error(poll(tv, codes["device_code"])) == "authorization_pending"
    allow(tv, codes["user_code"])
    assert error(poll(tv, codes["device_code"], "other")) == "invalid_grant"
    assert poll(tv, codes["device_code"]).status == 200
    assert error(poll(tv, "ild_" + "A" * 43)) == "invalid_grant"


def test_who_may_ask(tv: Desk) -> None:
    tv.client("plain")
    assert error(begin(tv, "plain")) == "invalid_client", "without its secret"
    assert error(begin(tv, "nobody")) == "invalid_client"
    form = {"scope": "x"}
    refused = tv.send("POST", "/oauth/device_authorization", form=form, basic=("plain", SECRET))
    assert error(refused) == "unauthorized_client"
    assert error(begin(tv, scope="admin")) == "invalid_scope"
    assert error(begin(tv, resource="https://elsewhere.example")) == "invalid_target"
    assert error(begin(tv, authorization_details="[]")) == "invalid_authorization_details"
    assert tv.send("GET", "/oauth/device_authorization").status == 405


# -- the person's side


def test_nobody_decides_without_being_signed_in(tv: Desk) -> None:
    codes = told(begin(tv))
    assert header(tv.browse(PAGE, signed_in=False), "location") == "/oauth/signin"
    assert tv.people.asked[-1].go == "device"
    assert tv.browse(PAGE).body == b"device /oauth/device "
    assert tv.browse(f"{PAGE}/continue").body == b"device /oauth/device "
    flow = typed(tv, codes["user_code"]).body.decode().split()[1]
    tv.people.signed_in = None
    assert header(typed(tv, codes["user_code"]), "location") == "/oauth/signin"
    assert tv.answer(f"{PAGE}/consent", flow=flow, decision="allow").status == 403
    tv.clock.pass_seconds(5)
    assert error(poll(tv, codes["device_code"])) == "authorization_pending"


def test_a_sign_in_that_does_not_do_any_more_decides_nothing(tv: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = told(begin(tv))
    flow = typed(tv, codes["user_code"]).body.decode().split()[1]
    monkeypatch.setattr(tv.people, "meets", lambda *_: False)
    assert tv.answer(f"{PAGE}/consent", flow=flow, decision="allow").status == 403
    assert header(tv.browse(PAGE), "location") == "/oauth/signin"
    assert tv.record.of(Event.GRANT_GIVE) == []


def test_forms_of_others_do_nothing(tv: Desk) -> None:
    codes = told(begin(tv))
    assert typed(tv, codes["user_code"], csrf="forged").status == 403
    flow = typed(tv, codes["user_code"]).body.decode().split()[1]
    assert tv.answer(f"{PAGE}/consent", csrf="forged", flow=flow, decision="allow").status == 403
    assert tv.answer("/oauth/authorize/consent", flow=flow, decision="allow").status == 400, "another kind of flow"
    query = {"flow": flow, "decision": "allow"}
    assert tv.send("GET", f"{PAGE}/consent", query=query, headers={"cookie": "session=alice"}).status == 405
    tv.clock.pass_seconds(5)
    assert error(poll(tv, codes["device_code"])) == "authorization_pending"


def test_an_answer_is_given_once_and_by_who_was_asked(tv: Desk) -> None:
    codes = told(begin(tv))
    page = typed(tv, codes["user_code"])
    flow = page.body.decode().split()[1]
    other = typed(tv, codes["user_code"]).body.decode().split()[1]
    assert tv.answer(f"{PAGE}/consent", flow=flow, decision="deny").status == 200
    assert tv.answer(f"{PAGE}/consent", flow=flow, decision="allow").status == 400
    assert tv.answer(f"{PAGE}/consent", flow=other, decision="allow").status == 400
    assert error(poll(tv, codes["device_code"])) == "access_denied"
    assert tv.record.of(Event.GRANT_GIVE) == []
    bob = told(begin(tv))
    flow = typed(tv, bob["user_code"]).body.decode().split()[1]
    alice = tv.people.account
    tv.people.account = replace(alice, id="usr-bob", name="bob")
    tv.people.sign_in_now(tv.clock.wall(), sid="sid-2")
    assert tv.answer(f"{PAGE}/consent", flow=flow, decision="allow").status == 400, "Bob answers what Alice was asked"


def test_a_session_that_ended_gives_nothing(tv: Desk) -> None:
    codes = told(begin(tv, scope="watch"))
    allow(tv, codes["user_code"])
    tv.people.signed_in = None
    assert error(poll(tv, codes["device_code"])) == "invalid_grant"


def test_what_was_allowed_before_a_revocation_is_not_fetched_after_it(tv: Desk) -> None:
    """Somebody was talked into typing a code, and is revoked before the device asks again."""
    codes = told(begin(tv, scope="watch offline_access"))
    assert allow(tv, codes["user_code"]).status == 200
    tv.withdrawn = tv.clock.wall() // SECOND + 1
    tv.clock.pass_seconds(10)
    assert error(poll(tv, codes["device_code"])) == "invalid_grant"
    assert tv.record.of(Event.TOKEN_ISSUE) == []


def test_what_cannot_be_recorded_is_not_allowed(tv: Desk) -> None:
    codes = told(begin(tv))
    flow = typed(tv, codes["user_code"]).body.decode().split()[1]
    tv.record.broken = RecordUnavailable("the disk is full")
    assert tv.answer(f"{PAGE}/consent", flow=flow, decision="allow").status == 503
    tv.record.broken = None
    tv.clock.pass_seconds(5)
    assert error(poll(tv, codes["device_code"])) == "authorization_pending"


def test_no_more_is_approved_than_was_asked(tv: Desk) -> None:
    codes = told(begin(tv, scope="watch"))
    good = Grant(
        id="", client_id="tv", principal="user:interlock/alice", account="usr-alice", created=0, expires=0, current=b"",
        scopes=("watch",), audience=(URL,),
    )  # fmt: skip
    for change in (
        {"client_id": "other"},
        {"scopes": ("watch", "record")},
        {"audience": ("https://elsewhere.example",)},
        {"details": ({"type": "pay"},)},
        {"account": ""},
    ):
        with pytest.raises(OAuthError):
            device.approve(tv.issuer, codes["user_code"], msgspec.structs.replace(good, **change), tv.clock.wall())
    device.approve(tv.issuer, codes["user_code"], good, tv.clock.wall())
    with pytest.raises(OAuthError):
        device.deny(tv.issuer, codes["user_code"], tv.clock.wall())


# -- guessing


def test_guessing_ends_after_ten_codes_for_the_account_wherever_it_comes_from(tv: Desk) -> None:
    code = told(begin(tv))["user_code"]
    for number in range(10):
        form = {"csrf": "cookie", "user_code": "BBBB-BBBB"}
        source = f"198.51.100.{number}"
        page = tv.send("POST", PAGE, form=form, headers={"cookie": "session=alice"}, source=source)
        assert b"no such code" in page.body
    assert typed(tv, code).status == 429, "also the right one"
    tv.people.sign_in_now(tv.clock.wall(), sid="sid-2")
    assert typed(tv, code).status == 429, "signing in again begins nothing anew"
    (act,) = tv.record.of(Event.DEVICE_LOCKED)
    assert act == {"principal": "user:interlock/alice", "subject": "source:198.51.100.9"}
    tv.clock.pass_seconds(30 * 60)
    tv.people.sign_in_now(tv.clock.wall())
    assert allow(tv, told(begin(tv))["user_code"]).status == 200


def test_guessing_from_one_network_is_one_guesser(tv: Desk) -> None:
    find = {"now": tv.clock.wall(), "source": "2001:db8::1"}
    for number in range(10):
        with pytest.raises(OAuthError, match="no such code"):
            device.find(tv.issuer, "BBBBBBBB", account=replace(tv.people.account, id=f"usr-{number}"), **find)
    find["source"] = "2001:db8::ffff"
    with pytest.raises(OAuthError) as locked:
        device.find(tv.issuer, "BBBBBBBB", account=replace(tv.people.account, id="usr-another"), **find)
    assert locked.value.status == 429


def test_success_does_not_clear_what_was_missed(tv: Desk) -> None:
    for _ in range(9):
        typed(tv, "BBBB-BBBB")
    allow(tv, told(begin(tv))["user_code"])
    typed(tv, "BBBB-BBBB")
    assert typed(tv, "BBBB-BBBB").status == 429


def test_nobody_fills_the_table_alone() -> None:
    devices = DeviceRequests()

    def ask(source: str) -> None:
        devices.open(DeviceRequest(client_id="tv", scopes=(), audience=(), source=source, created=10**18))

    for number in range(500):
        ask(f"2001:db8::{number:x}")
    with pytest.raises(Full):
        ask("2001:db8::ffff")
    with pytest.raises(Full):
        ask("2001:db8:0:ffff::1")  # of 65,536 such networks that one line may have
    ask("2001:db8:1::1")
    later = DeviceRequest(client_id="tv", scopes=(), audience=(), source="2001:db8::1", created=10**18 + 1200 * SECOND)
    devices.open(later)


def test_typed_codes_are_read_as_people_write_them() -> None:
    assert letters("bcdf-ghjk") == letters(" BCDF  GHJK ") == letters("B.C.D.F.G.H.J.K") == "BCDFGHJK"
    assert letters("bcdf-ghjkl") != "BCDFGHJK", "one more is another code"
    assert letters("") == ""
    assert len(letters("B" * 1000)) == 9


def test_codes_are_not_to_be_told_apart() -> None:
    """All letters come about equally often: 34.5 bits, not fewer."""
    devices = DeviceRequests()
    seen = "".join(
        devices.open(
            DeviceRequest(client_id="tv", scopes=(), audience=(), source=f"2001:db8:{number:x}::", created=10**18)
        )[1].replace("-", "")
        for number in range(500)
    )
    counts = [seen.count(letter) for letter in ALPHABET]
    assert sum(counts) == 4000
    assert min(counts) > 100


# -- possession


def test_a_code_that_began_with_a_proof_ends_with_it(tv: Desk) -> None:
    with_proofs(tv)
    codes = told(begin(tv, dpop="key of the device"))
    allow(tv, codes["user_code"])
    assert error(poll(tv, codes["device_code"])) == "invalid_dpop_proof"
    assert error(poll(tv, codes["device_code"], dpop="another")) == "invalid_dpop_proof"
    body = told(poll(tv, codes["device_code"], dpop="key of the device"))
    assert body["token_type"] == "DPoP"
    assert claims_of(body["access_token"])["cnf"]["jkt"] == encode_base64url(
        hashlib.sha256(b"key of the device").digest()
    )


def test_a_clock_that_goes_back_brings_nothing_to_life(tv: Desk) -> None:
    codes = told(begin(tv))
    allow(tv, codes["user_code"])
    assert poll(tv, codes["device_code"]).status == 200
    tv.clock.now -= 100 * SECOND
    assert error(poll(tv, codes["device_code"])) == "invalid_grant"


def test_the_metadata_names_the_endpoint(tv: Desk) -> None:
    found = told(tv.send("GET", "/.well-known/oauth-authorization-server"))
    assert found["device_authorization_endpoint"] == f"{URL}/oauth/device_authorization"
    assert GRANT in found["grant_types_supported"]
