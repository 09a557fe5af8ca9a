"""The memory of used proofs: each once, whoever asks, whoever is killed, and whatever is done to the clock."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import random
import signal
import threading
import time
from fcntl import LOCK_EX, lockf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.clock import SECOND
from interlock.errors import SnapshotError
from interlock.snapshot.replay import CALLS, TOKENS, Claim, ReplayTable

FORK = multiprocessing.get_context("fork")
S = SECOND
WALL = 1_700_000_000 * S
MONO = 1_000 * S
WINDOW, AHEAD = 60 * S, 10 * S
ALICE, BOB = b"a" * 32, b"b" * 32


class Story:
    """A table and its callers' clocks, some time after it was made."""

    def __init__(self, path: Path, slots: int = 4096) -> None:
        self.path = path
        self.table = ReplayTable.create(path, wall=WALL, monotonic=MONO, slots=slots)
        self.wall = WALL + 1000 * S
        self.monotonic = MONO + 1000 * S

    def passes(self, seconds: float) -> None:
        self.wall += int(seconds * S)
        self.monotonic += int(seconds * S)

    def claim(self, name: str = "one", holder: bytes = ALICE, *, age: float = 0, nonce: float = 0, **how: int) -> Claim:
        """A proof made `age` seconds ago; `nonce`: seconds for which the nonce in it is still good."""
        return self.at(self.wall - int(age * S), name, holder, nonce=nonce, **how)

    def at(
        self,
        iat: int,
        name: str = "one",
        holder: bytes = ALICE,
        *,
        nonce: float = 0,
        since: int = 0,
        region: int = CALLS,
    ) -> Claim:
        assert self.wall - WINDOW <= iat <= self.wall + AHEAD, "whoever asks has looked at the window"
        return self.table.claim(
            holder,
            name.encode(),
            iat=iat,
            wall=self.wall,
            monotonic=self.monotonic,
            window=WINDOW,
            ahead=AHEAD,
            nonce_ends=self.monotonic + int(nonce * S) if nonce else 0,
            since=since,
            region=region,
        )


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "replays")


def test_a_proof_is_new_once(story: Story) -> None:
    assert [story.claim() for _ in range(3)] == [Claim.NEW, Claim.SEEN, Claim.SEEN]
    assert story.claim("two") is Claim.NEW
    assert story.claim("one", BOB) is Claim.NEW, "another's identifiers are another's"
    assert ReplayTable.open(story.path).claim(
        ALICE, b"one", iat=story.wall, wall=story.wall, monotonic=story.monotonic, window=WINDOW, ahead=AHEAD
    ) is Claim.SEEN  # fmt: skip


def test_it_is_remembered_for_as_long_as_it_could_be_used(story: Story) -> None:
    made = story.wall + AHEAD  # by a clock that is ahead
    assert story.at(made) is Claim.NEW
    for _ in range(69):
        story.passes(1)
        assert story.at(made) is Claim.SEEN
    story.passes(1)  # to the last moment of its window, where only the clock tells
    assert story.at(made) in (Claim.SEEN, Claim.UNSURE)


def fill(story: Story, **how: int) -> int:
    """Use proofs of one key until one is refused; how many were taken."""
    for number in range(100_000):
        answer = story.claim(f"fill-{number}", **how)
        if answer is not Claim.NEW:
            assert answer is Claim.FULL
            return number
    raise AssertionError


def test_a_full_bucket_is_an_answer_and_nothing_is_given_up_early(story: Story) -> None:
    taken = fill(story)
    assert taken >= 32
    assert all(story.claim(f"fill-{number}") is Claim.SEEN for number in range(taken))
    assert story.claim(f"fill-{taken}") is Claim.FULL
    story.passes(61)  # a little longer than the window, since clocks are read one after the other
    assert story.claim(f"fill-{taken}") is Claim.FULL
    story.passes(2)
    assert story.claim(f"fill-{taken}") is Claim.NEW


def test_one_key_fills_a_quarter_at_most(story: Story) -> None:
    taken = sum(story.claim(f"fill-{number}") is Claim.NEW for number in range(8000))
    assert taken <= 4096 // 4
    others = [story.claim("one", bytes([number]) * 32) for number in range(100)]
    assert others.count(Claim.NEW) >= 60


