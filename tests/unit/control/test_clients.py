"""Clients as an operator makes and ends them: on the record first, the secret shown once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from interlock.clock import SECOND, ManualClock
from interlock.control.acts import ISSUER, NODE
from interlock.control.clients import OURS, ClientDesk, CreateClient, NamedClient, RotateClient
from interlock.control.paths import Paths
from interlock.control.publish import Publisher
from interlock.errors import NotFound, RecordUnavailable, StateError, UsageError
from interlock.identity.handles import client_handle
from interlock.issuer.registry import Registry
from interlock.keys import Keyring
from interlock.snapshot import Change, NodePage, Revoked, TrustSpec, read_changes
from interlock.snapshot.page import EPOCH
from interlock.store import Revocations, State
from interlock.store.clients import Client, Clients, Grant
from tests.files import contents
from tests.unit.control.conftest import Acts
from tests.unit.control.test_anchors import Own

URL = "https://id.example.com"
ROLES = frozenset({"caller"})
DAY = 86_400 * SECOND


class Bench:
    def __init__(self, state: State, paths: Paths, page: NodePage, clock: ManualClock, keyring: Keyring, acts: Acts):
        self.changed: list[Client] = []
        self.url: str | None = URL
        self.state, self.clock, self.keyring, self.acts = state, clock, keyring, acts
        self.paths, self.page = paths, page
        self.clients = Clients(state)
        self.desk = ClientDesk(state, Publisher(paths, page), clock, self._url, self.changed.append)

    def _url(self) -> str:
        if self.url is None:
            raise UsageError("the file names no `issuer`")
        return self.url

    def create(self, name: str = "billing", trust: Sequence[TrustSpec] = (), **wanted: Any) -> dict[str, Any]:
        values: dict[str, Any] = {"name": name, "roles": ["caller"], **wanted}
        return self.desk.create(CreateClient(**values), ROLES, self.keyring, self.acts, trust)

    def rotate(self, client_id: str, overlap: int = DAY) -> dict[str, Any]:
        return self.desk.rotate(RotateClient(client_id, overlap), self.keyring, self.acts)

    def holds(self, client_id: str, secret: str) -> bool:
        registry = Registry(self.clients, self.keyring.lookup_key)
        return registry.secret_holds(registry.get(client_id), secret, self.clock.wall())

    @property
    def changes(self) -> Sequence[Change]:
        return read_changes(self.paths.changes, 0, self.page.words[EPOCH])


@pytest.fixture
def bench(state: State, paths: Paths, page: NodePage, clock: ManualClock, keyring: Keyring, acts: Acts) -> Bench:
    return Bench(state, paths, page, clock, keyring, acts)


def test_a_client_is_recorded_and_its_secret_shown_once(bench: Bench, tmp_path: Path) -> None:
    made = bench.create(scopes=["read", "read"], resources=["https://api.example"], bound="dpop")
    secret = made.pop("client_secret")
    assert secret.startswith("ils_")
    assert made["client_id"].startswith("billing-")
    assert made["principal"] == "service:interlock/billing"
    assert (made["scopes"], made["resources"], made["bound"]) == (["read"], ["https://api.example"], ["dpop"])
    assert bench.holds(made["client_id"], secret)
    assert bench.acts.events == ["client:create"]
    assert [one.client_id for one in bench.changed] == [made["client_id"]]
    assert secret not in str(bench.acts.done)
    assert secret not in str(bench.desk.list())
    kept = b"".join(contents(tmp_path).values())
    assert secret.encode() not in kept


def test_what_cannot_be_recorded_is_not_done(bench: Bench) -> None:
    made = bench.create()
    bench.acts.broken = True
    before = bench.clients.all()
    for act in (
        bench.create,
        lambda: bench.rotate(made["client_id"]),
        lambda: bench.desk.disable(NamedClient(made["client_id"]), bench.acts),
    ):
        with pytest.raises(RecordUnavailable):
            act()
    assert bench.clients.all() == before
    assert bench.changes == []
    assert len(bench.changed) == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"roles": ["nosuch"]}, "no role"),
        ({"roles": ["interlock:admin"]}, "no role"),
        ({"name": ""}, "name"),
        ({"name": "a/../b\0"}, "printable"),
        ({"bound": "tls"}, "bound by"),
        ({"method": "password"}, "no way to authenticate"),
        ({"method": "private_key_jwt"}, "public keys"),
        ({"method": "self_signed_tls_client_auth"}, "certificate"),
        ({"grants": ["authorization_code"]}, "redirect URI"),
        ({"grants": ["authorization_code"], "redirect_uris": ["http://evil.example"]}, "redirect URI"),
        ({"method": "self_signed_tls_client_auth", "certificates": ["x"]}, "cannot be read"),
    ],
)
def test_a_client_that_cannot_be_is_refused(bench: Bench, wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        bench.create(**{"name": "billing", **wanted})
    assert bench.clients.all() == []
    assert bench.acts.done == []


def test_no_client_is_called_as_a_part_of_the_product_is(bench: Bench) -> None:
    """Its acts would stand on the record as the node's own."""
    assert {NODE.name, ISSUER.name} <= OURS
    for name in OURS:
        with pytest.raises(UsageError, match="on the record"):
            bench.create(name)


def test_without_an_issuer_there_are_no_clients(bench: Bench) -> None:
    bench.url = None
    with pytest.raises(UsageError, match="issuer"):
        bench.create()


