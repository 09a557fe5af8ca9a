"""YAML tokens by ruamel.yaml, three times as fast on a file of ten thousand routes.

Most words stand on one line: those are taken with one regular expression; whatever is not so plain is left
to ruamel. It MUST NOT read anything otherwise than ruamel does, with one exception, an error in YAML:
a `{name}` right behind other characters of a plain word within `[...]` or `{...}` is part of the word, so
that path templates need no quotes there: `[GET /accounts/{account_id}]`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner, ScannerError
from ruamel.yaml.tokens import ScalarToken

_FLOW = re.compile(
    r"(?:[^\0\s,:\[\]{}#]|:(?![\s\0,\[\]{}])|(?<=\S)#|(?<=[^\s,\[{])\{[A-Za-z_]\w*\}"
    r"|[ ]+(?=[^\0\s,:\[\]{}#]|:(?![\s\0,\[\]{}])))+"
)
_BLOCK = re.compile(r"(?:[^\0\s:#]|:(?![\s\0])|(?<=\S)#|[ ]+(?=[^\0\s:#]|:(?![\s\0])))+")
_DOUBLE = re.compile(r'"([^"\\\0\r\n\x85\u2028\u2029]*)"')
_SINGLE = re.compile(r"'([^'\0\r\n\x85\u2028\u2029]*)'(?!')")
_GAP = re.compile(r"(?:[ \t]*(?:#[^\r\n\0]*)?\r?\n)*[ ]*")
_STARTS = frozenset(string.ascii_letters + string.digits + "/_$")  # of plain words, whatever follows
_FETCH = {
    "[": Scanner.fetch_flow_sequence_start,
    "]": Scanner.fetch_flow_sequence_end,
    "{": Scanner.fetch_flow_mapping_start,
    "}": Scanner.fetch_flow_mapping_end,
    ",": Scanner.fetch_flow_entry,
    '"': Scanner.fetch_double,
    "'": Scanner.fetch_single,
}


def scan(text: str) -> Iterator[Any]:
    """The tokens of `text`; raises ruamel's `YAMLError` on the way."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Reader = _Reader
    yaml.Scanner = _Scanner
    yaml.reader.stream = text
    scanner: _Scanner = yaml.scanner
    return scanner.run()


class _Mark:
    """A place for messages; of a word only its line matters here, so all on one line share one."""

    __slots__ = ("column", "index", "line", "name")

    def __init__(self, index: int, line: int, column: int) -> None:
        self.index = index
        self.line = line
        self.column = column
        self.name = ""


class _Reader(Reader):
    """ruamel's reader, with marks that cost little."""

    _mark = _Mark(-1, -1, -1)

    def get_mark(self) -> _Mark:
        if self._mark.line != self.line:
            self._mark = _Mark(self.index, self.line, self.column)
        return self._mark


class _Scanner(Scanner):
    """ruamel's scanner with short cuts for scalars that stand on one line, where nearly all do.

    What a short cut does not cover is left to ruamel.
    """

    @cached_property
    def reader(self) -> Any:
        return super().reader

    def fetch_more_tokens(self) -> None:
        self.scan_to_next_token()
        reader = self.reader
        character = reader.buffer[reader.pointer]
        if character in _STARTS:
            if self.possible_simple_keys:
                self.stale_possible_simple_keys()
            if not self.flow_context:
                self.unwind_indent(reader.column)
            self.fetch_plain()
        elif character in _FETCH and self.flow_context:
            if self.possible_simple_keys:
                self.stale_possible_simple_keys()
            _FETCH[character](self)
        else:
            super().fetch_more_tokens()

    def run(self) -> Iterator[Any]:
        """All tokens, each when it is certain."""
        while True:
            while self.need_more_tokens():
                self.fetch_more_tokens()
            if not self.tokens:
                return
            self.tokens_taken += 1
            yield self.tokens.pop(0)

    def fetch_directive(self) -> None:
        raise ScannerError(None, None, "directives (%) are not read here", self.reader.get_mark())

    def need_more_tokens(self) -> bool:
        if not self.tokens:
            return not self.done
        taken = self.tokens_taken
        for key in self.possible_simple_keys.values():
            if key.token_number == taken:  # the token at hand may turn out to be a key
                return not self.done and bool(super().need_more_tokens())
        return False

    def scan_to_next_token(self) -> None:
        reader = self.reader
        character = reader.buffer[reader.pointer]
        if character == " ":
            reader.pointer += 1
            reader.index += 1
            reader.column += 1
            character = reader.buffer[reader.pointer]
        if character in " \t#\r\n\x85\u2028\u2029\ufeff":
            super().scan_to_next_token()

    def scan_plain(self) -> Any:
        reader = self.reader
        buffer, pointer = reader.buffer, reader.pointer
        flow = bool(self.flow_context)
        match = (_FLOW if flow else _BLOCK).match(buffer, pointer)
        if match is None:
            return super().scan_plain()
        end = match.end()
        after = _GAP.match(buffer, end)
        assert after is not None
        rest = after.end()
        if flow:
            whole = buffer[rest] in ",]}#" or (buffer[rest] == ":" and buffer[rest + 1] in " \t\r\n")
        elif rest - end and "\n" in after[0]:
            whole = rest - buffer.rfind("\n", 0, rest) - 1 <= self.indent or buffer[rest] == "\0"
        else:
            whole = buffer[rest] in ":#\0"
        if not whole:
            return super().scan_plain()
        self.allow_simple_key = False
        return self._scalar(match[0], end - pointer, plain=True)

    def scan_flow_scalar(self, style: Any) -> Any:
        match = (_DOUBLE if style == '"' else _SINGLE).match(self.reader.buffer, self.reader.pointer)
        if match is None:
            return super().scan_flow_scalar(style)
        return self._scalar(match[1], match.end() - match.start(), plain=False, style=style)

    def _scalar(self, value: str, length: int, *, plain: bool, style: str | None = None) -> ScalarToken:
        reader = self.reader
        start = reader.get_mark()
        reader.pointer += length
        reader.index += length
        reader.column += length
        return ScalarToken(value, plain, start, reader.get_mark(), style)
