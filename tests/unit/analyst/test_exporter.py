"""One export, step by step: at least once whatever fails, back-off, smaller batches, a place that survives."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from interlock.analyst.backoff import FIRST, LONGEST, delay
from interlock.analyst.exporter import CONFIRM_EVERY, Exporter
from interlock.analyst.file_sink import FileSink
from interlock.analyst.place import Place
from interlock.analyst.sink import Message, SinkError
from interlock.audit.cursor import Cursor
from interlock.clock import SECOND
from interlock.config import Export
from interlock.errors import RecordError
from interlock.model import Event
from tests.unit.audit.storage import REFUSED, World, call, intent, open_plain, outcome, refused, settle


class Receiver:
    """A sink in memory. `fault` is asked before each step: the error to raise, or None."""

    def __init__(self, *, immediate: bool = True) -> None:
        self.immediate = immediate
        self.arrived: list[bytes] = []
        self.waiting: list[bytes] = []
        self.batches: list[int] = []
        self.named: list[str] = []
        self.fault: Callable[[str, int], Exception | None] = lambda step, size: None
        self.closed = 0

    def send(self, batch: Sequence[Message]) -> bool:
        if error := self.fault("send", len(batch)):
            raise error
        self.batches.append(len(batch))
        self.named += [message.id for message in batch]
        (self.arrived if self.immediate else self.waiting).extend(message.data for message in batch)
        return self.immediate

    def confirm(self) -> None:
        if error := self.fault("confirm", len(self.waiting)):
            raise error
        self.arrived += self.waiting
        self.waiting = []

    def close(self) -> None:
        self.closed += 1
        self.waiting = []

    def ids(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.arrived]


class Bench:
    def __init__(self, world: World, *, immediate: bool = True) -> None:
        self.world = world
        self.receiver = Receiver(immediate=immediate)
        self.recorder = world.recorder()
        self.writer = world.writer()
        self.expected: list[str] = []

    def exporter(self, **options: object) -> Exporter:
        export = Export.model_validate(
            {"name": "a", "format": "jsonl", "to": "tls://127.0.0.1:1", **options},
            context={"folder": self.world.folder},
        )
        return Exporter(
            export,
            self.world.record,
            open_plain,
            self.world.folder / "exports",
            make_sink=lambda _: self.receiver,
            clock=self.world.clock,
            host="host",
            chance=lambda: 1.0,
        )

    def calls(self, count: int) -> None:
        for number in range(count):
            record = call(self.writer, len(self.expected) + number)
            self.expected.append(f"{record[0].hex()}-{record[1]}")
        settle(self.recorder)


def run(exporter: Exporter, steps: int = 20) -> None:
    for _ in range(steps):
        exporter.step()


@pytest.fixture
def bench(world: World) -> Bench:
    return Bench(world)


def test_everything_arrives_once_while_nothing_fails(bench: Bench) -> None:
    exporter = bench.exporter(batch=3)
    bench.calls(10)
    run(exporter)
    assert bench.receiver.ids() == bench.expected
    assert bench.receiver.batches == [3, 3, 3, 1]
    status = exporter.status
    assert (status.state, status.records, status.failures, status.lag_seconds, status.error) == ("idle", 10, 0, 0.0, "")
    bench.calls(2)
    run(exporter)
    assert bench.receiver.ids() == bench.expected


def test_each_message_has_an_id_of_its_own_that_is_the_same_when_it_is_sent_again(bench: Bench) -> None:
    """What a bus drops as sent before MUST be that: two messages of one id would be one that is lost."""
    bench.calls(6)
    first = bench.writer.append(Event.CALL_INTENT.code, intent(99))
    bench.writer.flush()
    bench.writer.append(Event.CALL_OUTCOME.code, outcome(504), first)
    bench.writer.append(Event.CALL_OUTCOME.code, outcome(), first)
    bench.writer.append(Event.CALL_REFUSED.code, refused())
    bench.writer.flush()
    settle(bench.recorder)
    exporter = bench.exporter(batch=4)
    bench.receiver.fault = lambda step, size: SinkError("away") if len(bench.receiver.arrived) >= 4 else None
    run(exporter, 4)
    sent = dict(zip(bench.receiver.named, bench.receiver.arrived, strict=True))
    bench.receiver.fault = lambda step, size: None
    Place(bench.world.folder / "exports", "a").path.unlink()
    bench.receiver.named, bench.receiver.arrived = [], []
    run(bench.exporter(batch=4))
    again = dict(zip(bench.receiver.named, bench.receiver.arrived, strict=True))
    assert len(bench.receiver.named) == len(again) == 9
    assert len(sent) == 4
    assert sent.items() <= again.items()


def test_the_next_life_goes_on_where_the_last_one_was_confirmed(bench: Bench) -> None:
    for _ in range(3):
        bench.calls(4)
        exporter = bench.exporter(batch=3)
        run(exporter)
    assert bench.receiver.ids() == bench.expected
    assert exporter.status.records == 12


def test_a_refused_batch_is_kept_and_tried_again_later_and_later(bench: Bench) -> None:
    exporter = bench.exporter()
    bench.calls(5)
    bench.receiver.fault = lambda step, size: SinkError("it answered 400: no thanks")
    waits = [exporter.step() for _ in range(10)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    bench.world.clock.advance(90)
    exporter.step()
    status = exporter.status
    assert (status.state, status.error, status.failures) == ("retrying", "it answered 400: no thanks", 11)
    assert status.lag_seconds >= 90
    assert "it answered 400" in status.problem()
    assert status.retry_ns == bench.world.clock.wall() + 60 * SECOND
    bench.receiver.fault = lambda step, size: None
    run(exporter)
    assert bench.receiver.ids() == bench.expected
    assert (exporter.status.error, exporter.status.failing_ns, exporter.status.problem()) == ("", 0, "")


def test_a_receiver_may_ask_to_be_left_alone(bench: Bench) -> None:
    exporter = bench.exporter()
    bench.calls(1)
    bench.receiver.fault = lambda step, size: SinkError("busy", retry_after=120)
    assert exporter.step() == 120
    bench.receiver.fault = lambda step, size: SinkError("busy", retry_after=1e9)
    assert exporter.step() == 300


def test_what_is_too_large_at_once_comes_in_smaller_pieces(bench: Bench) -> None:
    exporter = bench.exporter(batch=100)
    bench.calls(40)
    bench.receiver.fault = lambda step, size: SinkError("it answered 413", smaller=True) if size > 7 else None
    run(exporter)
    assert bench.receiver.ids() == bench.expected
    assert max(bench.receiver.batches) <= 7


def test_unconfirmed_batches_count_only_once_they_are_confirmed(world: World) -> None:
    bench = Bench(world, immediate=False)
    exporter = bench.exporter(batch=2)
    bench.calls(5)
    run(exporter, 6)
    assert bench.receiver.arrived == []
    assert exporter.status.records == 0
    kept = Place(world.folder / "exports", "a").read()
    assert kept is not None
    assert kept[0].journal == 0
    world.clock.advance(CONFIRM_EVERY / SECOND)
    run(exporter, 2)
    assert bench.receiver.ids() == bench.expected
    assert exporter.status.records == 5


def test_after_a_broken_connection_everything_unconfirmed_comes_again(world: World) -> None:
    bench = Bench(world, immediate=False)
    exporter = bench.exporter(batch=2)
    bench.calls(5)
    run(exporter, 6)
    bench.receiver.fault = lambda step, size: SinkError("reset")
    world.clock.advance(5)
    run(exporter, 3)
    assert bench.receiver.arrived == []
    bench.receiver.fault = lambda step, size: None
    run(exporter, 6)
    world.clock.advance(5)
    run(exporter, 3)
    assert bench.receiver.ids() == bench.expected


def test_an_end_in_good_order_confirms_what_was_sent(world: World) -> None:
    bench = Bench(world, immediate=False)
    exporter = bench.exporter()
    bench.calls(3)
    run(exporter, 3)
    exporter.close()
    assert bench.receiver.ids() == bench.expected
    run(bench.exporter())
    assert bench.receiver.ids() == bench.expected


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_at_least_once_under_random_faults_and_deaths(world: World, seed: int, immediate: bool) -> None:
    bench, chance = Bench(world, immediate=immediate), random.Random(seed)

    def fault(step: str, size: int) -> Exception | None:
        return SinkError("no") if chance.random() < 0.3 else None

    bench.receiver.fault = fault
    exporter = bench.exporter(batch=4)
    for _ in range(60):
        if chance.random() < 0.5:
            bench.calls(chance.randrange(4))
        run(exporter, chance.randrange(5))
        world.clock.advance(chance.random())
        if chance.random() < 0.2:  # killed: whatever was not confirmed is forgotten by both sides
            bench.receiver.waiting = []
            exporter = bench.exporter(batch=4)
    bench.receiver.fault = lambda step, size: None
    for _ in range(10):
        run(exporter, 10)
        world.clock.advance(10)
    assert set(bench.receiver.ids()) == set(bench.expected)
    first = list(dict.fromkeys(bench.receiver.ids()))
    assert first == bench.expected, "each for the first time in sealing order"


def test_only_what_is_wanted_and_the_place_moves_on_all_the_same(bench: Bench) -> None:
    exporter = bench.exporter(only={"decision": "deny", "kinds": ["calls"]})
    bench.calls(3)
    record = bench.writer.append(REFUSED, refused())
    bench.writer.flush()
    settle(bench.recorder)
    run(exporter)
    assert bench.receiver.ids() == [f"{record[0].hex()}-{record[1]}"]
    bench.calls(3)
    bench.world.clock.advance(10)
    run(exporter)
    kept = Place(bench.world.folder / "exports", "a").read()
    assert kept is not None
    assert kept[0] == exporter._cursor


def test_from_now_on(bench: Bench) -> None:
    bench.calls(3)
    exporter = bench.exporter(start="now")
    run(exporter)
    assert bench.receiver.ids() == []
    bench.expected = []
    bench.calls(2)
    run(exporter)
    assert bench.receiver.ids() == bench.expected


def test_a_record_that_was_altered_stops_the_export_and_says_so(bench: Bench) -> None:
    bench.calls(2)
    path = bench.world.segments()[0]
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    exporter = bench.exporter()
    run(exporter, 5)
    assert len(bench.receiver.ids()) <= 1
    assert "was altered" in exporter.status.error
    data[-20] ^= 1
    path.write_bytes(data)
    run(exporter)
    assert set(bench.receiver.ids()) == set(bench.expected)


def test_a_damaged_place_is_no_reason_to_begin_again_in_silence(bench: Bench) -> None:
    bench.calls(1)
    folder = bench.world.folder / "exports"
    folder.mkdir()
    (folder / "a.json").write_text('{"version": 1, "export": "b", "cursor": "x"}')
    exporter = bench.exporter()
    run(exporter, 2)
    assert "remove it to begin again" in exporter.status.error
    assert bench.receiver.ids() == []


def test_a_place_is_replaced_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, "a")
    assert place.read() is None
    cursor = Cursor(2, 8, 1, bytes(32))
    place.keep(cursor, 7, 123)
    assert place.read() == (cursor, 7)
    assert json.loads(place.path.read_text()) == {
        "version": 1,
        "export": "a",
        "cursor": str(cursor),
        "records": 7,
        "time_ns": 123,
        "log": "",
        "check": json.loads(place.path.read_text())["check"],
    }
    assert place.path.stat().st_mode & 0o777 == 0o600
    place.path.write_text("{")
    with pytest.raises(RecordError, match="cannot be read"):
        place.read()


@pytest.mark.parametrize("failures", [1, 2, 5, 10, 1000])
def test_no_wait_is_shorter_or_longer_than_it_should_be(failures: int) -> None:
    most = min(LONGEST, FIRST * 2 ** (failures - 1))
    assert delay(failures, 0.0) == most / 2
    assert delay(failures, 1.0) == most


def test_the_place_of_another_node_is_refused_and_not_taken_for_ours(bench: Bench) -> None:
    """Put there by mistake or on purpose: what it passed over would never be sent."""
    folder = bench.world.folder / "exports"
    Place(folder, "a", log="interlock/other").keep(Cursor(9, 1 << 40, 0, bytes(32)), 700, 1)
    before = Place(folder, "a", log="interlock/other").path.read_bytes()
    bench.calls(3)
    ours = bench.exporter()
    ours._place = Place(folder, "a", log="interlock/ours")
    run(ours, 4)
    assert "is of the record of interlock/other" in ours.status.error
    assert (bench.receiver.arrived, ours._place.path.read_bytes()) == ([], before)
    ours._place.path.unlink()
    run(ours, 4)
    assert bench.receiver.ids() == bench.expected
    assert b"interlock/ours" in ours._place.path.read_bytes()


def test_a_place_that_was_kept_before_it_named_its_log_is_gone_on_from(tmp_path: Path) -> None:
    Place(tmp_path, "a").keep(Cursor(1, 2, 3, bytes(32)), 4, 5)
    assert Place(tmp_path, "a", log="interlock/ours").read() == (Cursor(1, 2, 3, bytes(32)), 4)


def test_a_place_of_before_there_was_a_check_is_gone_on_from(tmp_path: Path) -> None:
    cursor = Cursor(1, 2, 3, bytes(32))
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "export": "a", "cursor": str(cursor), "records": 4}))
    assert Place(tmp_path, "a").read() == (cursor, 4)


def test_a_place_of_a_later_version_may_say_more(tmp_path: Path) -> None:
    cursor = Cursor(1, 2, 3, bytes(32))
    more = {"version": 1, "export": "a", "cursor": str(cursor), "records": 4, "check": "", "more": [1]}
    more["check"] = sha256(json.dumps(more, separators=(",", ":")).encode()).hexdigest()
    (tmp_path / "a.json").write_text(json.dumps(more))
    assert Place(tmp_path, "a").read() == (cursor, 4)


def test_every_changed_byte_of_a_place_is_noticed(tmp_path: Path) -> None:
    """What it passes over is never sent, and nobody would hear of it."""
    place = Place(tmp_path, "a", log="interlock/ours")
    place.keep(Cursor(2, 8000, 11, bytes(32)), 700, 123)
    data = place.path.read_bytes()
    for at in range(len(data) - 1):  # the last one is the end of the line
        for bit in range(8):
            bad = bytearray(data)
            bad[at] ^= 1 << bit
            place.path.write_bytes(bad)
            with pytest.raises(RecordError, match="begin again"):
                place.read()


def test_a_damaged_place_passes_over_nothing_and_the_operator_is_told(bench: Bench) -> None:
    bench.calls(3)
    exporter = bench.exporter()
    exporter._place.keep(exporter._confirmed, 0, 1)
    file = bench.world.folder / "exports" / "a.json"
    file.write_bytes(file.read_bytes().replace(b'"1.0.0.0.', b'"1.1.8.0.'))
    run(exporter, 3)
    assert bench.receiver.ids() == []
    assert "a.json was altered; remove it to begin again" in exporter.status.error
    file.unlink()
    run(exporter)
    assert bench.receiver.ids() == bench.expected


def lines(*data: bytes) -> list[Message]:
    return [Message(f"{number:032x}-0", one) for number, one in enumerate(data)]


def test_a_file_takes_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"one\ntwo\nhalf of thr")
    sink = FileSink(path)
    assert sink.send(lines(b"three\n", b"four\n")) is True
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"
    path.rename(tmp_path / "out.1")
    sink.send(lines(b"five\n"))
    assert path.read_bytes() == b"five\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"")
    sink.send(lines(b"six\n"))
    assert path.read_bytes() == b"six\n"
    sink.close()
    path.write_bytes(b"x" * 200_000)
    sink.send(lines(b"seven\n"))
    assert path.read_bytes() == b"seven\n"


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="No such file or directory"):
        FileSink(tmp_path / "nowhere" / "out").send(lines(b"x\n"))
