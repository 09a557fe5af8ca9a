"""What is looked at, and what is found there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from interlock.config.listeners import Listener
from interlock.config.model import Config
from interlock.config.nearest import did_you_mean
from interlock.config.routes import Route
from interlock.config.tree import Where

NAMED = ("trust", "zones", "services", "roles")  # sections whose keys are names


@dataclass(frozen=True, slots=True)
class Finding:
    """`{other}` in the message stands for the place `other`, with its line."""

    where: Where
    message: str
    hint: str = ""
    warning: bool = False
    other: Where = ()


@dataclass(frozen=True, slots=True)
class View:
    """What is checked: all of the file, or what is left of it without the entries that are wrong in themselves."""

    config: Config
    whole: bool
    names: Mapping[str, frozenset[str]]  # every name that the file gives, of wrong entries too
    listeners: tuple[tuple[int, Listener], ...]  # with their number in the file
    routes: tuple[tuple[int, Route], ...]

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        names: Mapping[str, frozenset[str]] | None = None,
        numbers: Mapping[str, list[int]] | None = None,
    ) -> View:
        numbers = numbers or {}
        return cls(
            config,
            names is None,
            {section: frozenset((names or {}).get(section, getattr(config, section))) for section in NAMED},
            tuple(zip(numbers.get("listeners", range(len(config.listeners))), config.listeners, strict=True)),
            tuple(zip(numbers.get("routes", range(len(config.routes))), config.routes, strict=True)),
        )


def unknown(view: View, where: Where, section: str, name: str, what: str) -> Iterator[Finding]:
    if name and name not in view.names[section]:
        yield Finding(where, f"`{name}` is not {what} of this file", did_you_mean(name, view.names[section]))
