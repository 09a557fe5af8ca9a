"""Whatever is issued, revoked, forgotten, rebuilt and restarted in whatever order: two workers, one that takes every
snapshot and one that lags behind, refuse each token and key that a plain list of what was said refuses, and accept
each of which nothing was said."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock.clock import SECOND, ManualClock
from interlock.control.build import SnapshotBuilder
from interlock.control.credentials import Named, OfIssuer, OfToken, Plain
from interlock.control.keys import Create, KeyDesk
from interlock.control.paths import Paths
from interlock.control.presented import Tokens
from interlock.control.publish import Publisher
from interlock.control.revocation import RevocationDesk
from interlock.errors import StateError
from interlock.identity import ApiKeyVerifier, RoleTable, TokenVerifier, unnamed_token
from interlock.keys import Keyring
from interlock.model import Identity, Refusal
from interlock.snapshot import ChangeLog, NodePage, NodeSpec, Snapshot
from interlock.snapshot.directory import Directory
from interlock.snapshot.page import FIRST_WORKER_SLOT
from interlock.store import Revocations, State
from tests.unit.control.conftest import Acts
from tests.unit.control.test_credentials import FILE, OTHER, config
from tests.unit.identity.fakes import ISSUER, NOW, issuer_spec, token
from tests.unit.jose.material import ec, public

LEEWAY = 60
MEMORY = "/dev/shm"  # nothing here is about disks
MOST = 12  # things at a time
SPEC = {"jwks": public(ec()), "algorithms": ["ES256"], "leeway_s": LEEWAY}
SPECS = [issuer_spec(**SPEC), issuer_spec(issuer=OTHER, authority="others", **SPEC)]
AUTHORITY = {ISSUER: "login.example.com", OTHER: "others"}


@dataclass
class Thing:
    """A token, or an API key."""

    text: bytes
    principal: str
    issued: int  # seconds; 0: does not say
    names: frozenset[tuple[str, str]]  # kind, and what it is called
    expires: int = 0
    is_key: bool = False


@dataclass
class Said:
    """One revocation, as somebody would note it on paper."""

    matches: Callable[[Thing], bool]
    until: int = 0
    only_logged: bool = False
    may_be_over: bool = False


class Worker:
    def __init__(self, page: NodePage, paths: Paths, lookup_key: bytes) -> None:
        self.paths = paths
        self.directory = Directory(page, paths.changes, lookup_key)
        self.tokens = TokenVerifier(SPECS, RoleTable({}), self.directory, lambda _issuer: None)
        self.keys = ApiKeyVerifier(self.directory, RoleTable({}))
        self.rebase()

    def rebase(self) -> None:
        self.directory.rebase(Snapshot.open(self.paths.snapshot))

    def judge(self, thing: Thing, now: int) -> bool:
        if self.directory.behind:
            self.directory.catch_up()
        verify = self.keys.verify(thing.text, "192.0.2.1", now) if thing.is_key else self.tokens.verify(thing.text, now)
        assert isinstance(verify, Identity | Refusal)
        return isinstance(verify, Identity)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if os.path.isdir(MEMORY) else None))
        self.paths = Paths(self.folder / "data")
        self.paths.make_run_dir()
        self.clock = ManualClock(NOW)
        self.acts = Acts()
        self.keyring = Keyring(self.paths.keys, b"k" * 32)
        self.keyring.ensure()
        self.state = State.open(self.paths.state)
        self.named = Named(config(FILE), Tokens(self.paths.snapshot, lambda _text, _now: None))
        self.things: list[Thing] = []
        self.said: list[Said] = []
        self.made = 0

    @initialize()
    def start(self) -> None:
        """The node starts: an empty log, and a snapshot of what the state knows."""
        self.page = NodePage.create(self.paths.page, FIRST_WORKER_SLOT + 1)
        ChangeLog(self.paths.changes, self.page).create()
        self.publisher = Publisher(self.paths, self.page)
        self.desk = RevocationDesk(self.state, self.publisher, self.clock, [])
        self.build()
        self.workers = [Worker(self.page, self.paths, self.keyring.lookup_key) for _ in range(2)]

    def teardown(self) -> None:
        self.state.close()
        shutil.rmtree(self.folder)

    @property
    def second(self) -> int:
        return self.clock.wall() // SECOND

    def build(self) -> None:
        SnapshotBuilder(self.paths, self.state, self.page, self.clock).build(NodeSpec("", 0, 1, issuers=SPECS), [])

    # -- what happens

    @precondition(lambda self: len(self.things) < MOST)
    @rule(
        issuer=st.sampled_from([ISSUER, OTHER]),
        sub=st.sampled_from(["alice", "bob"]),
        client=st.sampled_from(["shop", "web", ""]),
        session=st.sampled_from(["s1", "s2", ""]),
        jti=st.booleans(),
        dated=st.booleans(),
        life=st.sampled_from([30, 900]),
    )
    def issue(self, issuer: str, sub: str, client: str, session: str, jti: bool, dated: bool, life: int) -> None:
        self.made += 1
        claims: dict[str, Any] = {"client_id": client or ..., "sid": session or ...}
        claims |= {"jti": f"t{self.made}" if jti else ..., "iat": self.second if dated else ...}
        exp = self.second + life
        text = token(ec(), {"alg": "ES256"}, iss=issuer, sub=sub, exp=exp, number=self.made, **claims)
        name = f"t{self.made}" if jti else unnamed_token(text)
        names = {("token", name), ("issuer", ""), ("client", client), ("session", session)} - {
            ("client", ""),
            ("session", ""),
        }
        principal = f"user:{AUTHORITY[issuer]}/{sub}"
        self.things.append(
            Thing(
                text,
                principal,
                self.second if dated else 0,
                frozenset((kind, f"{name} {issuer}") for kind, name in names) | {("principal", principal)},
                (exp + LEEWAY) * SECOND,
            )
        )

    @precondition(lambda self: len(self.things) < MOST)
    @rule(name=st.sampled_from(["billing", "audit"]))
    def make_key(self, name: str) -> None:
        desk = KeyDesk(self.state, self.publisher, self.clock)
        made = desk.create(Create(name, ["caller"]), frozenset({"caller"}), self.keyring, self.acts)
        created = self.state.key(made["id"]).created // SECOND
        principal = f"service:interlock/{name}"
        names = frozenset({("principal", principal)})
        self.things.append(Thing(made["key"].encode(), principal, created, names, is_key=True))

    @precondition(lambda self: self.things)
    @rule(
        data=st.data(),
        until=st.sampled_from([0, 0, 300]),
        ahead=st.sampled_from([0, 0, 5]),
        broken=st.booleans(),
        then=st.sampled_from(["again", "again", "snapshot", "restart"]),
    )
    def revoke(self, data: st.DataObject, until: int, ahead: int, broken: bool, then: str) -> None:
        """Something that one of the tokens or keys there are hangs on."""
        until_ns = self.clock.wall() + until * SECOND if until else 0
        since = self.second + 1 + ahead
        thing = data.draw(st.sampled_from(self.things))
        name = kind, text = data.draw(st.sampled_from(sorted(name for name in thing.names if name[0] != "token")))
        called, _, issuer = (text, "", ISSUER) if kind == "principal" else text.partition(" ")
        acts, named, desk = self.acts, self.named, self.desk
        act: dict[str, Callable[[], dict[str, Any]]] = {
            "client": lambda: desk.client(OfIssuer(called, issuer, until_ns, ahead), named, acts),
            "session": lambda: desk.session(OfIssuer(called, issuer, until_ns), named, acts),
            "issuer": lambda: desk.issuer(Plain(issuer, until_ns, ahead), named, acts),
            "principal": lambda: desk.principal(Plain(called, until_ns, ahead), named, acts),
        }
        self.carry_out(act[kind], broken)
        whole = kind == "session"
        self.say(
            lambda thing: not thing.is_key and name in thing.names and (whole or thing.issued < since), until_ns, broken
        )
        # The keys there were are revoked one by one, whatever the mark does; those to come hold at once, unless the
        # desk that makes them cannot know of the mark.
        keys = [thing for thing in self.things if thing.is_key and name in thing.names]
        self.say(lambda thing: any(thing is key for key in keys), 0, broken)
        if broken:
            later = Said(lambda thing: thing.is_key and name in thing.names and thing.issued < since, may_be_over=True)
            self.said.append(later)
        if then != "again":
            self.happens(then)
        elif len(self.things) < MOST:
            self.issue(issuer, "alice", "shop", "s1", True, True, 900)
            self.make_key("billing")

    @precondition(lambda self: any(not thing.is_key for thing in self.things))
    @rule(data=st.data(), whole=st.booleans(), broken=st.sampled_from([False, False, True]))
    def revoke_token(self, data: st.DataObject, whole: bool, broken: bool) -> None:
        thing = data.draw(st.sampled_from([thing for thing in self.things if not thing.is_key]))
        ((_, name),) = [name for name in thing.names if name[0] == "token"]
        token_id, issuer = name.split(" ")
        wanted = OfToken(token=thing.text.decode()) if whole else OfToken(token_id, issuer)
        self.carry_out(lambda: self.desk.token(wanted, self.named, self.acts), broken)
        self.say(lambda one: one is thing, 0, broken)

    def carry_out(self, act: Callable[[], object], broken: bool) -> None:
        if not broken:
            act()
            return

        def fail(*_: object, **__: object) -> None:
            raise StateError("disk I/O error")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Revocations, "keep", fail)
            with pytest.raises(StateError, match="repeat"):
                act()

    def say(self, matches: Callable[[Thing], bool], until: int, broken: bool) -> None:
        # What only the log knows is kept beyond any end.
        self.said.append(Said(matches, 0 if broken else until, broken))

    @rule(
        what=st.sampled_from(
            ["0.4", "1", "1", "20", "400", "5000", "back", "forget", "restart", "snapshot", "snapshot of one"]
        )
    )
    def happens(self, what: str) -> None:
        """Time passes, the clock is set back, the node keeps house or starts again."""
        match what:
            case "back":
                self.clock.step(-3)
            case "forget":
                self.desk.drop(self.acts)
            case "restart":
                for said in self.said:
                    said.may_be_over |= said.only_logged
                self.start()
            case "snapshot" | "snapshot of one":
                self.build()
                for worker in self.workers[: 1 if what == "snapshot of one" else 2]:
                    worker.rebase()
            case _:
                self.clock.advance(float(what))
                for said in self.said:
                    said.may_be_over |= bool(said.until) and self.clock.wall() >= said.until

    # -- what must hold

    @invariant()
    def workers_agree_with_the_paper(self) -> None:
        now = self.clock.wall()
        for thing in self.things:
            hits = [said for said in self.said if said.matches(thing)]
            over = bool(thing.expires) and now >= thing.expires
            for worker in getattr(self, "workers", []):
                accepted = worker.judge(thing, now)
                if over or any(not said.may_be_over for said in hits):
                    assert not accepted, (thing, now)
                elif not hits:
                    assert accepted, (thing, now)


Machine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # what fails is said step by step as it is
    suppress_health_check=list(HealthCheck),
)
TestRevocationModel = Machine.TestCase
