"""Refresh tokens: good once; a copy that is used ends the whole family (RFC 6749 section 6, RFC 9700 section 4.14)."""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from interlock.clock import SECOND
from interlock.errors import RecordUnavailable, StateError
from interlock.identity.marks import LONGEST
from interlock.issuer import refresh_tokens
from interlock.issuer.access import of_grant
from interlock.issuer.http import Response
from interlock.model import Event, Identity, Refusal
from interlock.store.clients import Grant
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, told

GRANTS = ("authorization_code", "refresh_token")
ALICE = "user:interlock/alice"


class Family:
    """What Alice has allowed a client."""

    def __init__(self, desk: Desk, client_id: str = "app", *, known: bool = True, **grant: Any) -> None:
        self.desk = desk
        self.client_id = client_id
        if known:
            fields = {"grant_types": GRANTS, "redirect_uris": ("https://app.example/cb",), "roles": ()}
            self.client = desk.client(client_id, **fields)
        values: dict[str, Any] = {
            "client_id": client_id,
            "principal": ALICE,
            "subject": "usr-alice",
            "account": "usr-alice",
            "scopes": ("read", "write"),
            "audience": (URL,),
            "roles": ("teller",),
            "offline": True,
            **grant,
        }
        given = Grant(id="", created=0, expires=0, current=b"", **values)
        self.grant, self.token = refresh_tokens.begin(desk.issuer, given, desk.clock.wall(), refresh=True)
        self.access = desk.mint(of_grant(self.grant))

    def use(self, token: str, client_id: str = "", **form: str) -> Response:
        asked = {"grant_type": "refresh_token", "refresh_token": token, **form}
        return self.desk.token(client_id or self.client_id, **asked)

    def next(self, token: str, **form: str) -> tuple[str, str]:
        """The next refresh token, and the access token that came with it."""
        answer = self.use(token, **form)
        assert answer.status == 200, answer.body
        return told(answer)["refresh_token"], told(answer)["access_token"]

    def opens(self, access: str) -> bool:
        """Whether a worker takes an access token."""
        found = self.desk.verifier([URL]).verify(access.encode(), self.desk.clock.wall())
        assert isinstance(found, Identity | Refusal)
        return isinstance(found, Identity)


@pytest.fixture
def family(desk: Desk) -> Family:
    return Family(desk)


def refused(answer: Response, error: str = "invalid_grant") -> bool:
    assert b"access_token" not in answer.body
    assert (answer.status, told(answer)["error"]) == (400, error)
    return True


def test_each_is_good_once_and_the_next_one_follows(family: Family) -> None:
    token = family.token
    seen = {token}
    for _ in range(5):
        token, access = family.next(token)
        seen.add(token)
        claims = claims_of(access)
        assert (claims["principal"], claims["sub"], claims["fid"]) == (ALICE, "usr-alice", family.grant.id)
        assert claims["roles"] == ["teller"]
        assert family.opens(access)
    assert len(seen) == 6


def test_a_copy_that_is_used_ends_the_family_and_all_that_came_of_it(family: Family) -> None:
    """The thief was first; the client comes second, and both lose what they have."""
    stolen = family.token
    thief, access = family.next(stolen)
    assert family.opens(access)
    assert family.opens(family.access)
    assert refused(family.use(stolen))
    assert refused(family.use(thief))
    assert not family.opens(access)
    assert not family.opens(family.access)
    (act,) = family.desk.record.of(Event.GRANT_REVOKE)
    assert act["grant"] == family.grant.id
    assert "again" in act["why"]


def test_an_old_token_of_many_tells_too(family: Family) -> None:
    tokens = [family.token]
    for _ in range(4):
        tokens.append(family.next(tokens[-1])[0])
    assert refused(family.use(tokens[1]))
    assert refused(family.use(tokens[-1]))


def test_another_family_of_the_same_client_lives_on(family: Family) -> None:
    other = Family(family.desk, known=False)
    stolen = family.token
    family.next(stolen)
    assert refused(family.use(stolen))
    assert other.next(other.token)
    assert other.opens(other.access)


