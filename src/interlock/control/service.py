"""Administration: every act on a node, done the same way by the control process and by offline commands.

Each act is put on the record before it takes place; what cannot be recorded is not done. The state
database comes next, and the running workers last, so that a snapshot made meanwhile holds it or the change
log does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from interlock.audit.subjects_register import Register, names
from interlock.clock import Clock, SystemClock
from interlock.control.acts import ISSUER, open_acts
from interlock.control.clients import (
    ClientDesk,
    ClientRoles,
    CreateClient,
    InitialTokenWanted,
    NamedClient,
    RotateClient,
)
from interlock.control.credentials import Dead, Doomed, OfCertificate, OfIssuer, OfToken, Plain
from interlock.control.credentials import Named as NamedCredentials
from interlock.control.dependants import dependants
from interlock.control.following import Follow, follow
from interlock.control.keyring import Custodian, Destroyed, KeyringDesk, Turn
from interlock.control.keys import Create, KeyDesk, Named, Rotate
from interlock.control.lastused import LastUsed, last_used
from interlock.control.paths import Paths
from interlock.control.presented import Tokens
from interlock.control.proof import Open, open_record
from interlock.control.prune import Plan, PruneDesk, StateHolds, read_wanted
from interlock.control.publish import Publisher
from interlock.control.readers import READS, Readers
from interlock.control.reading import Acknowledge, Export, Question, acknowledge, ask, export, opener
from interlock.control.revocation import RevocationDesk
from interlock.control.risk import Found, RiskDesk
from interlock.control.signals.outbox import Outbox
from interlock.control.signals.streams import AddStream, Compliance, NamedStream, SetStatus, StreamDesk
from interlock.control.signals.telling import Telling
from interlock.control.status import read_status
from interlock.control.subjects import AddHold, Erase, Progress, ReleaseHold, SubjectDesk
from interlock.control.users import (
    CreateUser,
    NamedUser,
    RemoveFactor,
    ResetUser,
    UnlockUser,
    UserDesk,
    UserRoles,
)
from interlock.errors import InterlockError, KeyMaterialError, NodeError, NotAllowed, UsageError
from interlock.keys import DayRecipient, Keyring, RecordDays, factor_key, lookup_hash, open_keyring
from interlock.model import Event, Principal
from interlock.snapshot import NodePage, TrustSpec
from interlock.snapshot.references import References
from interlock.store import Persons, State

if TYPE_CHECKING:
    from interlock.audit import ActRecorder
    from interlock.config import Config
    from interlock.control.wire import Peer
    from interlock.store.clients import Client

REVOCABLE = frozenset({"token", "client", "user", "principal", "session", "key", "certificate", "issuer"})
Row = Callable[[dict[str, Any]], None]
T = TypeVar("T")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No arguments."""