def test_a_token_endpoint_has_a_region_of_its_own(story: Story) -> None:
    for number in range(4000):
        story.claim("flood", number.to_bytes(32, "big"), region=TOKENS)
    assert story.claim("flood", (1 << 20).to_bytes(32, "big"), region=TOKENS) is Claim.FULL
    assert [story.claim(str(number), number.to_bytes(32, "big")) for number in range(200)] == [Claim.NEW] * 200
    assert story.claim("1", (1).to_bytes(32, "big"), region=TOKENS) in (Claim.NEW, Claim.FULL), "nor of its memory"


# -- what the table cannot know


def test_what_is_older_than_the_table_may_have_been_used(tmp_path: Path) -> None:
    """Used just before the node was started again, also by a clock that was ahead: the table is lost, not the proof."""
    story = Story(tmp_path / "replays")
    story.passes(1000)
    for early in (0.0, 5.0, AHEAD / S):
        made = story.wall + int(early * S)
        assert story.at(made, f"at {early}") is Claim.NEW
        story.table.close()
        story.table = ReplayTable.create(story.path, wall=story.wall + S, monotonic=story.monotonic + S)
        story.passes(2)
        assert story.at(made, f"at {early}") is Claim.UNSURE
        assert story.at(story.wall, "young") is Claim.UNSURE, "nor is this one known to be young enough"
        assert story.at(story.wall, "young", nonce=60) is Claim.NEW, "but a nonce of this start says so"
        assert story.at(story.wall, "young", nonce=60) is Claim.SEEN

        story.passes(9.5)
        assert story.at(story.wall, "later") is Claim.NEW
        story.passes(1000)


def test_a_table_has_forgotten_nothing_of_whom_nobody_took_before_it(tmp_path: Path) -> None:
    story = Story(tmp_path / "replays")
    story.table = ReplayTable.create(story.path, wall=story.wall, monotonic=story.monotonic)
    older, younger = story.wall, story.wall + 1
    story.passes(1)
    assert story.claim("first", since=older) is Claim.UNSURE
    assert [story.claim("first", since=younger) for _ in range(2)] == [Claim.NEW, Claim.SEEN]
    story.table.close()
    story.table = ReplayTable.create(story.path, wall=story.wall + S, monotonic=story.monotonic + S)
    story.passes(2)
    assert story.claim("first", since=younger, age=2) is Claim.UNSURE, "the next table is younger than it"


def test_a_holder_from_the_future_proves_nothing(tmp_path: Path) -> None:
    """Made while the clock was ahead, used when it was right, and then the node was started anew."""
    story = Story(tmp_path / "replays")
    future = story.wall + 3600 * S
    assert story.claim("used", since=future) is Claim.NEW
    made = story.wall
    story.table.close()
    story.table = ReplayTable.create(story.path, wall=story.wall + S, monotonic=story.monotonic + S)
    story.passes(2)
    assert story.at(made, "used", since=future) is Claim.UNSURE


def test_a_clock_that_was_set_back_counts_for_them_too(story: Story) -> None:
    since = story.wall
    made = story.wall
    assert story.at(made, since=since) is Claim.NEW
    story.passes(3600)
    assert story.claim("another", since=since) is Claim.NEW
    story.wall -= 3600 * S
    assert story.at(made, since=since) is Claim.UNSURE, "it was forgotten, and is young again"


