"""The record in columns: what is asked of it is what a query of the record says, now and after anything happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock.audit import ActRecorder, HandshakeRefused, Refusals, encode, query
from interlock.audit.columns import Builder, Unreadable, answer, builder, extra, parquet
from interlock.audit.columns.cache import MANIFEST, Manifest
from interlock.errors import KeyMaterialError, UsageError
from interlock.keys import Keyring, cache_key, turn_cache
from interlock.model import Event
from interlock.store import Persons, State
from tests.unit.audit.storage import INTENT, REFUSED, World, call, die, intent, open_plain, refused, settle

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")


class Desk:
    """A world, its keys and state, and what brings its columns up to date."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keyring = Keyring(world.folder / "keys", b"k" * 32)
        self.keyring.ensure()
        self.persons = Persons(State.open(world.folder / "state.db"))
        self.cache = world.folder / "cache"
        self.parquet = self.cache / "parquet"
        self.recorder = world.recorder()
        self.builder = self.another()

    def another(self) -> Builder:
        return Builder(self.world.record, self.cache, lambda: self.keyring, lambda: self.persons, open_plain)

    def bring(self, one: Builder | None = None) -> int:
        one = one or self.builder
        frames = 0
        while (done := one.step()) is not None and done.frames:
            frames += done.frames
            assert not done.problem
        return frames

    def ask(self, sql: str, **bounds: Any) -> list[list[Any]]:
        rows: list[list[Any]] = []
        with self.builder.cache.held(shared=True):
            key = cache_key(self.keyring)
            manifest = self.builder.usable(key)
            assert manifest is not None
            under_way = self.builder.under_way(manifest)
            answer(sql, manifest, self.parquet, key, under_way, lambda _: None, rows.append, **bounds)
        return rows

    def files(self) -> set[str]:
        return {path.name for path in self.parquet.glob("*.parquet")}


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def ids(desk: Desk) -> list[str]:
    return [row[0] for row in desk.ask("SELECT id FROM calls ORDER BY id")]


def expected(desk: Desk) -> list[str]:
    return sorted(str(row["id"]) for row in query(desk.world.record, open_plain))


