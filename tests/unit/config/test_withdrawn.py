"""Secrets that were taken out of the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.config import SecretRef, withdrawn
from interlock.errors import KeyMaterialError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="anonymous files are Linux's")
REFERENCE = SecretRef("env", "INTERLOCK_TEST_KEK")


@pytest.fixture
def fd(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    fd = withdrawn.keep({"INTERLOCK_TEST_KEK": "it", "ANOTHER": "that"})
    monkeypatch.setenv(withdrawn.VARIABLE, str(fd))
    monkeypatch.delenv("INTERLOCK_TEST_KEK", raising=False)
    yield fd
    try:
        os.close(fd)
    except OSError:
        pass


def test_a_reference_finds_it_any_number_of_times(fd: int) -> None:
    assert REFERENCE.resolve() == b"it"
    assert REFERENCE.resolve() == b"it"
    assert withdrawn.look_up("NOT_THERE") == b""


def test_it_survives_an_exec_and_has_no_name(fd: int) -> None:
    assert os.get_inheritable(fd)
    assert os.readlink(f"/proc/self/fd/{fd}").endswith("(deleted)")


def test_who_forgot_it_cannot_find_it(fd: int) -> None:
    withdrawn.forget()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(KeyMaterialError, match="not set"):
        REFERENCE.resolve()
    withdrawn.forget()


@pytest.mark.parametrize("value", ["", "x", "-1", "99999", "0x3"])
def test_a_variable_that_names_no_such_file(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(withdrawn.VARIABLE, value)
    assert withdrawn.look_up("ANY") == b""


def test_another_descriptor_is_neither_read_nor_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.write(b'{"INTERLOCK_TEST_KEK": "forged"}')
        file.flush()
        monkeypatch.setenv(withdrawn.VARIABLE, str(file.fileno()))
        assert withdrawn.look_up("INTERLOCK_TEST_KEK") == b""
        withdrawn.forget()
        os.fstat(file.fileno())