def test_a_clock_set_back_brings_no_proof_back(story: Story) -> None:
    made = story.wall
    assert story.at(made) is Claim.NEW
    story.passes(200)
    assert fill(story) >= 32, "its place was taken by others"
    story.wall = made + 20 * S  # somebody sets the clock back: by it the proof is young again
    assert story.at(made) is Claim.UNSURE
    assert story.at(story.wall, "new") is Claim.UNSURE
    # One bucket is full, and salted hashes say which: a name may fall into it.
    answers = {name: story.at(story.wall, name, nonce=30) for name in ("new", "newer", "newest")}
    assert set(answers.values()) <= {Claim.NEW, Claim.FULL}
    new = next(name for name, answer in answers.items() if answer is Claim.NEW)
    assert story.at(story.wall, new, nonce=30) is Claim.SEEN
    story.passes(179)
    assert story.claim("a minute later it has not caught up") is Claim.UNSURE
    story.passes(12)
    assert story.claim("just caught up") is Claim.UNSURE
    story.passes(11)
    assert story.claim("after all that it ever showed") is Claim.NEW
    story.passes(3600)
    assert story.claim("and from then on") is Claim.NEW


@pytest.mark.parametrize("back", [1, 5, 6, 30, 59, 61, 100, 600])
@pytest.mark.parametrize("ahead", [0, 10])
@pytest.mark.parametrize("first", ["forgotten", "set back"])
def test_wherever_a_clock_is_set_back_no_proof_is_new_again(tmp_path: Path, back: int, ahead: int, first: str) -> None:
    story = Story(tmp_path / "replays", slots=32)  # one bucket for each key
    made = story.wall + ahead * S
    assert story.at(made, "proof") is Claim.NEW
    for what in (first, "set back" if first == "forgotten" else "forgotten"):
        if what == "forgotten":
            story.passes(75)
            assert flood(story) == 32, "its place is another's now"
        else:
            story.wall -= back * S
    for _ in range(150):
        flood(story)
        story.passes(5)
        if story.wall - WINDOW <= made <= story.wall + AHEAD:
            assert story.at(made, "proof") is not Claim.NEW
    assert story.claim("in the end") is Claim.NEW


def flood(story: Story) -> int:
    """Take whatever place of a bucket is free, for a moment; how many were."""
    return sum(story.claim(f"{story.monotonic} {number}", nonce=0.001) is Claim.NEW for number in range(33))


def test_every_process_knows_how_far_the_clock_was(story: Story) -> None:
    other = ReplayTable.open(story.path)
    story.wall += 3600 * S
    assert story.claim("by the far clock") is Claim.NEW
    story.wall -= 3600 * S
    how = {"wall": story.wall, "monotonic": story.monotonic, "window": WINDOW, "ahead": AHEAD}
    assert other.claim(ALICE, b"x", iat=story.wall, **how) is Claim.UNSURE


