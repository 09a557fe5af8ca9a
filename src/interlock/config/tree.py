"""Plain values that remember their lines, and names for places in them."""

from __future__ import annotations

from typing import Any

Where = tuple[int | str, ...]  # a place: `("routes", 3, "allow", "when")`


class Map(dict[str, Any]):
    """A mapping that knows where it starts and where each of its keys stands."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class Seq(list[Any]):
    """A list that knows where it starts and where each of its items stands."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []


def line_of(tree: Any, where: Where) -> int | None:
    """The line of the innermost part of `where` that stands in the file."""
    line: int | None = getattr(tree, "line", None)
    for part in where:
        if isinstance(tree, Map) and part in tree:
            line = tree.lines[str(part)]
        elif isinstance(tree, Seq) and isinstance(part, int) and part < len(tree):
            line = tree.lines[part]
        else:
            break
        tree = tree[part]
    return line


def dotted(where: Where) -> str:
    """`("routes", 3, "allow", "when")` to `routes[3].allow.when`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class Lines:
    """The lines of a tree's outer parts, kept when the tree itself is let go."""

    __slots__ = ("_lines",)

    def __init__(self, tree: Map | None = None) -> None:
        self._lines: dict[Where, int] = {}
        if tree is not None:
            self._keep(tree, ())

    def _keep(self, tree: Any, where: Where) -> None:
        """All lines, but of routes, which may be many, only where each begins and its condition stands."""
        if isinstance(tree, Map):
            parts: list[tuple[int | str, int]] = list(tree.lines.items())
        elif isinstance(tree, Seq):
            parts = list(enumerate(tree.lines))
        else:
            return
        for part, line in parts:
            here = (*where, part)
            if len(here) > 2 and here[0] == "routes" and part not in ("allow", "when"):
                continue
            self._lines[here] = line
            self._keep(tree[part], here)

    def line(self, where: Where) -> int | None:
        """The line of `where`, or of the innermost part around it that is known."""
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where)
