"""What workers read: config and state, compiled to plain data.

These are shapes on disk (JSON inside the snapshot file): fields are only added, at the end and with a
default. They MUST NOT hold a secret: private keys and shared keys never enter a snapshot.
Durations end in `_ns` (nanoseconds), sizes are bytes, times are wall nanoseconds.
"""

from __future__ import annotations

import msgspec

ISSUER_SERVICE = "interlock:issuer"  # the authorization server, in the control process; no name of a file's service


class PatternSpec(msgspec.Struct, frozen=True, array_like=True):
    """One match of a route; `segments` are literal or `{name}`."""

    methods: list[str] | None  # None: any
    host: str  # "": any; "*.example.com"; exact
    segments: list[str]
    prefix: bool = False


class LimitSpec(msgspec.Struct, frozen=True):
    """`count` calls per `period_ns`, at most `burst` of them at once."""

    count: int
    period_ns: int
    burst: int  # 0: `count`
    per: str  # "principal", "key", "address" or "route"


class CorsSpec(msgspec.Struct, frozen=True):
    """Which browser origins may read answers of a route."""

    origins: list[str]
    methods: list[str] = []
    headers: list[str] = []
    credentials: bool = False
    max_age: int = 600  # seconds


class StrengthSpec(msgspec.Struct, frozen=True):
    """What a route asks of the sign-in behind a call."""

    max_age_s: int = 0  # 0: not asked for
    acr: list[str] = []  # what callers are told to ask for
    accepted: list[str] = []  # those, and what includes them
    risk: int = 0  # 0: any
    same_network: bool = False


class RouteSpec(msgspec.Struct, frozen=True):
    """One route, complete but for what it names (service, trust, zone)."""

    id: str  # the text of its match
    patterns: list[PatternSpec]
    service: str
    authenticate: list[list[str]] = []  # any of these, each: all of these methods
    trust: str = ""
    public: bool = False
    permission: str = ""
    scope: str = ""
    when: str = ""
    role: str = ""
    limits: list[LimitSpec] = []
    cors: CorsSpec | None = None
    body_limit: int = 10 * 1024 * 1024
    timeout_ns: int = 30_000_000_000
    durable: bool = False
    subject: dict[str, str] = {}
    strength: StrengthSpec | None = None


class ServiceSpec(msgspec.Struct, frozen=True):
    """An upstream system."""

    name: str
    upstreams: list[str]
    zone: str = ""
    data: list[str] = []
    durable: bool = False
    connect_timeout_ns: int = 5_000_000_000
    read_timeout_ns: int = 30_000_000_000
    pool: int = 256
    forward_credentials: bool = False
    tls_ca: str = ""  # files
    tls_certificate: str = ""
    tls_key: str = ""
    tls_digest: str = ""  # SHA-256 of what is in these files: connections are made anew when it changes


class IssuerSpec(msgspec.Struct, frozen=True):
    """An outside token issuer and its public keys as last fetched."""

    issuer: str
    authority: str
    audience: list[str]
    algorithms: list[str]
    leeway_s: int = 60
    jwks: str = ""  # the JSON; empty: never fetched
    jwks_ns: int = 0  # when it was fetched; 0: from a file, never stale
    max_stale_ns: int = 3_600_000_000_000
    roles_from: str = ""
    roles_map: dict[str, list[str]] = {}
    types: list[str] = []
    subject_kind: str = "user"
    source: str = ""  # where `jwks` is fetched from; empty: it is from a file
    own: bool = False  # the node's own: its tokens name principals and roles as they are here
    dpop_nonce: bool = False  # proofs for its tokens have to bring a nonce
    dpop_fapi2: bool = False  # and are signed with what FAPI 2.0 names


class CertificateSpec(msgspec.Struct, frozen=True):
    """A server certificate (files) and the hosts it is shown for."""

    hosts: list[str]
    certificate: str
    key: str  # empty: that of `tls: auto`, which workers are given with its certificate


class ListenerSpec(msgspec.Struct, frozen=True):
    """Where calls enter."""

    address: str
    tls: str = "off"  # "off" or "files"
    certificates: list[CertificateSpec] = []
    ask_client: bool = False


class TrustSpec(msgspec.Struct, frozen=True):
    """A bundle of client certificate authorities; `ca_pem` is the contents."""

    name: str
    ca_pem: str
    principal: str  # "san-uri", "san-dns" or "subject-cn"
    roles_map: dict[str, list[str]] = {}
    principals: dict[str, str] = {}  # certificate name -> principal, where it is not its own


class ZoneSpec(msgspec.Struct, frozen=True):
    """Who may call a segment of the network, and what they must show."""

    name: str
    sources: list[str] = []
    require: list[str] = []


class ConnectionSpec(msgspec.Struct, frozen=True):
    """Budgets and limits of the callers' side."""

    per_worker: int = 10_000
    per_address: int = 1_000
    handshakes: int = 256
    failures: int = 20
    failures_period_ns: int = 60_000_000_000
    header_timeout_ns: int = 10_000_000_000
    body_timeout_ns: int = 30_000_000_000
    idle_timeout_ns: int = 75_000_000_000
    head_size: int = 32 * 1024
    head_count: int = 100


class NodeSpec(msgspec.Struct, frozen=True):
    """Everything but the routes and the tables."""

    config_digest: str
    built_ns: int
    worker_count: int
    listeners: list[ListenerSpec] = []
    services: dict[str, ServiceSpec] = {}
    issuers: list[IssuerSpec] = []
    trust: dict[str, TrustSpec] = {}
    zones: dict[str, ZoneSpec] = {}
    roles: dict[str, list[str]] = {}  # role -> permissions
    connections: ConnectionSpec = ConnectionSpec()
    trusted_proxies: list[str] = []
    max_stale_ns: int = 3_600_000_000_000
    max_unsealed_ns: int = 30_000_000_000
    auto_ca: str = ""  # PEM of the local CA, when a listener uses it
    client_anchors: list[str] = []  # PEM of clients' self-signed certificates that a handshake takes; no route does
