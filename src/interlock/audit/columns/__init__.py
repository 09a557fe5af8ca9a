"""The record in columns, for SQL: encrypted Parquet in `cache/parquet/`, derived, disposable, made as it is sealed.

It needs pyarrow and DuckDB (the extra `query`), which MUST NOT be imported before somebody asks.

    schema    what a row has
    parquet   files of rows, encrypted
    cache     the folder: which files count, and how far they go
    builder   brings them up to date from the sealed record
    sql       answers a question, in a process of its own (`engine`)
"""

from interlock.audit.columns.builder import Builder, Progress
from interlock.audit.columns.extra import installed, need_extra
from interlock.audit.columns.sql import Unreadable, answer

__all__ = ["Builder", "Progress", "Unreadable", "answer", "installed", "need_extra"]
