"""In this process, tests run the sources; what they start runs what is installed, compiled where it can be.

So fakes may stand where compiled code asks for its own classes, and every integration test is one of the compiled
modules. Those MUST be of these sources: older ones end the run.
"""

from __future__ import annotations

import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"


def sources_only(path: str) -> FileFinder:
    if not Path(path).is_relative_to(SOURCES):
        raise ImportError(path)
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


sys.path_hooks.insert(0, sources_only)
for known in [path for path in sys.path_importer_cache if Path(path).is_relative_to(SOURCES)]:
    del sys.path_importer_cache[known]


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("numprocesses", None):  # those who collect cannot end the run
        refuse_older()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    real = any(item.get_closest_marker("integration") or item.get_closest_marker("soak") for item in items)
    if real and not hasattr(config, "workerinput"):
        refuse_older()


def refuse_older() -> None:
    for compiled in SOURCES.rglob("*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
            pytest.exit(f"{source} is newer than what was compiled of it. Try: make install", returncode=2)
