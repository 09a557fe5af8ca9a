"""The desks of a node, and the recorder of what is done at them: each is opened when it is first needed.

The same for the control process and for commands beside it or without a node. Revoking MUST NOT need the
key-encryption key, so the keyring is opened only where something asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from interlock.audit.subjects_register import Register
from interlock.clock import Clock, SystemClock
from interlock.control.acts import ISSUER, open_acts
from interlock.control.clients import ClientDesk
from interlock.control.credentials import Dead, Doomed, Named
from interlock.control.dependants import dependants
from interlock.control.keyring import KeyringDesk
from interlock.control.keys import KeyDesk
from interlock.control.paths import Paths
from interlock.control.presented import Tokens
from interlock.control.prune import Plan, PruneDesk, StateHolds
from interlock.control.publish import Publisher
from interlock.control.readers import Readers
from interlock.control.revocation import RevocationDesk
from interlock.control.risk import RiskDesk
from interlock.control.signals.outbox import Outbox
from interlock.control.signals.streams import StreamDesk
from interlock.control.subjects import SubjectDesk
from interlock.control.users import UserDesk
from interlock.errors import KeyMaterialError, UsageError
from interlock.keys import DayRecipient, Keyring, RecordDays, factor_key, lookup_hash, open_keyring
from interlock.model import Principal
from interlock.snapshot import NodePage
from interlock.snapshot.references import References
from interlock.store import Persons, State

if TYPE_CHECKING:
    from interlock.audit import ActRecorder
    from interlock.config import Config
    from interlock.control.wire import Peer
    from interlock.store.clients import Client


class Desks:
    """For one thread, but for what reads the record (`Lane.QUESTIONS`, `Lane.FOLLOWING`), which may run beside it."""

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
    def open(cls, file: Path, config: Config, *, writer: str, running: bool) -> Self:
        """For a command: beside a running node, or alone, when the caller holds the data directory's lock."""
        paths = Paths(config.data_dir)
        paths.make_run_dir()
        desks = cls(file, config, writer=writer, page=NodePage.open(paths.page) if running else None)
        if not running:
            desks.keyring.ensure()
            RecordDays(desks.keyring, desks.clock).tend(config.retention_class)
        return desks

    def __enter__(self) -> Self:
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

    def ended(self, peer: Peer | None) -> Callable[[], bool]:
        """Whether what goes on for long is to end: the node stops, or they may not read any more."""
        return lambda: self.stopping.is_set() or not self.readers.allow(peer)

    def named_credentials(self) -> Named:
        """Reads what operators name against the file as it is now."""
        return Named(self.config, Tokens(self.paths.snapshot, self._opaque_token))

    def _opaque_token(self, token: bytes, now: int) -> bytes | None:
        """What an opaque token stands for. Needs the keyring, as nothing else that revokes does."""
        references = References(self.paths.tokens)
        try:
            return references.find(lookup_hash(self.keyring.lookup_key, token), now)
        finally:
            references.close()
