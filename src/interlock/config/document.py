"""The YAML file as a tree of plain values.

YAML 1.2, core schema only: one document, text keys, no tags. It MUST NOT construct anything but mappings,
lists, text, numbers, truth values and null, and a key written twice is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.tokens import (
    AliasToken,
    AnchorToken,
    BlockEndToken,
    BlockEntryToken,
    BlockMappingStartToken,
    BlockSequenceStartToken,
    DocumentEndToken,
    DocumentStartToken,
    FlowEntryToken,
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
    KeyToken,
    ScalarToken,
    StreamEndToken,
    StreamStartToken,
    TagToken,
    ValueToken,
)

from interlock.config.scanner import scan
from interlock.config.tree import Map, Seq

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 32

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class DocumentError(Exception):
    """The text is not the YAML we read; `line` counts from 1."""

    def __init__(self, line: int | None, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.hint = hint


def read_document(data: bytes) -> Map:
    """The tree of a file's bytes; `DocumentError` names the line."""
    if len(data) > MAX_BYTES:
        raise DocumentError(None, f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(data.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    try:
        tree = _Tree(scan(text)).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context or "cannot be read")
        line = mark.line + 1 if mark is not None else None
        raise DocumentError(line, f"not valid YAML: {problem}", _hint(problem)) from None
    except YAMLError as error:
        raise DocumentError(None, f"not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, Map):
        raise DocumentError(1, "the file must be a mapping of keys, as in `version: 1`")
    return tree


def _hint(problem: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces"
    if "alphabetic or numeric" in problem:
        return 'a word that begins with * or & must be quoted, as in "*"'
    if "cannot start any token" in problem:
        return "quote the word"
    if "mapping values are not allowed" in problem:
        return "a word that holds `: ` must be quoted"
    return ""


class _Tree:
    """Folds tokens into one tree: YAML's grammar (chapters 7 and 8) without its pairs in lists and complex keys.

    An alias shares what its anchor named; aliases do not nest.
    """

    def __init__(self, tokens: Iterator[Any]) -> None:
        self._next = tokens.__next__
        self.token = self._next()  # the token at hand
        self._anchors: dict[str, Any] = {}
        self._anchored = 0
        self._depth = 0

    def document(self) -> Any:
        while isinstance(self.token, StreamStartToken | DocumentStartToken):
            self.token = self._next()
        if isinstance(self.token, StreamEndToken):
            return None
        root = self._node(())
        while isinstance(self.token, DocumentEndToken):
            self.token = self._next()
        if isinstance(self.token, DocumentStartToken):
            raise self._fault("a second document; the file holds one")
        if not isinstance(self.token, StreamEndToken):
            raise self._unexpected("the end of the file")
        return root

    def _node(self, empty_before: tuple[type, ...]) -> Any:
        """The value that begins at hand; null if what is at hand can only follow an empty one."""
        token = self.token
        kind = token.__class__
        if kind is ScalarToken:
            self.token = self._next()
            return _plain(token.value) if token.plain else token.value
        if kind in empty_before:
            return None
        collect = self._COLLECT.get(kind)
        if collect is not None:
            if self._depth >= MAX_DEPTH:
                raise self._fault("is nested too deeply")
            self._depth += 1
            value = collect(self)
            self._depth -= 1
            return value
        if kind is AnchorToken:
            return self._anchor(empty_before)
        if kind is AliasToken:
            return self._alias()
        if kind is TagToken:
            raise self._fault("tags, as in !word, are not read here", "quote a word that begins with !")
        raise self._unexpected("a value")

    def _anchor(self, empty_before: tuple[type, ...]) -> Any:
        name = self.token.value
        self.token = self._next()
        if isinstance(self.token, AnchorToken | AliasToken):
            raise self._unexpected("a value")
        self._anchored += 1
        value = self._anchors[name] = self._node(empty_before)
        self._anchored -= 1
        return value

    def _alias(self) -> Any:
        name = self.token.value
        if self._anchored:
            raise self._fault("an alias within an anchored part is not read here")
        if name not in self._anchors:
            raise self._fault(f"*{name} names no anchor", "quote a word that begins with *")
        self.token = self._next()
        return self._anchors[name]

    def _block_mapping(self) -> Map:
        result = Map(self.token.start_mark.line + 1)
        self.token = self._next()
        while self.token.__class__ is not BlockEndToken:
            if self.token.__class__ is not KeyToken:
                raise self._unexpected("a key")
            self.token = self._next()
            key = self._key(result)
            if self.token.__class__ is not ValueToken:
                raise self._unexpected(f"`:` behind the key `{key}`")
            self.token = self._next()
            if self.token.__class__ is BlockEntryToken:
                result[key] = self._entries(indentless=True)
            else:
                result[key] = self._node((KeyToken, BlockEndToken))
        self.token = self._next()
        return result

    def _block_sequence(self) -> Seq:
        self.token = self._next()
        result = self._entries(indentless=False)
        if self.token.__class__ is not BlockEndToken:
            raise self._unexpected("`- `")
        self.token = self._next()
        return result

    def _entries(self, *, indentless: bool) -> Seq:
        if indentless and self._depth >= MAX_DEPTH:
            raise self._fault("is nested too deeply")
        self._depth += indentless
        result = Seq(self.token.start_mark.line + 1)
        while self.token.__class__ is BlockEntryToken:
            result.lines.append(self.token.start_mark.line + 1)
            self.token = self._next()
            result.append(self._node((BlockEntryToken, KeyToken, BlockEndToken)))
        self._depth -= indentless
        return result

    def _flow_sequence(self) -> Seq:
        result = Seq(self.token.start_mark.line + 1)
        self.token = self._next()
        while self.token.__class__ is not FlowSequenceEndToken:
            if self.token.__class__ is KeyToken:
                raise self._fault("a `key: value` in a list needs braces", "quote a word that holds `: `")
            result.lines.append(self.token.start_mark.line + 1)
            result.append(self._node(()))
            if self.token.__class__ is FlowEntryToken:
                self.token = self._next()
            elif self.token.__class__ is not FlowSequenceEndToken:
                raise self._unexpected("`,` or `]`")
        self.token = self._next()
        return result

    def _flow_mapping(self) -> Map:
        result = Map(self.token.start_mark.line + 1)
        self.token = self._next()
        while self.token.__class__ is not FlowMappingEndToken:
            if self.token.__class__ is not KeyToken:
                raise self._unexpected("`key: value`")
            self.token = self._next()
            key = self._key(result)
            if self.token.__class__ is not ValueToken:
                raise self._unexpected(f"`:` behind the key `{key}`")
            self.token = self._next()
            result[key] = self._node((FlowEntryToken, FlowMappingEndToken))
            if self.token.__class__ is FlowEntryToken:
                self.token = self._next()
            elif self.token.__class__ is not FlowMappingEndToken:
                raise self._unexpected("`,` or `}`")
        self.token = self._next()
        return result

    def _key(self, into: Map) -> str:
        token = self.token
        if token.__class__ is not ScalarToken:
            raise self._fault("a key must be a plain word", "quote a word that begins with { [ * or &")
        key: str = token.value
        if key in into:
            raise self._fault(f"the key `{key}` is written twice")
        if key == "<<":
            raise self._fault("merge keys (`<<`) are not read here")
        into.lines[key] = token.start_mark.line + 1
        self.token = self._next()
        return key

    def _fault(self, message: str, hint: str = "") -> DocumentError:
        return DocumentError(self.token.start_mark.line + 1, message, hint)

    def _unexpected(self, expected: str) -> DocumentError:
        return self._fault(f"not valid YAML: expected {expected}, but found {self.token.id}")

    _COLLECT: ClassVar[dict[type, Callable[[_Tree], Any]]] = {
        BlockMappingStartToken: _block_mapping,
        BlockSequenceStartToken: _block_sequence,
        FlowMappingStartToken: _flow_mapping,
        FlowSequenceStartToken: _flow_sequence,
    }


def _plain(text: str) -> Any:
    """An unquoted scalar by the YAML 1.2 core schema: `off` and `yes` are words."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
