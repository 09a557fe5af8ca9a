"""What the documents say is so: their files are accepted, their links lead somewhere, their commands exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.config import load

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("bench/*.md")),
]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        for text in re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
            found.append((document.name, text))
    return found


WHOLE_FILES = [(name, text) for name, text in blocks("yaml") if text.startswith("version:")]


def test_there_are_whole_files_to_check() -> None:
    assert len(WHOLE_FILES) >= 2


@pytest.mark.parametrize("text", [text for _, text in WHOLE_FILES], ids=[name for name, _ in WHOLE_FILES])
def test_a_whole_file_is_accepted(text: str, tmp_path: Path) -> None:
    for name in re.findall(r"[\w./-]+\.(?:pem|key|json|yaml)", text):
        (tmp_path / name).write_text("{}" if name.endswith("json") else "")
    file = tmp_path / "interlock.yaml"
    file.write_text(text)
    assert load(file).version == 1


def test_the_quickstart_file_is_accepted(tmp_path: Path) -> None:
    folder = shutil.copytree(ROOT / "examples/quickstart", tmp_path / "examples/quickstart")
    issuer = tmp_path / ".quickstart/issuer"
    issuer.mkdir(parents=True)
    (issuer / "jwks.json").write_text("{}")
    assert load(folder / "interlock.yaml").version == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not broken


def commands() -> set[tuple[str, ...]]:
    """Words of every `interlock ...` line in a console block, up to the first that is not a command's name."""
    found = set()
    for _, text in blocks("console"):
        for line in re.findall(r"^\$ (?:\.venv/bin/)?interlock (.*)$", text, re.MULTILINE):
            words = re.sub(r"^-c \S+ ", "", line).split()
            found.add(tuple(words[:2] if words[0] in ("key", "audit") else words[:1]))
    return found


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_a_command_that_is_shown_exists(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("interlock"), *words, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