class Administration:
    """For one thread, but for what reads the record (`main.READING`), which may run beside the others."""

    def __init__(
        self, file: Path, config: Config, *, writer: str, page: NodePage | None, clock: Clock | None = None
    ) -> None:
        """`page`: of the running node, None when there is none; `writer`: whose segment the acts go into."""
        self.file = file
        self.config = config
        self.paths = Paths(config.data_dir)
        self.clock: Clock = clock or SystemClock()
        self.page = page
        self._writer = writer
        self.keys_turned: Callable[[], None] = lambda: None  # of a running node: what workers use was rotated
        self.client_changed: Callable[[Client], None] = lambda _client: None  # of a running issuer
        self.session_killed: Callable[[str, str], None] = lambda _sid, _why: None  # likewise
        self._acts: ActRecorder | None = None
        self._lock = threading.Lock()
        self.stopping = threading.Event()  # ends what would go on for ever

    @classmethod
    def open(cls, file: Path, config: Config, *, writer: str, running: bool) -> Administration:
        """For a command: beside a running node, or alone, when the caller holds the data directory's lock."""
        paths = Paths(config.data_dir)
        paths.make_run_dir()
        administration = cls(file, config, writer=writer, page=NodePage.open(paths.page) if running else None)
        if not running:
            administration.keyring.ensure()
            RecordDays(administration.keyring, administration.clock).tend(config.retention_class)
        return administration

    def __enter__(self) -> Administration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the segment of the acts; without a running node also seal it."""
        if self._acts is not None:
            self._acts.close()
            self._acts = None
            if self.page is None:
                from interlock.audit import AttestPage, log_signer, seal_now
                from interlock.audit.prune import REQUESTS

                paths = self.paths
                try:
                    signer = log_signer(self.keyring)
                except KeyMaterialError:  # revoking must not need the key-encryption key
                    signer = None
                retention = self.config.record.retention
                seal_now(
                    paths.record,
                    DayRecipient(paths.keys),
                    signer,
                    AttestPage.open(paths.attest),
                    prune=(paths.run / REQUESTS, lambda: None if retention is None else retention.by_class),
                )
        if "state" in self.__dict__:
            self.state.close()
        if self.page is not None:
            self.page.close()

    @cached_property
    def keyring(self) -> Keyring:
        """Opened when first needed: revoking must not need the key-encryption key."""
        return open_keyring(self.config.keys, self.paths.keys, clock=self.clock)

    def adopt_keys(self) -> None:
        """The configuration has changed: so may have what it says of the key-encryption key."""
        if "keyring" in self.__dict__:
            self.keyring.adopt(open_keyring(self.config.keys, self.paths.keys, clock=self.clock))

    @cached_property
    def state(self) -> State:
        return State.open(self.paths.state)

    @cached_property
    def key_desk(self) -> KeyDesk:
        return KeyDesk(self.state, Publisher(self.paths, self.page), self.clock)

    @cached_property
    def client_desk(self) -> ClientDesk:
        return ClientDesk(
            self.state,
            Publisher(self.paths, self.page),
            self.clock,
            self._issuer_url,
            lambda client: self.client_changed(client),
        )

    def _trust(self) -> list[TrustSpec]:
        """The bundles of the file, as far as they can be read."""
        found = []
        for name, one in self.config.trust.items():
            try:
                found.append(TrustSpec(name, one.ca.read_text(encoding="ascii"), one.principal))
            except (OSError, UnicodeDecodeError):
                continue
        return found

    def _issuer_url(self) -> str:
        if self.config.issuer is None:
            raise UsageError("the file names no `issuer`, whose client this could be")
        return self.config.issuer.url

    @cached_property
    def revocations(self) -> RevocationDesk:
        state = self.state
        kept = dependants(state, lambda client: self.client_changed(client))
        return RevocationDesk(state, Publisher(self.paths, self.page), self.clock, kept, self._tell)

    def _tell(self, doomed: Doomed, dead: Sequence[Dead], now: int) -> None:
        """Others hear of what was revoked, and the clients of a session that it is over."""
        try:
            self.outbox.revoked(doomed, dead, now)
        finally:
            for one in dead:
                if one.kind == "session":
                    self.session_killed(one.id, "revoked")

    @cached_property
    def outbox(self) -> Outbox:
        """What others are told of."""
        return Outbox(self.state, self.clock, lambda: self.config.issuer)

    @cached_property
    def streams(self) -> StreamDesk:
        """Whom is told."""
        return StreamDesk(
            self.state,
            self.clock,
            self.outbox,
            lambda: self.config.issuer,
            lambda: factor_key(self.keyring),
            lambda: self.acts(ISSUER),
        )

    @cached_property
    def user_desk(self) -> UserDesk:
        return UserDesk(self.state, lambda: factor_key(self.keyring), self.clock, self._issuer_url)

    @cached_property
    def risks(self) -> RiskDesk:
        return RiskDesk(self.state, Publisher(self.paths, self.page), self.clock)

    @cached_property
    def subjects(self) -> SubjectDesk:
        return SubjectDesk(self.paths, self.state, self.keyring, self.clock)

    @cached_property
    def keyring_desk(self) -> KeyringDesk:
        return KeyringDesk(self.keyring, self.paths, self.clock)

    def plan_prune(self) -> Plan:
        """What was kept for long enough, and is under no hold. Only reads, and takes its time."""
        kept = self.config.record.retention
        if kept is None:
            raise UsageError("nothing is ever pruned: the file says no `record: {retention: ...}`")
        return PruneDesk(self.paths, self.keyring, self.clock).plan(kept.by_class, self._holds())

    def prune(self, plan: Plan, actor: Principal, *, dry_run: bool = False) -> dict[str, Any]:
        """Delete it."""
        desk = PruneDesk(self.paths, self.keyring, self.clock, self._register().forget)
        return desk.carry_out(plan, self._holds(), self.acts(actor), dry_run=dry_run)

    def _register(self) -> Register:
        return Register(self.paths.data_dir, Persons(self.state), self.keyring, self.clock)

    def _holds(self) -> StateHolds:
        return StateHolds(self._register(), Persons(self.state))

    def acts(self, actor: Principal) -> ActRecorder:
        """The recorder for what `actor` does."""
        with self._lock:
            if self._acts is None:
                self._acts = open_acts(self.paths, self._writer, str(actor))
            return self._acts.by(str(actor))

    @property
    def readers(self) -> Readers:
        """Who may read the record."""
        return Readers(self.config.record.readers)

    def _ended(self, peer: Peer | None) -> Callable[[], bool]:
        """Whether what goes on for long is to end: the node stops, or they may not read any more."""
        return lambda: self.stopping.is_set() or not self.readers.allow(peer)

    def refuse_reading(self, op: str, actor: Principal, count: int = 1) -> NotAllowed:
        """Record that somebody was not shown the record, and give the error."""
        known = op if op in READS else "other"
        self.acts(actor).act(Event.RECORD_READ_REFUSED, {"op": known, **({"count": count} if count > 1 else {})})
        return NotAllowed(f"{actor} may not read the record: `record: {{readers: ...}}` names who may")

    def _last_used(self, keys: list[str], actor: Principal, peer: Peer | None) -> LastUsed:
        """From the record, whose reading is itself recorded; nothing where that cannot be, or they may not read it."""
        if not keys:
            return LastUsed({}, complete=True)
        if not self.readers.allow(peer):
            return LastUsed({}, complete=False)
        try:
            keyring = self.keyring
            self.acts(actor).act(Event.RECORD_READ, {"kind": "last-used"})
            return last_used(self.paths.record, opener(keyring), keys, names=names(Persons(self.state), keyring))
        except (InterlockError, OSError):
            return LastUsed({}, complete=False)

    def perform(
        self, op: str, arguments: dict[str, Any], actor: Principal, row: Row, peer: Peer | None = None
    ) -> dict[str, Any]:
        """Do one act, or answer one question; `row` is given what comes piece by piece. Raises `InterlockError`.

        `peer`: the user of the operating system that `actor` is; without one, nothing of a record is shown that has
        a list of readers.
        """
        if op in READS and not self.readers.allow(peer):
            raise self.refuse_reading(op, actor)
        match op:
            case "key.create":
                roles = frozenset(self.config.roles)
                return self.key_desk.create(_read(arguments, Create), roles, self.keyring, self.acts(actor))
            case "key.rotate":
                return self.key_desk.rotate(_read(arguments, Rotate), self.keyring, self.acts(actor))
            case "key.revoke":
                return self.key_desk.revoke(_read(arguments, Named), self.acts(actor))
            case "key.list":
                _read(arguments, Nothing)
                return self.key_desk.list(lambda keys: self._last_used(keys, actor, peer))
            case "client.create":
                created = _read(arguments, CreateClient)
                if (
                    created.method == "tls_client_auth"
                    and self.config.issuer is not None
                    and not self.config.issuer.trust
                ):
                    raise UsageError(
                        "tls_client_auth needs a bundle that vouches for certificates: `issuer: {trust: NAME}`"
                    )
                roles = frozenset(self.config.roles)
                fapi2 = self.config.issuer is not None and self.config.issuer.profile is not None
                return self.client_desk.create(
                    created, roles, self.keyring, self.acts(actor), self._trust(), fapi2=fapi2
                )
            case "client.list":
                _read(arguments, Nothing)
                return self.client_desk.list()
            case "client.rotate":
                return self.client_desk.rotate(_read(arguments, RotateClient), self.keyring, self.acts(actor))
            case "client.roles":
                return self.client_desk.roles(
                    _read(arguments, ClientRoles), frozenset(self.config.roles), self.acts(actor)
                )
            case "client.initial-token":
                wanted_token = _read(arguments, InitialTokenWanted)
                return self.client_desk.initial_token(wanted_token, self.keyring, self.acts(actor))
            case "client.initial-tokens":
                _read(arguments, Nothing)
                return self.client_desk.initial_tokens()
            case "client.withdraw":
                return self.client_desk.withdraw(_read(arguments, NamedClient), self.acts(actor))
            case "client.disable":
                client = _read(arguments, NamedClient)
                done = self.client_desk.disable(client, self.acts(actor))
                self.outbox.disabled(client.id)
                return done
            case _ if op.startswith("signals."):
                return self._signals(op, arguments, actor)
            case _ if op.startswith("user."):
                return self._user(op, arguments, actor)
            case "revoke.list":
                _read(arguments, Nothing)
                return self.revocations.live()
            case "risk.set":
                return self.risks.set(_read(arguments, Found), self._named_credentials(), self.acts(actor))
            case _ if op.startswith("revoke."):
                return self._revoke(op, arguments, actor)
            case "audit.query":
                question = _read(arguments, Question)
                return ask(question, self.paths.record, self.keyring, self.state, self.acts(actor), row)
            case "audit.sql":
                from interlock.control.sql import Sql, ask_sql

                asked = _read(arguments, Sql)
                acts, ended = self.acts(actor), self._ended(peer)
                return ask_sql(asked, self.paths, self.keyring, self.state, acts, row, ended)
            case "audit.follow":
                follows = _read(arguments, Follow)
                acts = self.acts(actor)
                return follow(follows, self.paths.record, self.keyring, self.state, acts, row, self._ended(peer))
            case "audit.export":
                wanted = _read(arguments, Export)
                return export(wanted, self.paths.record, self.keyring, self.state, self.acts(actor), row)
            case "audit.erase":
                return self.subjects.erase(_read(arguments, Erase), self.acts(actor), alone=self.page is None)
            case "audit.erasure":
                return self.subjects.progress(_read(arguments, Progress), self.acts(actor))
            case "audit.hold.add":
                return self.subjects.add_hold(_read(arguments, AddHold), self.acts(actor), str(actor))
            case "audit.hold.list":
                _read(arguments, Nothing)
                return self.subjects.holds()
            case "audit.hold.release":
                return self.subjects.release_hold(_read(arguments, ReleaseHold), self.acts(actor))
            case "audit.open":
                return open_record(_read(arguments, Open), self.paths.record, self.keyring, self.acts(actor))
            case "audit.acknowledge":
                return acknowledge(_read(arguments, Acknowledge), self.acts(actor))
            case "audit.prune":
                return self.prune(self.plan_prune(), actor, dry_run=read_wanted(arguments).dry_run)
            case "keyring.list":
                _read(arguments, Nothing)
                return self.keyring_desk.inventory()
            case "keyring.rotate":
                turn = _read(arguments, Turn)
                return self.keyring_desk.rotate(turn, self.config, self.acts(actor), self.keys_turned)
            case "keyring.custodian":
                return self.keyring_desk.custodian(_read(arguments, Custodian), self.acts(actor))
            case "keyring.destroyed":
                return self.keyring_desk.destroyed(_read(arguments, Destroyed), self.acts(actor))
            case "status":
                _read(arguments, Nothing)
                return read_status(self.paths.run, self.clock)
            case "reload" | "plan":
                raise NodeError("the node does not run: start it with `interlock up`")
            case _:
                raise UsageError(f"there is no operation {op!r}")

    def _signals(self, op: str, arguments: dict[str, Any], actor: Principal) -> dict[str, Any]:
        desk, acts = self.streams, self.acts(actor)
        match op:
            case "signals.streams":
                _read(arguments, Nothing)
                return desk.list()
            case "signals.add":
                return desk.add(_read(arguments, AddStream), acts)
            case "signals.remove":
                return desk.drop(_read(arguments, NamedStream), acts)
            case "signals.status":
                return desk.put_status(_read(arguments, SetStatus), acts)
            case "signals.verify":
                return desk.check(_read(arguments, NamedStream), acts)
            case "signals.device-compliance":
                return desk.compliance(_read(arguments, Compliance), acts)
            case _:
                raise UsageError(f"there is no operation {op!r}")

    def _user(self, op: str, arguments: dict[str, Any], actor: Principal) -> dict[str, Any]:
        desk, acts = self.user_desk, Telling(self.acts(actor), self.outbox, "admin")

        def withdraw(principal: str) -> None:
            named = self._named_credentials()
            self.revocations.principal(Plain(principal), named, acts)

        match op:
            case "user.create":
                return desk.create(_read(arguments, CreateUser), frozenset(self.config.roles), acts)
            case "user.list":
                _read(arguments, Nothing)
                return desk.list()
            case "user.disable":
                return desk.disable(_read(arguments, NamedUser), acts, withdraw)
            case "user.enable":
                return desk.enable(_read(arguments, NamedUser), acts)
            case "user.unlock":
                return desk.unlock(_read(arguments, UnlockUser), acts)
            case "user.reset":
                return desk.reset(_read(arguments, ResetUser), acts, withdraw)
            case "user.roles":
                return desk.roles(_read(arguments, UserRoles), frozenset(self.config.roles), acts, withdraw)
            case "user.remove-factor":
                return desk.remove_factor(_read(arguments, RemoveFactor), acts, withdraw)
            case _:
                raise UsageError(f"there is no operation {op!r}")

    def _named_credentials(self) -> NamedCredentials:
        return NamedCredentials(self.config, Tokens(self.paths.snapshot, self._opaque_token))

    def _opaque_token(self, token: bytes, now: int) -> bytes | None:
        """What an opaque token stands for. Needs the keyring, as nothing else that revokes does."""
        references = References(self.paths.tokens)
        try:
            return references.find(lookup_hash(self.keyring.lookup_key, token), now)
        finally:
            references.close()

    def _revoke(self, op: str, arguments: dict[str, Any], actor: Principal) -> dict[str, Any]:
        desk = self.revocations
        named = self._named_credentials()
        match op:
            case "revoke.token":
                return desk.token(_read(arguments, OfToken), named, self.acts(actor))
            case "revoke.client":
                return desk.client(_read(arguments, OfIssuer), named, self.acts(actor))
            case "revoke.session":
                return desk.session(_read(arguments, OfIssuer), named, self.acts(actor))
            case "revoke.principal":
                return desk.principal(_read(arguments, Plain), named, self.acts(actor))
            case "revoke.user":
                return desk.user(_read(arguments, Plain), named, self.acts(actor))
            case "revoke.issuer":
                return desk.issuer(_read(arguments, Plain), named, self.acts(actor))
            case "revoke.certificate":
                return desk.certificate(_read(arguments, OfCertificate), named, self.acts(actor))
            case "revoke.key":
                return self.key_desk.revoke(_read(arguments, Named), self.acts(actor))
            case _:
                raise UsageError(f"there is no operation {op!r}")


def _read(arguments: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as problem:
        raise UsageError(str(problem)) from None
