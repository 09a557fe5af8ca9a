"""What workers hold: the snapshot file, the shared page, the change log, counters and metrics."""

from interlock.snapshot.announce import Killed, announce, await_generation, wake, worker_socket
from interlock.snapshot.changes import Change, ChangeLog, KeyAdded, NotBefore, Revoked, Risk, read_changes
from interlock.snapshot.counters import CounterTable
from interlock.snapshot.exposition import Family, exposition, process_families
from interlock.snapshot.file import Snapshot, write_snapshot
from interlock.snapshot.metrics import Counter, MetricsPage, Tallies
from interlock.snapshot.page import NodePage, Process
from interlock.snapshot.spec import (
    CertificateSpec,
    ConnectionSpec,
    CorsSpec,
    IssuerSpec,
    LimitSpec,
    ListenerSpec,
    NodeSpec,
    PatternSpec,
    RouteSpec,
    ServiceSpec,
    StrengthSpec,
    TrustSpec,
    ZoneSpec,
)
from interlock.snapshot.table import Table

__all__ = [
    "CertificateSpec",
    "Change",
    "ChangeLog",
    "ConnectionSpec",
    "CorsSpec",
    "Counter",
    "CounterTable",
    "Family",
    "IssuerSpec",
    "KeyAdded",
    "Killed",
    "LimitSpec",
    "ListenerSpec",
    "MetricsPage",
    "NodePage",
    "NodeSpec",
    "NotBefore",
    "PatternSpec",
    "Process",
    "Revoked",
    "Risk",
    "RouteSpec",
    "ServiceSpec",
    "Snapshot",
    "StrengthSpec",
    "Table",
    "Tallies",
    "TrustSpec",
    "ZoneSpec",
    "announce",
    "await_generation",
    "exposition",
    "process_families",
    "read_changes",
    "wake",
    "worker_socket",
    "write_snapshot",
]
