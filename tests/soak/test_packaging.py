"""The package as pip builds it: in an environment of its own, where only what `build-system` names is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak
ROOT = Path(__file__).parents[2]


def test_what_the_build_names_is_enough_to_compile_by(tmp_path: Path) -> None:
    """Types that are missing there would end the build, or compile to something else. C is made, and not compiled."""
    source = tmp_path / "source"
    left = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=left)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):  # as the Dockerfile of the example does
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "Would install interlock" in done.stdout
