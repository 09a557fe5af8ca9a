from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from interlock.config.document import MAX_BYTES, MAX_DEPTH, DocumentError, read_document
from interlock.config.tree import Lines, dotted, line_of


def read(text: str) -> dict[str, Any]:
    return dict(read_document(text.encode()))


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: off\nb: yes\nc: 010\nd: 1e3\ne: 0x1f\nf: null\ng:\nh: true\ni: '1'\nj: 1:30\nk: 2024-01-01\nl: ~\nm: .5"
    assert read(text) == {
        "a": "off", "b": "yes", "c": 10, "d": 1000.0, "e": 31, "f": None, "g": None, "h": True, "i": "1",
        "j": "1:30", "k": "2024-01-01", "l": None, "m": 0.5,
    }  # fmt: skip


def test_keys_are_always_text() -> None:
    assert read("1: a\ntrue: b\nnull: c\n'x y': d") == {"1": "a", "true": "b", "null": "c", "x y": "d"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[GET /accounts/{id}, api.example.com POST /x]", ["GET /accounts/{id}", "api.example.com POST /x"]),
        ("{match: GET /a/{b}/{c}/*, x: 1}", {"match": "GET /a/{b}/{c}/*", "x": 1}),
        ("[/{a}]", ["/{a}"]),
        ("[/a/{b}]  # {not: this}", ["/a/{b}"]),
    ],
)  # fmt: skip
def test_path_templates_need_no_quotes_in_a_list(text: str, value: object) -> None:
    assert read(f"k: {text}") == {"k": value}


@pytest.mark.parametrize(
    "text", ["[/a{b: c}]", "[a {b}]", "[{a}]", "[/a/{b c}]", "[/a/{b]", "[/a/{}]", "[/a/{1}]", "[/a/[b]]"]
)
def test_other_braces_in_a_word_are_the_fault_they_always_were(text: str) -> None:
    with pytest.raises(DocumentError, match="not valid YAML"):
        read(f"k: {text}")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "written twice"),
        ("a: {x: 1,\n x: 2}", 2, "written twice"),
        ("a: 1\n<<: {b: 2}", 2, "merge keys"),
        ("a: !!python/object:os.system x", 1, "tags"),
        ("a: !x {}", 1, "tags"),
        ("? [a, b]\n: 1", 1, "plain word"),
        ("{a: 1}: 2", 1, "plain word"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("%YAML 1.1\n---\na: off", 1, "directives"),
        ("a:\n\t- b", 2, "not valid YAML"),
        ("a: b: c", 1, "not valid YAML"),
        ("a: [1, 2\nb: 3", 2, "not valid YAML"),
        ("a: {b}", 1, "expected `key: value`"),
        ("a: [b: c]", 1, "needs braces"),
        ("a: 'x", 1, "not valid YAML"),
        ("a: @x", 1, "not valid YAML"),
        ("a: *", 1, "not valid YAML"),
        ("a: *b", 1, "names no anchor"),
        ("a: &x [*x]", 1, "within an anchored part"),
        ("- a", 1, "mapping of keys"),
        ("word", 1, "mapping of keys"),
        ("", 1, "mapping of keys"),
        ("# nothing", 1, "mapping of keys"),
        ("a: \x07", None, "not valid YAML"),
    ],
)
def test_what_is_refused_with_its_line(text: str, line: int | None, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as raised:
        read(text)
    assert raised.value.line == line


def test_what_is_not_text_is_refused_with_its_line() -> None:
    with pytest.raises(DocumentError, match="UTF-8") as raised:
        read_document(b"a: 1\nb: \xff")
    assert raised.value.line == 2
    with pytest.raises(DocumentError, match="UTF-8"):
        read_document("a: 1".encode("utf-16"))


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert read_document(b"\xef\xbb\xbfa: 1\r\nb: [x,\r\n  y]\r\n") == {"a": 1, "b": ["x", "y"]}


def test_size_and_depth_are_bounded() -> None:
    with pytest.raises(DocumentError, match="larger"):
        read_document(b"#" * (MAX_BYTES + 1))
    for opening in ("[", "{a: ", "\n- "):
        with pytest.raises(DocumentError, match="nested too deeply"):
            read("k: " + opening + opening.strip("\n") * MAX_DEPTH)
    deep = "".join(f"{' ' * depth}k:\n" for depth in range(MAX_DEPTH + 5))
    with pytest.raises(DocumentError, match="nested too deeply"):
        read(deep)


def test_an_alias_shares_and_cannot_multiply() -> None:
    tree = read("a: &x [1]\nb: *x\nc: {d: *x}")
    assert tree == {"a": [1], "b": [1], "c": {"d": [1]}}
    with pytest.raises(DocumentError, match="within an anchored part"):
        read("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]")


def test_every_part_knows_its_line() -> None:
    tree = read_document(
        b"a: 1\nb:\n  - x\n  - {y: 2,\n     z: 3}\nc:\n\n  d:\n    e: 5\n"
        b"routes:\n  - match: /a\n    allow:\n      when: x\n"
    )
    assert [line_of(tree, where) for where in (("a",), ("b", 0), ("b", 1), ("b", 1, "z"), ("c", "d", "e"))] == [
        1,
        3,
        4,
        5,
        9,
    ]
    assert line_of(tree, ("c", "d", "missing")) == 8
    assert line_of(tree, ("missing",)) == 1
    lines = Lines(tree)
    assert lines.line(("c", "d", "e")) == 9
    assert lines.line(("routes", 0, "allow", "when")) == 13
    assert lines.line(("routes", 0, "match")) == 11
    assert lines.line(("nowhere",)) is None


def test_places_have_a_text_form() -> None:
    assert dotted(("routes", 3, "allow", "when")) == "routes[3].allow.when"


PIECES = [
    *(
        "a",
        "b",
        "7",
        " ",
        "  ",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "- ",
        ": ",
        ":",
        ",",
        "[",
        "]",
        "{",
        "}",
        "#",
        " # c",
        "'",
    ),
    *('"', "?", "&", "*", "|", ">", "%", "@", "\t", "/", "key: ", "\nk: ", "-", "''", '""', "\\", "\r\n", "~", "true"),
    *("...", "é", "\x85", "\u2028", "x: [", "]\n", "1e3", "5.5", "k: {a: ", "{x}", "a/{x}"),
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["k: ", "k: [", "k: {a: ", "k:\n  - ", "k:\n  a: ", ""]),
    st.lists(st.sampled_from(PIECES), max_size=14),
)
def test_what_we_read_ruamel_reads_the_same(start: str, pieces: list[str]) -> None:
    """Nothing is accepted that YAML refuses (but for path templates), and nothing is read otherwise."""
    text = start + "".join(pieces)
    try:
        ours = read(text)
    except DocumentError:
        return
    try:
        theirs = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, NotImplementedError):
        assert "{x}" in text
        return
    assert _same(theirs, ours)


def _same(theirs: Any, ours: Any) -> bool:
    """Equal, but that our keys are always text."""
    if isinstance(theirs, dict):
        pairs = list(zip(theirs.items(), ours.items(), strict=True))
        return all(_same(a, b) and (key == name or not isinstance(key, str)) for (key, a), (name, b) in pairs)
    if isinstance(theirs, list):
        return all(_same(a, b) for a, b in zip(theirs, ours, strict=True))
    return type(theirs) is type(ours) and bool(theirs == ours)