def test_a_proof_with_a_nonce_is_kept_until_the_nonce_ends(story: Story) -> None:
    """Whatever the wall clock says of it: nobody takes it afterwards."""
    assert story.claim(nonce=100) is Claim.NEW
    iat = story.wall
    story.passes(99)
    fill(story)
    story.wall = iat
    assert story.at(iat, nonce=1) is Claim.SEEN


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_story_accepts_a_proof_twice(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever the clocks do and however full it is: a proof is NEW once in the life of the table's node."""
    story = Story(tmp_path_factory.mktemp("t") / "replays", slots=32)
    steps = st.tuples(
        st.sampled_from(["claim", "claim", "claim", "nonce", "pass", "pass", "flood", "flood", "step", "restart"]),
        st.integers(0, 2),
        st.sampled_from([-90, -70, -61, -30, -9, -1, 0, 1, 9, 30, 61, 75, 90]),
    )
    proofs: dict[tuple[int, bool], tuple[int, int]] = {}  # number -> iat, end of its nonce
    accepted: set[tuple[int, bool]] = set()
    gone: set[tuple[int, bool]] = set()
    for what, number, by in data.draw(st.lists(steps, min_size=4, max_size=40)):
        if what == "pass":
            story.passes(abs(by))
        elif what == "step":
            story.wall += by * S
        elif what == "flood":  # whatever place is free is taken by others
            flood(story)
            story.passes(0.01)
        elif what == "restart":
            story.table.close()
            story.table = ReplayTable.create(story.path, wall=story.wall, monotonic=story.monotonic, slots=32)
            # Its nonces are good no longer; a clock that is set back beyond a restart is not known to anybody.
            gone |= {key for key, made in proofs.items() if key[1] or made[0] > story.wall + AHEAD}
        else:
            key = number, what == "nonce"
            if key in gone:
                continue
            iat, ends = proofs.setdefault(key, (story.wall + max(by, 0) % 10 * S, story.monotonic + 100 * S))
            if not story.wall - WINDOW <= iat <= story.wall + AHEAD or (key[1] and story.monotonic >= ends):
                continue  # refused before the table is asked
            nonce = (ends - story.monotonic) / S if key[1] else 0
            if story.at(iat, f"{key}", nonce=nonce) is Claim.NEW:
                assert key not in accepted
                accepted.add(key)
    story.table.close()


# -- many processes


def test_of_all_who_show_it_at_once_one_is_let_in(tmp_path: Path) -> None:
    rows, proofs = 4, 3000
    story = Story(tmp_path / "replays", slots=1 << 16)
    tally = mmap.mmap(-1, rows * proofs)
    start = FORK.Event()

    def show(row: int) -> None:
        story.table = ReplayTable.open(story.path)
        order = list(range(proofs))
        random.Random(row).shuffle(order)
        start.wait()
        for number in order:
            if story.claim(str(number)) is Claim.NEW:
                tally[row * proofs + number] = 1

    processes = [FORK.Process(target=show, args=(row,)) for row in range(rows)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [sum(tally[row * proofs + number] for row in range(rows)) for number in range(proofs)] == [1] * proofs


def test_threads_of_one_process_are_kept_apart_too(story: Story) -> None:
    answers: list[Claim] = []
    names = [str(number) for number in range(100)]

    def show() -> None:
        answers.extend(story.claim(name) for name in names)

    threads = [threading.Thread(target=show) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers.count(Claim.NEW) == len(names)


def test_who_is_killed_leaves_no_lock_and_no_proof_that_is_good_again(tmp_path: Path) -> None:
    """A process may be killed after the table knew and before it did: then nobody was let in, and that is safe."""
    proofs = 4000
    story = Story(tmp_path / "replays", slots=1 << 18)
    tally = mmap.mmap(-1, 4096)
    counts = memoryview(tally).cast("Q")

    def show(row: int) -> None:
        story.table = ReplayTable.open(story.path)
        number = 0
        while True:
            if story.claim(str(number % proofs)) is Claim.NEW:
                counts[row] += 1
            number += 1

    for row in range(6):
        process = FORK.Process(target=show, args=(row,), daemon=True)
        process.start()
        time.sleep(0.02 * row)
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
    rest = sum(story.claim(str(number)) is Claim.NEW for number in range(proofs))
    accepted = sum(counts[:6].tolist())
    assert accepted > 100
    assert proofs - 6 <= accepted + rest <= proofs


def test_a_holder_that_stands_is_an_answer(tmp_path: Path) -> None:
    story = Story(tmp_path / "replays", slots=256)
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(story.path, os.O_RDWR)
        lockf(fd, LOCK_EX, 1000, 0)
        os.write(say, b".")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    assert story.claim() is Claim.BUSY
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert story.claim() is Claim.NEW


# -- the file


def test_who_is_with_whom_differs_from_table_to_table(tmp_path: Path) -> None:
    stories = [Story(tmp_path / name) for name in ("a", "b")]
    places = [[story.table._place(ALICE, b"%d" % n, CALLS) for n in range(20)] for story in stories]
    assert places[0] != places[1]


def test_what_is_not_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No such file"):
        ReplayTable.open(tmp_path / "none")
    for content in (b"", bytes(512), bytes(4096)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SnapshotError, match="not a table"):
            ReplayTable.open(tmp_path / "other")
    Story(tmp_path / "cut").table.close()
    os.truncate(tmp_path / "cut", 600)
    with pytest.raises(SnapshotError, match="not a table"):
        ReplayTable.open(tmp_path / "cut")


def test_a_full_disk_is_found_when_the_table_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SnapshotError, match="No space left"):
        Story(tmp_path / "replays")
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_for_its_owner_only_and_of_the_size_that_was_asked_for(story: Story) -> None:
    status = story.path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_size == (64 + (128 + 16) * 96) * 8
    assert story.table.born == WALL
