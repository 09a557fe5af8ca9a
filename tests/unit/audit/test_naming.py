"""Who is named on the record is named to who follows it, from any place; and no longer once they are erased."""

from __future__ import annotations

from interlock.audit.cursor import BEGINNING, Cursor
from interlock.audit.feed import Feed
from interlock.audit.joined import Joined, Joiner
from interlock.audit.naming import REFRESH, Naming
from interlock.audit.subjects_reading import Names
from tests.unit.audit.storage import World, open_plain, settle
from tests.unit.audit.test_subjects import Intake, Nothing, call


def rows(world: World, names: Names | None, cursor: Cursor = BEGINNING) -> list[Joined]:
    feed = Feed(world.record, open_plain, cursor)
    joiner = Joiner(feed, None if names is None else lambda: names)
    return [row for fed in feed.read() if (row := joiner.add(fed)) is not None]


def test_names_stand_in_rows_also_of_who_begins_in_the_middle(world: World) -> None:
    intake, known = Intake(), Nothing()
    recorder, writer = world.recorder(), world.writer(intake=intake)
    names = Names(known, intake.open)
    call(writer)
    settle(recorder)
    middle = Feed(world.record, open_plain).go_to_end()
    call(writer)  # refers to the subject frames of before
    settle(recorder)
    first, second = rows(world, names)
    for joined in (first, second, *rows(world, names, middle)):
        row = joined.row
        assert (row["principal"], row["source"], row["resource"]) == ("user:iss/alice", "192.0.2.1", "/p/4711/x")
        assert row["credential"] == "key1"
    (hidden,) = rows(world, None, middle)
    assert hidden.row["principal"].startswith("hidden:")


def test_an_erasure_is_heeded_by_who_has_been_reading_for_long(world: World) -> None:
    intake, known = Intake(), Nothing()
    recorder, writer = world.recorder(), world.writer(intake=intake)
    call(writer)
    settle(recorder)
    feed = Feed(world.record, open_plain)
    intent = next(fed for fed in feed.read() if fed.entry is not None and hasattr(fed.entry, "principal"))
    now = 0.0
    naming = Naming(feed, lambda: Names(known, intake.open), lambda _: None, monotonic=lambda: now)
    segment, entry = intent.record[0], intent.entry
    assert entry is not None
    assert naming.named(segment, entry).principal == "user:iss/alice"  # type: ignore[union-attr]
    known.gone = {entry.principal: "p7"}  # type: ignore[union-attr,dict-item]
    now = REFRESH + 1
    assert naming.named(segment, entry).principal == "erased:p7"  # type: ignore[union-attr]
