"""The state database's tables and their versions.

The version is SQLite's `user_version`. A migration is added at the end of `MIGRATIONS` and never changed;
a database of a newer version is refused, since an older program would lose what it does not know.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, LargeBinary, MetaData, Table, Text, text

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
for _column in ("client_id", "principal", "account", "session", "expires"):
    Index(f"grants_{_column}", GRANTS.c[_column])


def _first(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[API_KEYS, REVOCATIONS])


def _persons(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[PERSONS, SUBJECTS, ERASED, TAKEN_IN, ERASURES, HOLDS])


def _issuer(connection: Connection) -> None:
    METADATA.create_all(connection, tables=[CLIENTS, GRANTS])


MIGRATIONS = (_first, _persons, _issuer)
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