def test_what_was_never_given_out_ends_nothing(family: Family) -> None:
    """A grant's id stands in every access token: whoever reads one MUST NOT be able to sign its person out."""
    grant = claims_of(family.access)["fid"]
    right = family.token.partition(".")[2]
    for made_up in (
        secrets.token_urlsafe(32),
        "A" * 43,
        right[:-2] + ("AA" if not right.endswith("AA") else "BA"),
        right[1:] + right[0],
        secrets.token_urlsafe(16)[:21] + right[21:],
    ):
        assert refused(family.use(f"ilr_{grant}.{made_up}"))
    assert family.desk.record.of(Event.GRANT_REVOKE) == []
    other = Family(family.desk, known=False)
    mixed = f"ilr_{grant}.{other.token.partition('.')[2]}"
    assert refused(family.use(mixed)), "what was made for one grant is not of another"
    assert family.next(family.token)
    assert other.next(other.token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "ilr_",
        "ilr_.",
        "ilr_a.b",
        "x",
        "ilr_" + "A" * 22 + "." + "A" * 43,
        "ilr_" + "\u00e9" * 66,
        "ilr_" + "\0" * 66,
    ],
)
def test_nonsense_is_refused(family: Family, token: str) -> None:
    assert refused(family.use(token), "invalid_request" if not token else "invalid_grant")


def test_another_client_gets_nothing_and_ends_nothing(family: Family) -> None:
    family.desk.client("thief", grant_types=GRANTS, redirect_uris=("https://thief.example/cb",))
    assert refused(family.use(family.token, client_id="thief"))
    stolen = family.token
    token, access = family.next(stolen)
    assert refused(family.use(stolen, client_id="thief")), "an old one tells nothing when another client brings it"
    assert family.opens(access)
    assert family.next(token)


def test_a_client_without_the_grant_type_cannot_refresh(family: Family) -> None:
    family.desk.clients.change(family.client.client_id, grant_types=("authorization_code",))
    assert refused(family.use(family.token), "unauthorized_client")


def test_it_rests_for_so_long_and_no_longer(family: Family) -> None:
    life = family.desk.settings.refresh_token // SECOND
    family.desk.clock.pass_seconds(life - 1)
    token, _ = family.next(family.token)
    family.desk.clock.pass_seconds(life - 1)
    token, _ = family.next(token)
    family.desk.clock.pass_seconds(life)
    assert refused(family.use(token))


def test_whoever_may_not_sign_in_any_more_refreshes_nothing(family: Family) -> None:
    family.desk.people.may = False
    assert refused(family.use(family.token))
    family.desk.people.may = True
    assert family.next(family.token), "nothing was spent"


# -- for less, never for more


def test_a_scope_may_be_narrowed_and_comes_back(family: Family) -> None:
    token, access = family.next(family.token, scope="read")
    assert claims_of(access)["scope"] == "read"
    token, access = family.next(token)
    assert claims_of(access)["scope"] == "read write"
    assert refused(family.use(token, scope="read admin"), "invalid_scope")
    assert refused(family.use(token, scope="read  write"), "invalid_scope")
    assert family.next(token, scope="write read"), "nothing was spent"


def test_a_resource_is_one_that_was_allowed(desk: Desk) -> None:
    desk.issuer.settings = desk.settings.model_copy(update={"resources": ("https://api.example",)})
    family = Family(desk, audience=(URL, "https://api.example"))
    token, access = family.next(family.token)
    assert claims_of(access)["aud"] == [URL, "https://api.example"]
    token, access = family.next(token, resource="https://api.example")
    assert claims_of(access)["aud"] == "https://api.example"
    assert refused(family.use(token, resource="https://other.example"), "invalid_target")
    token, _ = family.next(token)
    desk.issuer.settings = desk.settings  # the file names the other API no longer
    assert refused(family.use(token, resource="https://api.example"), "invalid_target")
    _, access = family.next(token)
    assert claims_of(access)["aud"] == URL


# -- bound ones


