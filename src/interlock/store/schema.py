"""The state database's tables and their versions.

The version is SQLite's `user_version`. A migration is added at the end of `MIGRATIONS` and never changed;
a database of a newer version is refused, since an older program would lose what it does not know.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    select,
    text,
    update,
)

from interlock.errors import StateError

APPLICATION_ID = 0x494C4B31  # "ILK1"

METADATA = MetaData()

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("roles", Text, nullable=False),  # JSON list
    Column("networks", Text, nullable=False),  # JSON list of CIDR
    Column("created", BigInteger, nullable=False),  # wall ns, as all times here
    Column("not_before", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # 0: does not expire
    Column("revoked", BigInteger, nullable=False),  # 0: is not
    Column("replaced_by", Text, nullable=False),
    Column("acts", Text, nullable=False),  # JSON list of the record's ids of what was done to it
)
Index("api_keys_principal", API_KEYS.c.principal)

REVOCATIONS = Table(
    "revocations",
    METADATA,
    Column("handle", LargeBinary(32), primary_key=True),
    Column("what", Text, nullable=False),
    Column("revoked", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # after which it need not be remembered; 0: for ever
    Column("act", Text, nullable=False),
    sqlite_with_rowid=False,
)

MARKS = Table(
    "marks",
    METADATA,
    Column("handle", LargeBinary(32), primary_key=True),
    Column("what", Text, nullable=False),
    Column("since", BigInteger, nullable=False),  # whole seconds: what was issued before is refused
    Column("revoked", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # as in `revocations`
    Column("act", Text, nullable=False),
    sqlite_with_rowid=False,
)

RISKS = Table(
    "risks",
    METADATA,
    Column("handle", LargeBinary(32), primary_key=True),
    Column("what", Text, nullable=False),
    Column("value", BigInteger, nullable=False),  # from 1 to 100
    Column("raised", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # as in `revocations`
    Column("act", Text, nullable=False),
    sqlite_with_rowid=False,
)

# -- persons on the record. Who they are is wrapped under a store key, which `key` names.

PERSONS = Table(
    "persons",
    METADATA,
    Column("pseudonym", Text, primary_key=True),
    Column("hash", LargeBinary(32), nullable=False, unique=True),  # of the id, under that store key
    Column("key", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the id
)

SUBJECTS = Table(
    "subjects",
    METADATA,
    Column("segment", LargeBinary(16), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("pseudonym", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),  # the content key of the subject frame
    Column("time", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("subjects_pseudonym", SUBJECTS.c.pseudonym)
Index("subjects_key", SUBJECTS.c.key)

ERASED = Table(
    "erased",
    METADATA,
    Column("segment", LargeBinary(16), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("pseudonym", Text, nullable=False),
    sqlite_with_rowid=False,
)

TAKEN_IN = Table(
    "taken_in",
    METADATA,
    Column("file", Text, primary_key=True),
    Column("intake", Text, nullable=False),  # the intake key that the segment is sealed to
    Column("offset", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),  # of the frame there
    Column("ended", BigInteger, nullable=False),  # 1: no frame follows
)

ERASURES = Table(
    "erasures",
    METADATA,
    Column("pseudonym", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("requested", BigInteger, nullable=False),
    Column("subjects", BigInteger, nullable=False),  # subject frames
    Column("segments", BigInteger, nullable=False),
    Column("act", Text, nullable=False),  # empty: not on the record yet
    Column("erased", BigInteger, nullable=False),  # when the rows were deleted; 0: not yet
    Column("scrubbed", BigInteger, nullable=False),  # when nothing of them was left in the file
    Column("turning", BigInteger, nullable=False),  # when the keys were replaced
    Column("turned", BigInteger, nullable=False),  # when the old ones were destroyed
)

HOLDS = Table(
    "holds",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the subject's id; that of nobody is empty
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),  # 0, both: of a subject, for all time
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
)

# -- the authorization server: clients, and what people allowed them

CLIENTS = Table(
    "clients",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("disabled", BigInteger, nullable=False),  # when it was; 0: it was not
    Column("data", Text, nullable=False),  # JSON: all of it
)
Index("clients_principal", CLIENTS.c.principal)

GRANTS = Table(
    "grants",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("current", LargeBinary(32), nullable=False),  # keyed hash of the refresh token that is good
    Column("expires", BigInteger, nullable=False),
    Column("revoked", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # JSON: all of it
)
CONSENTS = Table(
    "consents",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("scopes", Text, nullable=False),  # JSON list: what was allowed for good
    Column("audience", Text, nullable=False),  # JSON list: for which APIs
    Column("given", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
for _column in ("client_id", "principal", "account", "session", "expires"):
    Index(f"grants_{_column}", GRANTS.c[_column])

# -- people who sign in. What is sealed is so under the key `factors` of the keyring, which `key` names.

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # canonical
    Column("state", Text, nullable=False),  # active, disabled
    Column("roles", Text, nullable=False),  # JSON list
    Column("created", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("password", LargeBinary, nullable=False),  # sealed Argon2 hash; empty: there is none
    Column("changed", BigInteger, nullable=False),  # when the password was
    Column("must_change", BigInteger, nullable=False),  # 1: it is good for choosing another one only
    Column("invitation", LargeBinary, nullable=False),  # keyed hash of a code to begin with; empty: there is none
    Column("invited_until", BigInteger, nullable=False),
    Column("acts", Text, nullable=False),  # JSON list of the record's ids of what was done to it
)
Index("accounts_invitation", ACCOUNTS.c.invitation)

FACTORS = Table(
    "factors",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("kind", Text, nullable=False),  # totp, passkey
    Column("label", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the seed; the credential's id and public key
    Column("lookup", LargeBinary(32), nullable=False, unique=True),  # keyed hash of the credential's id
    Column("used", BigInteger, nullable=False),  # 0: never
    Column("step", BigInteger, nullable=False),  # the last one accepted; the passkey's counter
)
Index("factors_account", FACTORS.c.account)

RECOVERY_CODES = Table(
    "recovery_codes",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # keyed
    Column("account", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("recovery_codes_account", RECOVERY_CODES.c.account)

LINKS = Table(
    "links",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # keyed, of the outside issuer and its `sub`
    Column("account", Text, nullable=False),
    Column("provider", Text, nullable=False),  # its name in the file
    Column("created", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("links_account", LINKS.c.account)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # keyed, of the cookie
    Column("sid", Text, nullable=False, unique=True),
    Column("account", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),  # in any case
    Column("auth_time", BigInteger, nullable=False),
    Column("amr", Text, nullable=False),  # JSON list
    Column("acr", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("source", LargeBinary, nullable=False),  # sealed: the address it began from
    Column("revoked", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False, server_default="0"),  # when the password was that it stands on
    sqlite_with_rowid=False,
)
Index("sessions_account", SESSIONS.c.account)
Index("sessions_expires", SESSIONS.c.expires)

FAILURES = Table(
    "failures",
    METADATA,
    Column("key", LargeBinary(32), primary_key=True),  # keyed hash of an account, a name or an address
    Column("since", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),  # nothing is tried before then; 0: it is
    sqlite_with_rowid=False,
)
Index("failures_since", FAILURES.c.since)

SPENT = Table(
    "spent",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # keyed, of what is good once
    Column("expires", BigInteger, nullable=False),  # when it is refused for its age anyway
    sqlite_with_rowid=False,
)

# -- signals about subjects (Shared Signals Framework)

SIGNAL_STREAMS = Table(
    "signal_streams",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # JSON: all of it
)

SIGNAL_SUBJECTS = Table(
    "signal_subjects",
    METADATA,
    Column("stream", Text, primary_key=True),
    Column("hash", LargeBinary(32), primary_key=True),
    Column("added", BigInteger, nullable=False),  # 1: asked for; 0: to be left out
    Column("subject", Text, nullable=False),  # JSON
    sqlite_with_rowid=False,
)

SIGNAL_QUEUE = Table(
    "signal_queue",
    METADATA,
    Column("number", Integer, primary_key=True),  # in the order of what happened
    Column("stream", Text, nullable=False),
    Column("jti", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("claims", Text, nullable=False),  # JSON, signed when it goes
    Column("created", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),  # how often
    sqlite_autoincrement=True,
)
Index("signal_queue_stream", SIGNAL_QUEUE.c.stream, SIGNAL_QUEUE.c.number)

SIGNALS_SEEN = Table(
    "signals_seen",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # of issuer and `jti`
    Column("expires", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

INITIAL_TOKENS = Table(
    "initial_tokens",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # keyed, of a token with which clients register themselves
    Column("id", Text, nullable=False),  # for people and the record
    Column("uses", BigInteger, nullable=False),  # how many are left
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("act", Text, nullable=False),
    sqlite_with_rowid=False,
)


def _first(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[API_KEYS, REVOCATIONS])


def _persons(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[PERSONS, SUBJECTS, ERASED, TAKEN_IN, ERASURES, HOLDS])


def _issuer(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[CLIENTS, GRANTS, CONSENTS])


def _marks(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[MARKS])


def _accounts(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[ACCOUNTS, FACTORS, RECOVERY_CODES, LINKS, SESSIONS, FAILURES, SPENT])


def _signals(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[SIGNAL_STREAMS, SIGNAL_SUBJECTS, SIGNAL_QUEUE, SIGNALS_SEEN])


def _registrations(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[INITIAL_TOKENS])


def _risks(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[RISKS])


def _sessions_know_the_password(connection: Connection) -> None:
    columns = {row[1] for row in connection.execute(text("PRAGMA table_info(sessions)"))}
    if "changed" not in columns:  # else the table was just made
        connection.execute(text("ALTER TABLE sessions ADD COLUMN changed BIGINT NOT NULL DEFAULT 0"))
        present = select(ACCOUNTS.c.changed).where(ACCOUNTS.c.id == SESSIONS.c.account).scalar_subquery()
        connection.execute(update(SESSIONS).values(changed=func.coalesce(present, 0)))


MIGRATIONS = (
    _first,
    _persons,
    _issuer,
    _marks,
    _accounts,
    _signals,
    _registrations,
    _risks,
    _sessions_know_the_password,
)
VERSION = len(MIGRATIONS)


def migrate(connection: Connection) -> None:
    """Bring a database to the present version, in the transaction the caller has begun for writing."""
    found = connection.execute(text("PRAGMA user_version")).scalar_one()
    owner = connection.execute(text("PRAGMA application_id")).scalar_one()
    tables = connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
    if (tables or found) and owner != APPLICATION_ID:
        raise StateError("the state database was not made by Interlock")
    if found > VERSION:
        raise StateError(f"the state database has version {found}; this Interlock knows up to {VERSION}")
    for number in range(found, VERSION):
        MIGRATIONS[number](connection)
    if found != VERSION:
        connection.execute(text(f"PRAGMA application_id = {APPLICATION_ID}"))
        connection.execute(text(f"PRAGMA user_version = {VERSION}"))
