"""Reading the file: bytes to tree to typed `Config`, with every fault found at once.

It MUST NOT change anything, nor open any file but this one: what it names is looked at from outside only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from interlock.config.checks import NAMED, View, check
from interlock.config.document import DocumentError, read_document
from interlock.config.model import Config
from interlock.config.problems import problems_of
from interlock.config.tree import Lines, Map, Seq, Where, dotted, line_of
from interlock.errors import ConfigError, ConfigProblem


def load(path: Path) -> Config:
    """Read and check a file. Raises `ConfigError` with all its problems, in the order of the file."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "interlock init writes one" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([ConfigProblem(str(path), None, "", f"cannot be read: {error.strerror}", hint)]) from None
    return parse(data, path)


def parse(data: bytes, path: Path, *, look_at_files: bool = True) -> Config:
    """Like `load`, of bytes that stand at `path` or will; not `look_at_files`: what they name may be gone."""
    file = str(path)
    folder = path.absolute().parent
    try:
        tree = read_document(data)
    except DocumentError as error:
        raise ConfigError([ConfigProblem(file, error.line, "", error.message, error.hint)]) from None
    problems: list[ConfigProblem] = []
    view: View | None
    try:
        view = View.of(Config.model_validate(tree, context={"folder": folder}))
    except ValidationError as error:
        problems = problems_of(error, tree, file)
        view = _sound_part(tree, error, folder)
    warnings: list[ConfigProblem] = []
    for finding in check(view, look_at_files=look_at_files) if view is not None else ():
        other = f"{dotted(finding.other)} (line {line_of(tree, finding.other)})" if finding.other else ""
        message = finding.message.replace("{other}", other)
        problem = ConfigProblem(file, line_of(tree, finding.where), dotted(finding.where), message, finding.hint)
        (warnings if finding.warning else problems).append(problem)
    if problems or view is None:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    config = view.config
    config._path = path.absolute()
    config._digest = hashlib.sha256(data).hexdigest()
    config._warnings = sorted(warnings, key=lambda problem: problem.line or 0)
    config._lines = Lines(tree)
    return config


def _sound_part(tree: Map, error: ValidationError, folder: Path) -> View | None:
    """The file without the entries that are wrong in themselves, so that the rest is checked at the same time."""
    wrong: set[Where] = {detail["loc"][:2] for detail in error.errors(include_url=False, include_context=False)}
    sections = {where[0] for where in wrong}
    sound: dict[str, Any] = {}
    numbers: dict[str, list[int]] = {}
    for section, value in tree.items():
        if (section,) in wrong or section not in Config.model_fields:
            continue
        if isinstance(value, Seq) and section in ("listeners", "routes"):
            numbers[section] = [number for number in range(len(value)) if (section, number) not in wrong]
            sound[section] = [value[number] for number in numbers[section]]
        elif isinstance(value, Map) and section in NAMED:
            sound[section] = {name: entry for name, entry in value.items() if (section, name) not in wrong}
        elif section not in sections:
            sound[section] = value
    try:
        config = Config.model_validate(sound, context={"folder": folder, "partial": True})
    except ValidationError:
        return None
    names = {section: frozenset(tree[section]) for section in NAMED if isinstance(tree.get(section), Map)}
    return View.of(config, names=names, numbers=numbers)
