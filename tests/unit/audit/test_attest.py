"""The attest page: whole statements only, slots never shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interlock.audit.attest import NOT_ON_DISK, SLOTS, Attested, AttestPage
from interlock.errors import RecordUnavailable

A, B = b"a" * 16, b"b" * 16
D1, D2 = b"1" * 32, b"2" * 32


def test_what_is_published_is_read_by_another_mapping(tmp_path: Path) -> None:
    page, other = AttestPage.open(tmp_path / "p", "boot"), AttestPage.open(tmp_path / "p", "boot")
    slot = page.claim(A, 100, D1)
    assert other.slots() == {A: slot}
    assert other.read(slot) == Attested(100, 0, D1)
    for turn in range(5):
        page.publish(slot, 200 + turn, turn, D2)
        assert other.read(slot) == Attested(200 + turn, turn, D2)


def test_a_statement_cut_off_by_death_leaves_the_one_before(tmp_path: Path) -> None:
    page = AttestPage.open(tmp_path / "p", "boot")
    slot = page.claim(A, 100, D1)
    page.publish(slot, 200, 2, D2)
    at = 4096 + slot * 128
    turn = page._words[(at >> 3) + 2]
    copy = at + 32 + ((turn + 1) & 1) * 48
    page._words[copy >> 3] = 999  # the next statement, half written
    assert page.read(slot) == Attested(200, 2, D2)


def test_the_page_of_this_boot_is_kept_and_of_another_is_not(tmp_path: Path) -> None:
    AttestPage.open(tmp_path / "p", "boot").claim(A, 100, D1)
    assert A in AttestPage.open(tmp_path / "p", "boot").slots()
    assert AttestPage.look(tmp_path / "p", "later") is None
    assert AttestPage.open(tmp_path / "p", "later").slots() == {}


@pytest.mark.parametrize("damage", [b"", b"short", b"ILKATT2\n" + bytes(4096 + 128 * SLOTS - 8)])
def test_a_damaged_page_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "p").write_bytes(damage)
    assert AttestPage.look(tmp_path / "p", "boot") is None
    page = AttestPage.open(tmp_path / "p", "boot")
    assert page.slots() == {}
    assert AttestPage.look(tmp_path / "p", "boot") is not None


def test_looking_changes_nothing(tmp_path: Path) -> None:
    page = AttestPage.open(tmp_path / "p", "boot")
    slot = page.claim(A, 1, D1)
    looked = AttestPage.look(tmp_path / "p", "boot")
    assert looked is not None
    assert looked.read(slot).digest == D1
    with pytest.raises(TypeError):
        looked.publish(slot, 2, 2, D2)


def test_a_full_page_refuses(tmp_path: Path) -> None:
    page = AttestPage.open(tmp_path / "p", "boot")
    for number in range(SLOTS):
        page.claim(number.to_bytes(16, "little").replace(b"\0" * 16, b"z" * 16), 1, D1)
    assert not page.has_room()
    with pytest.raises(RecordUnavailable):
        page.claim(A, 1, D1)


def test_only_its_own_segment_frees_or_spoils_a_slot(tmp_path: Path) -> None:
    page = AttestPage.open(tmp_path / "p", "boot")
    slot = page.claim(A, 1, D1)
    page.free(slot, B)
    page.set_state(slot, B, 1)
    assert page.slots() == {A: slot}
    assert page.state(slot) == 0
    page.set_state(slot, A, 1)
    page.condemn(slot, NOT_ON_DISK)
    page.free(slot, A)
    again = page.claim(B, 1, D1)
    assert again == slot
    assert (page.state(slot), page.condemned(slot)) == (0, 0)


def test_processes_never_share_a_slot(tmp_path: Path) -> None:
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                page = AttestPage.open(tmp_path / "p", "boot")
                for number in range(30):
                    page.claim(bytes([child + 1, number + 1]) * 8, 1, D1)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert len(AttestPage.open(tmp_path / "p", "boot").slots()) == 120
