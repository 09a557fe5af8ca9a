"""What a route matches: `[METHOD[,METHOD]] [host] /path`, read and compared.

Pure. A segment is literal or `{name}`, which matches any one segment; a trailing `/*` matches the folder
itself and everything beneath. Patterns are written in the canonical form that the gateway gives to paths,
so a literal with an escape is refused: it could never match, or match what it does not seem to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from interlock.config.hosts import parse_host

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_SEGMENTS = 64
MAX_LENGTH = 2048

_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@-]*")  # RFC 3986 pchar without escapes and `;`
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Param:
    """A segment that matches any one segment."""

    name: str

    def __str__(self) -> str:
        return f"{{{self.name}}}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A set of calls. `methods` None: any; `host` empty: any, `*.example.com`: any name beneath it."""

    methods: frozenset[str] | None
    host: str
    segments: tuple[str | Param, ...]
    prefix: bool

    text: str = field(default="", compare=False)  # as written, with single spaces

    @property
    def mask(self) -> int:
        """Which segments are literal, one bit each, the first lowest."""
        return sum(1 << i for i, segment in enumerate(self.segments) if isinstance(segment, str))

    @property
    def params(self) -> tuple[str, ...]:
        return tuple(segment.name for segment in self.segments if isinstance(segment, Param))

    @property
    def path(self) -> str:
        """The path template in text."""
        parts = [str(segment) for segment in self.segments]
        return "/" + "/".join([*parts, "*"] if self.prefix else parts)

    def texts(self) -> list[str]:
        """The segments as text, parameters as `{name}`; no literal holds a brace."""
        return [str(segment) for segment in self.segments]

    @classmethod
    def from_texts(cls, methods: Iterable[str] | None, host: str, segments: Iterable[str], prefix: bool) -> Pattern:
        """The inverse of `texts`, without its checks."""
        return cls(
            None if methods is None else frozenset(methods),
            host,
            tuple(Param(text[1:-1]) if text.startswith("{") else text for text in segments),
            prefix,
        )


def parse_pattern(text: str) -> Pattern:
    """Read one pattern; `ValueError` says what is wrong with it."""
    words = text.split()
    if not words or len(text) > MAX_LENGTH:
        raise ValueError("is empty; write it as in `GET /accounts/{id}`" if not words else "is too long")
    path = words.pop()
    if not path.startswith("/"):
        raise ValueError(f"`{text}` does not end with a path that begins with /")
    methods: frozenset[str] | None = None
    host = ""
    named = False
    for word in words:
        if _is_methods(word):
            if named:
                raise ValueError(f"`{text}` names methods twice; join them with a comma, as in GET,POST")
            methods, named = _parse_methods(word), True
        elif host:
            raise ValueError(f"`{text}` names two hosts; write one pattern for each")
        else:
            host = _parse_host_word(word)
    segments, prefix = _parse_path(path)
    return Pattern(methods, host, segments, prefix, " ".join([*words, path]))


def _is_methods(word: str) -> bool:
    return word == "*" or ("." not in word and word.isupper()) or "," in word


def _parse_methods(word: str) -> frozenset[str] | None:
    if word == "*":
        return None
    methods = word.split(",")
    for method in methods:
        if method not in METHODS:
            if method.upper() in METHODS:
                raise ValueError(f"methods are written in capitals: {method.upper()}")
            raise ValueError(f"`{method}` is not a method that can be matched; there are {', '.join(METHODS)}")
    if len(set(methods)) != len(methods):
        raise ValueError(f"`{word}` names a method twice")
    return frozenset(methods)


def _parse_host_word(word: str) -> str:
    if word.upper() in METHODS:
        raise ValueError(f"methods are written in capitals: {word.upper()}")
    return parse_host(word)


def _parse_path(path: str) -> tuple[tuple[str | Param, ...], bool]:
    """`/` has no segments; a trailing slash is a last, empty segment."""
    texts = path[1:].split("/")
    prefix = texts[-1] == "*"
    if prefix or texts == [""]:
        texts.pop()
    if len(texts) > MAX_SEGMENTS:
        raise ValueError(f"`{path}` has more than {MAX_SEGMENTS} segments")
    segments = tuple(_parse_segment(text, path) for text in texts)
    if "" in segments[:-1] or (prefix and segments and segments[-1] == ""):
        raise ValueError(f"`{path}` has an empty segment (//)")
    names = [segment.name for segment in segments if isinstance(segment, Param)]
    if len(set(names)) != len(names):
        raise ValueError(f"`{path}` has the same parameter twice")
    return segments, prefix


def _parse_segment(text: str, path: str) -> str | Param:
    parameter = _PARAMETER.fullmatch(text)
    if parameter is not None:
        return Param(parameter[1])
    if "{" in text or "}" in text:
        raise ValueError(f"`{path}`: a parameter is a whole segment, as in /accounts/{{account_id}}")
    if "*" in text:
        raise ValueError(f"`{path}`: `*` stands only at the end, as a whole segment: /accounts/*")
    if text in (".", ".."):
        raise ValueError(f"`{path}`: dot segments never reach a route")
    if "?" in text or "#" in text:
        raise ValueError(f"`{path}`: a route matches the path, not the query or fragment")
    if not _LITERAL.fullmatch(text):
        raise ValueError(f"`{path}`: the segment `{text}` has characters that no literal can have; use a {{parameter}}")
    return text