def test_a_public_client_s_token_is_bound_to_the_certificate_it_was_given_with(desk: Desk) -> None:
    """It has nothing else to show who it is (RFC 8705 section 4)."""
    mine, thief = b"my certificate", b"another one"
    family = Family(desk, known=False, certificate=hashlib.sha256(mine).digest())
    desk.client(
        "app",
        token_endpoint_auth_method="none",
        grant_types=GRANTS,
        redirect_uris=("https://app.example/cb",),
        tls_client_certificate_bound_access_tokens=True,
    )

    def use(certificate: bytes) -> Response:
        form = {"grant_type": "refresh_token", "refresh_token": family.token, "client_id": "app"}
        return desk.send("POST", "/oauth/token", form=form, certificate=certificate)

    assert refused(use(b""), "invalid_request")
    assert refused(use(thief))
    assert desk.record.of(Event.GRANT_REVOKE) == [], "a thief's failing try costs its owner nothing"
    assert use(mine).status == 200


def test_a_bound_token_stays_bound(desk: Desk) -> None:
    family = Family(desk, jkt=b"k" * 32)
    assert refused(family.use(family.token), "invalid_dpop_proof")
    other = Family(desk, known=False, certificate=b"c" * 32)
    assert refused(other.use(other.token))
    assert desk.record.of(Event.GRANT_REVOKE) == []


# -- two at once


def test_two_at_once_get_one_token_at_most_and_then_nothing(desk: Desk) -> None:
    """The invariant: of any number of uses of one token at once, at most one is answered with tokens, and if there
    was more than one, nothing of the family is good afterwards."""
    family = Family(desk)
    for _ in range(6):
        family = Family(desk, known=False)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: family.use(family.token), range(8)))
        given = [told(answer) for answer in answers if answer.status == 200]
        assert len(given) <= 1
        for body in given:
            assert not family.opens(body["access_token"])
            assert refused(family.use(body["refresh_token"]))
        assert not family.opens(family.access)


# -- faults


def test_a_full_disk_costs_nobody_the_token(family: Family) -> None:
    """What cannot be recorded is not given out, and can be asked for again."""
    family.desk.record.broken = RecordUnavailable("the disk is full")
    assert family.use(family.token).status == 503
    family.desk.record.broken = None
    assert family.next(family.token)
    assert family.desk.record.of(Event.GRANT_REVOKE) == []


def test_a_state_that_cannot_be_written_costs_nobody_the_token(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise StateError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(family.desk.clients, "renew_grant", broken)
        answer = family.use(family.token)
        assert answer.status == 503
        assert b"token" not in answer.body.replace(b"temporarily", b"")
    assert family.next(family.token)


def test_a_reuse_that_cannot_be_recorded_gives_nothing_either(family: Family) -> None:
    stolen = family.token
    family.next(stolen)
    family.desk.record.broken = RecordUnavailable("the disk is full")
    assert family.use(stolen).status == 503


def test_the_family_is_refused_for_as_long_as_any_token_may_live(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for one that was issued before the file shortened the life of tokens."""
    until: list[int] = []
    monkeypatch.setattr(family.desk.issuer.revoker, "family", lambda _grant, end: until.append(end))
    stolen = family.token
    family.next(stolen)
    assert refused(family.use(stolen))
    assert until[0] >= family.desk.clock.wall() + LONGEST * SECOND


def test_no_secret_is_anywhere_but_with_the_client(family: Family, tmp_path: Any) -> None:
    token, _ = family.next(family.token)
    family.use(family.token)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (SECRET, token, family.token, token.partition(".")[2]):
        assert secret not in str(family.desk.record.acts)
        assert secret.encode() not in kept
        assert secret not in repr(family.grant)


def test_a_grant_without_a_refresh_token_is_there_to_be_revoked(desk: Desk) -> None:
    given = Grant(id="", created=0, expires=0, current=b"", client_id="app", principal=ALICE)
    grant, text = refresh_tokens.begin(desk.issuer, given, desk.clock.wall(), refresh=False)
    assert text == ""
    assert desk.clients.grant(grant.id) is not None
    assert grant.expires == desk.clock.wall() + desk.settings.access_token