def test_nothing_is_loaded_before_somebody_asks() -> None:
    code = (
        "import sys, interlock.cli.audit, interlock.control.main, interlock.control.sql, interlock.analyst.columns; "
        "sys.exit('pyarrow' in sys.modules or 'duckdb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 0


def test_an_empty_record_has_empty_tables(desk: Desk) -> None:
    assert desk.bring() == 0
    assert desk.ask("SELECT count(*) FROM calls UNION ALL SELECT count(*) FROM acts") == [[0], [0]]


def test_the_rows_are_those_of_a_query_of_the_record(desk: Desk) -> None:
    world = desk.world
    writer = world.writer()
    for number in range(3):
        call(writer, number)
    writer.append(REFUSED, refused())
    writer.append(Event.CALL_REFUSALS.code, encode(Refusals("10.0.0.9", 5, {"no-route": 5}, world.clock.wall())))
    writer.append(Event.TLS_REFUSED.code, encode(HandshakeRefused("10.0.0.8", "tls-handshake", "", "name", "why")))
    writer.append(INTENT, intent(9))  # still under way
    writer.flush()
    ActRecorder(world.writer("control"), "os:host/root").act(Event.KEY_CREATE, {"id": "k1"})
    settle(desk.recorder)
    desk.bring()
    names = ["id", "time", "event", "principal", "methods", "action", "host", "route", "resource", "service", "source"]
    names += ["decision", "outcome", "reason", "status", "duration_ms", "bytes_in", "bytes_out", "mode", "trace_id"]
    names += ["credential", "upstream", "note"]
    found = {row[0]: row for row in desk.ask(f"SELECT {', '.join(names)} FROM calls")}
    rows = list(query(world.record, open_plain))
    assert len(found) == len(rows) == 7
    for row in rows:
        assert found[str(row["id"])] == [row.get(name) for name in names]
    assert desk.ask("SELECT sum(count) FROM calls") == [[11]]
    (act,) = desk.ask("SELECT event, actor, json_extract_string(details, 'id') FROM acts WHERE event = 'key:create'")
    assert act == ["key:create", "os:host/root", "k1"]


def test_a_call_under_way_is_there_once_and_again_once_it_has_ended(desk: Desk) -> None:
    writer = desk.world.writer()
    writer.append(INTENT, intent(1))
    writer.flush()
    settle(desk.recorder)
    desk.bring()
    assert desk.ask("SELECT outcome, status FROM calls") == [["open", None]]
    desk.builder = desk.another()  # who goes on reads its beginning again
    assert desk.ask("SELECT principal FROM calls") == [["user:iss/u1"]]
    die(writer)
    settle(desk.recorder)
    desk.bring()
    assert desk.ask("SELECT outcome, principal FROM calls") == [["unknown", "user:iss/u1"]]


def test_it_grows_by_what_is_new_and_keeps_few_files(desk: Desk) -> None:
    writer = desk.world.writer()
    for round_ in range(40):
        for number in range(3):
            call(writer, 3 * round_ + number)
        settle(desk.recorder)
        assert 0 < desk.bring() < 12, "only what is new"
        if round_ % 7 == 0:
            desk.builder = desk.another()
    assert ids(desk) == expected(desk)
    assert len(ids(desk)) == 120
    assert len(desk.files()) <= 8
    assert desk.bring() == 0


def test_two_who_build_take_turns(desk: Desk) -> None:
    writer, other = desk.world.writer(), desk.another()
    for number in range(10):
        call(writer, number)
        settle(desk.recorder)
        desk.bring(other if number % 2 else desk.builder)
    assert ids(desk) == expected(desk)
    with other.cache.held():
        assert desk.builder.step(wait=False) is None


def test_what_the_recorder_tells_twice_is_there_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = desk.world.writer()
    for number in range(4):
        call(writer, number)
    settle(desk.recorder)
    desk.bring()
    read = builder.Feed.read
    again: list[Any] = []

    def twice(self: Any, limit: int = 1000) -> list[Any]:
        found = read(self, limit)
        again.extend(found)
        return found + found

    monkeypatch.setattr(builder.Feed, "read", twice)
    call(writer, 5)
    settle(desk.recorder)
    desk.bring()
    assert again
    assert len(ids(desk)) == 5


@pytest.mark.parametrize("harm", ["manifest", "cut", "foreign", "file", "exchanged", "key", "version"])
def test_what_is_broken_or_foreign_is_made_anew(desk: Desk, harm: str) -> None:
    writer = desk.world.writer()
    for number in range(2):
        for one in range(1 + 20 * (1 - number)):
            call(writer, 100 * number + one)
        settle(desk.recorder)
        desk.bring()
    first, *others = sorted(desk.parquet.glob("calls-*"))
    manifest = desk.parquet / MANIFEST
    match harm:
        case "manifest":
            manifest.unlink()
        case "cut":
            manifest.write_bytes(manifest.read_bytes()[:-3])
        case "foreign":
            manifest.write_bytes(os.urandom(300))
            (desk.parquet / "folder").mkdir()
            (desk.parquet / "calls-old.parquet").write_bytes(b"PAR1")
        case "file":
            first.unlink()
        case "exchanged":
            (other,) = others
            swapped = first.read_bytes()
            first.write_bytes(other.read_bytes())
            other.write_bytes(swapped)
        case "key":
            turn_cache(desk.keyring)
        case "version":
            old = Manifest(version=0)
            desk.builder.cache.publish(old, cache_key(desk.keyring))
    desk.builder = desk.another()
    assert desk.builder.usable(cache_key(desk.keyring)) is None
    desk.bring()
    assert ids(desk) == expected(desk)
    assert desk.files() >= {path.name for path in desk.parquet.glob("*.parquet")}
    assert not (desk.parquet / "folder").exists()


def test_a_flipped_byte_is_said_to_be_one(desk: Desk) -> None:
    writer = desk.world.writer()
    for number in range(50):
        call(writer, number)
    settle(desk.recorder)
    desk.bring()
    (file,) = desk.parquet.glob("calls-*")
    data = bytearray(file.read_bytes())
    data[300] ^= 1
    file.write_bytes(data)
    with pytest.raises(Unreadable):
        desk.ask("SELECT max(COLUMNS(*)) FROM calls")


def test_nothing_is_in_the_clear(desk: Desk) -> None:
    writer = desk.world.writer()
    for number in range(50):
        call(writer, number)
    settle(desk.recorder)
    desk.bring()
    data = b"".join(path.read_bytes() for path in desk.cache.rglob("*") if path.is_file())
    assert data.count(b"PARE"), "an encrypted footer"
    for text in (b"user:iss", b"GET /a", b"10.0.0.1", b"principal", b"call:intent", b"trace_id"):
        assert text not in data
    for path in desk.parquet.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert cache_key(desk.keyring) not in b"".join(path.read_bytes() for path in (desk.world.folder / "keys").iterdir())


def test_nobody_reads_it_with_another_key(desk: Desk) -> None:
    call(desk.world.writer(), 1)
    settle(desk.recorder)
    desk.bring()
    (file,) = desk.parquet.glob("calls-*")
    with pytest.raises(Exception, match=r"another key|[Dd]ecrypt"):
        parquet.read(file, "calls", os.urandom(32))
    desk.keyring = Keyring(desk.world.folder / "keys", b"x" * 32)
    with pytest.raises(KeyMaterialError):
        desk.bring(desk.another())


def test_what_was_pruned_goes_and_the_rest_is_under_another_key(desk: Desk) -> None:
    first, second = desk.world.writer(), desk.world.writer("worker-4")
    for number in range(5):
        call(first, number)
        call(second, 10 + number)
    first.close()
    settle(desk.recorder)
    desk.bring()
    assert len(ids(desk)) == 10
    key, files = cache_key(desk.keyring), desk.files()
    next(path for path in desk.world.segments() if "worker-3" in path.name).unlink()
    desk.builder.step()
    assert cache_key(desk.keyring) != key
    assert not files & desk.files()
    assert desk.ask("SELECT min(principal), count(*) FROM calls") == [["user:iss/u10", 5]]
    assert desk.bring() == 0


def test_row_groups_of_other_times_are_not_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from interlock.audit.columns.schema import schema

    shape, count = schema("calls"), 3 * parquet.GROUP
    columns = {field.name: pa.nulls(count, field.type) for field in shape}
    columns["time"] = pa.array(range(count, 0, -1), shape.field("time").type)
    columns["id"] = pa.array([f"{number:08x}" for number in range(count)])
    key = os.urandom(32)
    parquet.write(tmp_path / "calls-1.parquet", "calls", pa.table(columns, schema=shape), key)
    (fragment,) = parquet.dataset([tmp_path / "calls-1.parquet"], "calls", key).get_fragments()
    assert fragment.num_row_groups == 3
    early = ds.field("time") < pa.scalar(1000, pa.timestamp("us"))
    assert [group.id for group in fragment.subset(early).row_groups] == [0]


ATTACKS = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('PARQUET')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_text('https://example.com/')",
    "ATTACH 'DATA/state.db' AS s (TYPE sqlite)",
    "ATTACH 'OUT'",
    "COPY calls TO 'OUT'",
    "COPY (SELECT 1) TO 'OUT'",
    "EXPORT DATABASE 'OUT'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "SELECT 1; COPY (SELECT 1) TO 'OUT'",
    "CREATE TABLE t AS SELECT 1",
    "DROP VIEW calls",
    "CALL pragma_version()",
    "SELECT * FROM work",
    "SELECT * FROM connection",
    "SELECT getenv('HOME')",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT'",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "nonsense",
    "",
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(World(tmp_path_factory.mktemp("asked")))
    writer = desk.world.writer()
    for number in range(5):
        call(writer, number)
    settle(desk.recorder)
    desk.bring()
    return desk


@pytest.mark.parametrize("sql", ATTACKS)
def test_it_only_reads_and_only_the_record(asked: Desk, sql: str) -> None:
    out = asked.world.folder / "out"
    (file,) = asked.files() - {path.name for path in asked.parquet.glob("acts-*")}
    sql = sql.replace("OUT", str(out)).replace("DATA", str(asked.world.folder)).replace("PARQUET", file)
    with pytest.raises(UsageError):
        asked.ask(sql)
    assert not out.exists()


def test_its_time_is_bounded(asked: Desk) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match="too long"):
        asked.ask(
            # needs time and no memory: the smaller side alone is held
            "SELECT count(*) FROM range(1000000000000) a, range(1000) b WHERE (a.range + b.range) % 7 = 3",
            seconds=2,
        )
    assert time.monotonic() - began < 8


