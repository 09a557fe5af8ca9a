from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from interlock.config import SecretRef
from interlock.config.secrets import MAX_SECRET, parse_secret
from interlock.errors import KeyMaterialError
from tests.unit.config.files import LARGE, faults

VALUE = "correct-horse-battery-staple"


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTERLOCK_TEST_KEK", VALUE)
    assert parse_secret("${env:INTERLOCK_TEST_KEK}", tmp_path).resolve() == VALUE.encode()


def test_from_a_file_beside_the_configuration_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "kek").write_bytes(b"\x00\xff\n")
    reference = parse_secret("${file:kek}", tmp_path)
    assert reference.path == tmp_path / "kek"
    assert reference.resolve() == b"\x00\xff\n"


def test_a_reference_never_shows_its_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTERLOCK_TEST_KEK", VALUE)
    reference = parse_secret("${env:INTERLOCK_TEST_KEK}", tmp_path)
    reference.resolve()
    assert str(reference) == "${env:INTERLOCK_TEST_KEK}"
    assert VALUE not in f"{reference} {reference!r} {reference.__reduce_ex__(2)!r}"


def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = LARGE.replace('"${file:/etc/interlock/kek}"', VALUE)
    found = [problem for problem in faults(text, tmp_path) if problem.where == "keys.kek"]
    assert [problem.line for problem in found] == [4]
    assert "reference" in found[0].message
    assert VALUE not in "".join(map(str, faults(text, tmp_path)))


def test_nothing_of_a_literal_secret_is_in_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as raised:
        parse_secret(VALUE, tmp_path)
    assert VALUE not in "".join(traceback.format_exception_only(raised.value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${vault:secret/kek}", "transit"),
        ("${env:}", "must be a reference"),
        ("${env:A B}", "environment variable"),
        ("${env:A}${env:B}", "must be a reference"),
        ("x${env:A}", "must be a reference"),
        ("${exec:rm -rf /}", "unknown kind"),
        ("${file: }", "does not name a file"),
        ("${file:a\0b}", "does not name a file"),
        (12345, "must be a reference"),
        (None, "must be a reference"),
    ],
)
def test_what_is_no_reference(text: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        parse_secret(text, tmp_path)


def test_what_cannot_be_resolved_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTERLOCK_NOT_THERE", raising=False)
    with pytest.raises(KeyMaterialError, match="INTERLOCK_NOT_THERE"):
        SecretRef("env", "INTERLOCK_NOT_THERE").resolve()
    with pytest.raises(KeyMaterialError, match="missing"):
        SecretRef("file", str(tmp_path / "missing")).resolve()
    (tmp_path / "empty").touch()
    with pytest.raises(KeyMaterialError, match="empty"):
        SecretRef("file", str(tmp_path / "empty")).resolve()
    (tmp_path / "huge").write_bytes(b"x" * (MAX_SECRET + 1))
    with pytest.raises(KeyMaterialError, match="larger"):
        SecretRef("file", str(tmp_path / "huge")).resolve()
