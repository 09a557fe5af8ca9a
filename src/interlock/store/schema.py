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


def _first(connection: Connection) -> None:
    METADATA.create_all(connection)


MIGRATIONS = (_first,)
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