def test_its_memory_is_bounded(asked: Desk) -> None:
    with pytest.raises(UsageError, match="memory"):
        asked.ask("SELECT list(range) FROM range(500000000)", memory=64 * 1024**2)


def test_values_as_json_has_them(asked: Desk) -> None:
    (row,) = asked.ask(
        "SELECT TIMESTAMP '2026-01-31 12:00:00', DATE '2026-01-31', 1.5::DECIMAL(4,1), 'nan'::DOUBLE, [1, NULL],"
        " {'a': INTERVAL 1 SECOND}, 'x'::BLOB, true, 2::HUGEINT ** 70, now() IS NULL"
    )
    assert row[:8] == ["2026-01-31T12:00:00.000000Z", "2026-01-31", 1.5, None, [1, None], {"a": 1.0}, "78", True]
    assert asked.ask("SELECT count(*) FROM calls WHERE time < now() - INTERVAL 1 DAY") == [[5]]


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "PACKAGES", ("pyarrow", "no_such_engine"))
    assert not extra.installed()
    with pytest.raises(UsageError, match=r"no_such_engine.*interlock\[query\]"):
        extra.need_extra()


@contextmanager
def killed_after(desk: Desk, seconds: float) -> Iterator[None]:
    def build() -> None:
        while True:
            desk.another().step(limit=40)

    process = multiprocessing.get_context("fork").Process(target=build)
    process.start()
    time.sleep(seconds)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    yield


def test_killed_at_any_moment_it_goes_on(desk: Desk) -> None:
    writer = desk.world.writer()
    for number in range(400):
        call(writer, number)
    settle(desk.recorder)
    for nth in range(15):
        with killed_after(desk, 0.02 + 0.013 * nth):
            if nth % 5 == 0:
                (desk.parquet / ".calls-x.parquet.new").touch() if desk.parquet.is_dir() else None
    desk.bring()
    call(writer, 400)
    settle(desk.recorder)
    desk.bring()
    assert ids(desk) == expected(desk)
    assert not list(desk.parquet.glob(".*"))
