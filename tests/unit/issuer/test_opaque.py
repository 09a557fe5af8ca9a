"""Opaque access tokens: the same identity by another way, and nothing for who reads, guesses or keeps one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.errors import SnapshotError
from interlock.identity import ApiKeyVerifier, RoleTable, compile_authenticator
from interlock.identity.certificate import CertificateVerifier
from interlock.identity.handles import client_handle, principal_handle, token_handle
from interlock.keys import lookup_hash
from interlock.model import Event, Identity, Reason, Refusal
from interlock.snapshot import IssuerSpec
from interlock.snapshot.references import ReferenceLog, References
from tests.unit.identity.fakes import FakeDirectory
from tests.unit.issuer.desk import SECRET, URL, Desk, claims_of, told
from tests.unit.issuer.outsiders import with_proofs


class KeptReferences:
    """As the node keeps them, in files of their own."""

    def __init__(self, directory: FakeDirectory, folder: Path) -> None:
        self._lookup_key = directory.lookup_key
        self._log = ReferenceLog(folder)
        reading = References(folder)
        directory.find_token = reading.find  # type: ignore[method-assign]
        self.broken = False

    def add(self, token: str, claims: bytes, expires: int, now: int) -> None:
        if self.broken:
            raise SnapshotError("the disk is full")
        self._log.add(lookup_hash(self._lookup_key, token.encode()), claims, expires, now)


@pytest.fixture
def desk(desk: Desk, tmp_path: Path) -> Desk:
    desk.issuer.references = KeptReferences(desk.directory, tmp_path / "tokens")
    desk.client("shop", opaque=True, scopes=("ledger",))
    return desk


def issued(desk: Desk) -> str:
    return str(told(desk.token("shop", grant_type="client_credentials"))["access_token"])


def identity(desk: Desk, token: str) -> Identity | Refusal:
    found = desk.verifier([URL]).verify(token.encode(), desk.clock.wall())
    assert isinstance(found, Identity | Refusal)
    return found


def reason(found: Identity | Refusal) -> Reason:
    assert isinstance(found, Refusal)
    return found.reason


def test_workers_make_the_same_of_it_as_of_a_jwt(desk: Desk) -> None:
    token = issued(desk)
    assert token.startswith("ila_")
    assert len(token) == 4 + 43, "256 random bits, and nothing else"
    desk.client("twin", scopes=("ledger",), principal="service:interlock/shop")
    jwt = str(told(desk.token("twin", grant_type="client_credentials"))["access_token"])
    one, other = identity(desk, token), identity(desk, jwt)
    assert isinstance(one, Identity)
    assert isinstance(other, Identity)
    for name in ("principal", "text", "methods", "roles", "scopes", "issuer", "not_before", "expires", "limit_key"):
        assert getattr(one, name) == getattr(other, name), name
    assert set(one.claims) == set(other.claims)
    (act,) = [act for act in desk.record.of(Event.TOKEN_ISSUE) if act["client"] == "shop"]
    assert act["opaque"] is True
    assert token not in str(desk.record.acts)


def test_a_worker_that_starts_later_knows_it(desk: Desk, tmp_path: Path) -> None:
    token = issued(desk)
    desk.directory.find_token = References(tmp_path / "tokens").find  # type: ignore[method-assign]
    assert isinstance(identity(desk, token), Identity)


def test_guesses_and_other_secrets_are_not_tokens(desk: Desk) -> None:
    token = issued(desk)
    last = "A" if token[-1] != "A" else "B"
    assert reason(identity(desk, token[:-1] + last)) is Reason.TOKEN_UNKNOWN
    assert reason(identity(desk, token + "A")) is Reason.TOKEN_UNKNOWN
    assert reason(identity(desk, "ila_")) is Reason.TOKEN_UNKNOWN
    key_id, key = desk.directory.mint()
    assert reason(identity(desk, key.decode())) is Reason.TOKEN_MALFORMED, "an API key is no token"
    keys = ApiKeyVerifier(desk.directory, RoleTable({}))
    assert reason(keys.verify(token.encode(), "192.0.2.1", desk.clock.wall())) is Reason.KEY_UNKNOWN, key_id


def test_an_entry_of_another_table_is_none(desk: Desk) -> None:
    """Whatever is filed under a token's hash must be claims of the node's own issuer."""
    claims = claims_of(str(told(desk.token(desk.client().client_id, grant_type="client_credentials"))["access_token"]))
    for value in (
        b"",
        b"[]",
        b"nonsense",
        msgspec.json.encode({**claims, "iss": "https://elsewhere.example"}),
        msgspec.json.encode({**claims, "principal": "user:elsewhere.example/root"}),
        msgspec.json.encode({**claims, "aud": "https://elsewhere.example"}),
        msgspec.json.encode({name: value for name, value in claims.items() if name != "exp"}),
    ):
        desk.directory.find_token = lambda _lookup, _now, value=value: value  # type: ignore[method-assign,misc]
        assert isinstance(identity(desk, "ila_x"), Refusal), value
    outside = IssuerSpec("https://elsewhere.example", "elsewhere.example", [URL], ["ES256"])
    verifier = desk.verifier([URL])
    verifier.update(outside)
    value = msgspec.json.encode({**claims, "iss": "https://elsewhere.example"})
    desk.directory.find_token = lambda _lookup, _now: value  # type: ignore[method-assign]
    found = verifier.verify(b"ila_x", desk.clock.wall())
    assert isinstance(found, Refusal), "an outside issuer has no opaque tokens here"


@pytest.mark.parametrize(
    "handle",
    [
        lambda jti: token_handle(URL, jti),
        lambda jti: client_handle(URL, "shop"),
        lambda jti: principal_handle("service:interlock/shop"),
    ],
)
def test_revoking_reaches_it_where_it_was_verified_before(desk: Desk, handle: Any) -> None:
    token = issued(desk)
    workers = desk.verifier([URL])
    found = workers.verify(token.encode(), desk.clock.wall())
    assert isinstance(found, Identity)
    desk.directory.revoke(handle(found.credential))
    assert reason(identity(desk, token)) is Reason.CREDENTIAL_REVOKED
    again = workers.verify(token.encode(), desk.clock.wall())
    assert isinstance(again, Refusal)


def test_it_expires(desk: Desk) -> None:
    token = issued(desk)
    workers = desk.verifier([URL])
    assert isinstance(workers.verify(token.encode(), desk.clock.wall()), Identity)
    desk.clock.pass_seconds(300)
    assert isinstance(workers.verify(token.encode(), desk.clock.wall()), Refusal)
    assert reason(identity(desk, token)) is Reason.TOKEN_EXPIRED


def test_introspection_and_revocation_know_it(desk: Desk) -> None:
    token = issued(desk)
    ask = {"form": {"token": token}, "basic": ("shop", SECRET)}
    found = told(desk.send("POST", "/oauth/introspect", **ask))
    assert found["active"] is True
    assert (found["client_id"], found["scope"]) == ("shop", "ledger")
    assert desk.send("POST", "/oauth/revoke", **ask).status == 200
    assert told(desk.send("POST", "/oauth/introspect", **ask)) == {"active": False}
    assert reason(identity(desk, token)) is Reason.CREDENTIAL_REVOKED


def test_a_bound_one_is_no_bearer_token(desk: Desk) -> None:
    with_proofs(desk)
    form = {"grant_type": "client_credentials"}
    answer = told(desk.send("POST", "/oauth/token", form=form, basic=("shop", SECRET), headers={"dpop": "key"}))
    assert answer["token_type"] == "DPoP"
    found = identity(desk, answer["access_token"])
    assert isinstance(found, Identity)
    assert found.bound_key == hashlib.sha256(b"key").digest()


def test_it_is_on_the_record_before_it_is_kept(desk: Desk) -> None:
    """Whoever cannot write the record MUST NOT fill the room for tokens with what is never given out."""
    desk.client()
    assert desk.token(grant_type="client_credentials").status == 200
    assert desk.record.at_once == []
    issued(desk)
    assert desk.record.at_once == [Event.TOKEN_ISSUE]


def test_what_cannot_be_kept_is_not_given_out(desk: Desk) -> None:
    kept = desk.issuer.references
    assert isinstance(kept, KeptReferences)
    kept.broken = True
    answer = desk.token("shop", grant_type="client_credentials")
    assert (answer.status, told(answer)["error"]) == (503, "temporarily_unavailable")
    desk.issuer.references = None
    assert desk.token("shop", grant_type="client_credentials").status == 503, "never a JWT in its place"


def test_the_fast_path_serves_it_as_it_serves_a_jwt(desk: Desk) -> None:
    """Once verified, one lookup by the token's own bytes; the directory is not asked."""
    token = issued(desk).encode()
    jwt = desk.verifier([URL])
    keys = ApiKeyVerifier(desk.directory, RoleTable({}))
    certificates = CertificateVerifier({}, RoleTable({}), desk.directory)
    authenticate = compile_authenticator([["jwt"]], jwt=jwt, keys=keys, certificates=certificates, trust="")
    now = desk.clock.wall()
    first = authenticate(token, None, None, "192.0.2.1", now)
    assert isinstance(first, Identity)
    asked = desk.directory.asked

    def never(_lookup: bytes, _now: int) -> bytes | None:
        raise AssertionError("looked up again")

    desk.directory.find_token = never  # type: ignore[method-assign]
    assert authenticate(token, None, None, "192.0.2.1", now) is first
    assert desk.directory.asked == asked