def test_two_of_a_name_are_two_clients_of_one_principal(bench: Bench) -> None:
    one, other = bench.create(), bench.create()
    assert one["client_id"] != other["client_id"]
    assert one["principal"] == other["principal"]


@pytest.mark.parametrize("name", ["Caf\u00e9 M\u00fcller", "\u0410\u0411\u0412", "a@b", "x" * 60])
def test_an_id_is_plain_whatever_the_name(bench: Bench, name: str) -> None:
    try:
        made = bench.create(name)
    except UsageError:
        return  # no name of a principal
    assert all(letter.isascii() and (letter.isalnum() or letter == "-") for letter in made["client_id"])


def test_only_who_has_a_secret_of_ours_is_shown_one(bench: Bench) -> None:
    own = Own("billing")
    made = bench.create(method="self_signed_tls_client_auth", certificates=[own.pem])
    assert "client_secret" not in made
    with pytest.raises(UsageError, match="no secret"):
        bench.rotate(made["client_id"])
    public = bench.create("app", method="none", grants=["authorization_code"], redirect_uris=["https://a.example/cb"])
    assert "client_secret" not in public


def test_a_certificate_that_could_be_taken_for_another_s_is_refused(bench: Bench) -> None:
    victim = Own("victim")
    bench.create(method="self_signed_tls_client_auth", certificates=[victim.pem])
    copy = Own("victim", mark=victim._digest())
    with pytest.raises(UsageError, match="one of its own"):
        bench.create("thief", method="self_signed_tls_client_auth", certificates=[copy.pem])
    authority = Own("partners")
    trust = [TrustSpec("partners", authority.pem, "san-uri")]
    with pytest.raises(UsageError, match="one of its own"):
        bench.create("thief", trust, method="self_signed_tls_client_auth", certificates=[Own("partners").pem])
    assert bench.create("honest", trust, method="self_signed_tls_client_auth", certificates=[Own("victim").pem])


# -- rotation


def test_the_old_secret_works_until_the_overlap_is_over(bench: Bench) -> None:
    made = bench.create()
    again = bench.rotate(made["client_id"])
    old, new = made["client_secret"], again["client_secret"]
    assert old != new
    assert bench.holds(made["client_id"], old)
    assert bench.holds(made["client_id"], new)
    bench.clock.advance(DAY / SECOND)
    assert not bench.holds(made["client_id"], old)
    assert bench.holds(made["client_id"], new)
    assert bench.acts.events == ["client:create", "client:change"]
    assert new not in str(bench.acts.done)


def test_without_an_overlap_the_old_one_is_gone_at_once(bench: Bench) -> None:
    made = bench.create()
    bench.rotate(made["client_id"], 0)
    assert not bench.holds(made["client_id"], made["client_secret"])
    assert len(bench.clients.get(made["client_id"]).secrets) == 1


def test_two_rotations_leave_two_secrets_and_lengthen_none(bench: Bench) -> None:
    made = bench.create()
    first = made["client_secret"]
    second = bench.rotate(made["client_id"], DAY)["client_secret"]
    third = bench.rotate(made["client_id"], 10 * DAY)["client_secret"]
    assert not bench.holds(made["client_id"], first), "two at most"
    assert bench.holds(made["client_id"], second)
    fourth = bench.rotate(made["client_id"], DAY)["client_secret"]
    bench.clock.advance(DAY / SECOND)
    assert not bench.holds(made["client_id"], third)
    assert bench.holds(made["client_id"], fourth)


@pytest.mark.parametrize("overlap", [-1, 401 * DAY])
def test_an_overlap_has_bounds(bench: Bench, overlap: int) -> None:
    made = bench.create()
    with pytest.raises(UsageError):
        bench.rotate(made["client_id"], overlap)


# -- the end


def test_a_disabled_client_is_refused_everywhere_with_all_that_hangs_on_it(bench: Bench) -> None:
    made = bench.create()
    client_id = made["client_id"]
    now = bench.clock.wall()
    grant = Grant(
        id="g",
        client_id=client_id,
        principal="user:interlock/alice",
        created=now,
        expires=now + DAY,
        current=b"h" * 32,
    )
    bench.clients.add_grant(grant)
    done = bench.desk.disable(NamedClient(client_id), bench.acts)
    assert done["state"] == "disabled"
    handle = client_handle(URL, client_id)
    assert Revoked(handle) in bench.changes
    assert Revocations(bench.state).is_revoked(handle)
    assert bench.changed[-1].disabled
    found = bench.clients.grant("g")
    assert found is not None
    assert found.revoked
    assert not bench.holds(client_id, made["client_secret"])
    with pytest.raises(UsageError, match="disabled"):
        bench.rotate(client_id)
    assert bench.desk.disable(NamedClient(client_id), bench.acts)["state"] == "disabled", "again is no fault"


def test_a_broken_database_keeps_nobody_from_being_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench.create()

    def broken(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(Clients, "modify", broken)
    with pytest.raises(StateError, match="repeat the command"):
        bench.desk.disable(NamedClient(made["client_id"]), bench.acts)
    assert Revoked(client_handle(URL, made["client_id"])) in bench.changes
    assert bench.changed[-1].disabled, "the running issuer refuses it"


def test_who_is_not_there_is_said_so(bench: Bench) -> None:
    with pytest.raises(NotFound):
        bench.rotate("nobody")
    with pytest.raises(NotFound):
        bench.desk.disable(NamedClient("nobody"), bench.acts)
