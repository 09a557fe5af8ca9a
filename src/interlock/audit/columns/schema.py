"""What a row has, by name and type: those of `audit query`, flat where SQL wants them flat.

`time` is UTC. `count` is 1, and of a flood of refusals how many were counted. Columns are only added, at the
end, and with each addition `VERSION` is raised: what is of another version is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from interlock.audit.joined import Joined

VERSION = 1
CALLS, ACTS = "calls", "acts"
KINDS: Final = (CALLS, ACTS)

COLUMNS: Final = {
    CALLS: {
        "time": "timestamp",
        "id": "text",
        "event": "word",
        "principal": "text",
        "methods": "texts",
        "action": "word",
        "host": "word",
        "route": "word",
        "resource": "text",
        "service": "word",
        "source": "text",
        "decision": "word",
        "outcome": "word",
        "reason": "word",
        "status": "int16",
        "duration_ms": "float64",
        "bytes_in": "int64",
        "bytes_out": "int64",
        "mode": "word",
        "trace_id": "text",
        "credential": "text",
        "upstream": "word",
        "note": "text",
        "count": "int64",
    },
    ACTS: {
        "time": "timestamp",
        "id": "text",
        "event": "word",
        "actor": "text",
        "details": "text",  # JSON
        "refers": "text",
    },
}


def schema(kind: str) -> Any:
    """The Arrow schema."""
    import pyarrow as pa

    types = {
        "timestamp": pa.timestamp("us"),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "word": pa.string(),
        "int16": pa.int16(),
        "int64": pa.int64(),
        "float64": pa.float64(),
    }
    return pa.schema([(name, types[type_]) for name, type_ in COLUMNS[kind].items()])


def words(kind: str) -> list[str]:
    """The columns that have few different values."""
    return [name for name, type_ in COLUMNS[kind].items() if type_ == "word"]


def table(kind: str, rows: Sequence[Joined]) -> Any:
    """An Arrow table of rows of that kind."""
    import pyarrow as pa

    shape = schema(kind)
    columns: dict[str, list[Any]] = {name: [one.row.get(name) for one in rows] for name in shape.names}
    columns["time"] = [one.time_ns // 1000 for one in rows]
    if kind == CALLS:
        columns["count"] = [one.row.get("count", 1) for one in rows]
    else:
        columns["details"] = [json.dumps(one.row["details"], default=str) for one in rows]
    return pa.table({name: pa.array(columns[name], shape.field(name).type) for name in shape.names}, schema=shape)
