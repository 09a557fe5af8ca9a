"""How the package is built where something to compile with is missing: as plain Python, and it says so."""

from __future__ import annotations

import runpy
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import setuptools

SETUP = Path(__file__).parents[2] / "setup.py"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **words: seen.update(words))
    monkeypatch.delenv("INTERLOCK_PURE", raising=False)
    return seen


def test_without_the_headers_of_python_nothing_is_compiled(
    built: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a Debian with gcc and its own Python."""
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    runpy.run_path(str(SETUP))
    assert built["ext_modules"] == []
    assert "python3-dev" in capsys.readouterr().err


def test_without_a_compiler_nothing_is_compiled(
    built: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    runpy.run_path(str(SETUP))
    assert built["ext_modules"] == []
    assert "no C compiler" in capsys.readouterr().err
