"""CEF, syslog and JSON lines, read back as their specifications say."""

from __future__ import annotations

import json
import re

import pytest

from interlock.audit.entries import Outcome
from interlock.audit.export import form
from interlock.audit.export.syslog import SD_ID
from interlock.audit.joined import Joined
from interlock.model import Event
from tests.unit.audit.export.rows import HARD, act, call, everything, refused

ALL = pytest.mark.parametrize("joined", everything(), ids=lambda one: f"{one.row['event']}-{one.row.get('reason')}")


def read_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Header and extension of one event, as the format's text has it."""
    assert line.startswith("CEF:0|")
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", line.removeprefix("CEF:0|"), maxsplit=6)
    assert len(parts) == 7, parts
    extension: dict[str, str] = {}
    for piece in re.finditer(r"(?:^| )([A-Za-z0-9]+)=((?:[^=\\]|\\.)*?)(?=(?: [A-Za-z0-9]+=)|$)", parts[6], re.DOTALL):
        assert piece[1] not in extension
        escapes = {"n": "\n", "r": "\r"}
        extension[piece[1]] = re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), piece[2])
    return parts[:6], extension


def read_syslog(data: bytes) -> tuple[list[str], dict[str, str], str]:
    """Header, parameters and text of a message (RFC 5424, 6)."""
    text = data.decode()
    found = re.fullmatch(
        r"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|\[.*?(?<!\\)(?:\\\\)*\]) ?(.*)", text, re.DOTALL
    )
    assert found, text
    params: dict[str, str] = {}
    if found[7] != "-":
        inside = found[7][1:-1]
        assert inside.startswith(f"{SD_ID} ")
        rest = inside.removeprefix(SD_ID)
        while rest:
            piece = re.match(r' ([!#-<>-\\^-~]{1,32})="((?:[^"\\\]]|\\.)*)"', rest, re.DOTALL)
            assert piece, rest
            params[piece[1]] = re.sub(r'\\(["\\\]])', r"\1", piece[2])
            rest = rest[piece.end() :]
    return list(found.groups()[:6]), params, found[8]


@ALL
def test_cef_is_one_line_with_seven_fields(joined: Joined) -> None:
    data = form("cef", "host")(joined)
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    head, extension = read_cef(data.decode().removesuffix("\n"))
    assert head[:2] == ["Interlock", "Interlock"]
    assert 0 <= int(head[5]) <= 10
    assert extension["externalId"] == joined.row["id"]
    assert extension["rt"] == "1700000000123"


def test_cef_says_who_what_and_how_it_ended() -> None:
    _, extension = read_cef(form("cef", "host")(call(Outcome(200, "", 1_500_000, 1, 2))).decode().strip())
    assert extension["suser"] == "user:iss/alice"
    assert extension["src"] == "192.0.2.1"
    assert (extension["requestMethod"], extension["request"]) == ("GET", "/a/1")
    assert (extension["act"], extension["cn1"], extension["cn1Label"]) == ("allow", "200", "HTTP status")
    _, extension = read_cef(form("cef", "host")(refused("token-expired", 401)).decode().strip())
    assert extension["c6a2"] == "2001:db8::1"
    assert "src" not in extension


def test_what_is_special_in_cef_is_escaped() -> None:
    line = form("cef", "host")(call(Outcome(200, note=HARD))).decode().strip()
    _, extension = read_cef(line)
    assert extension["msg"] == HARD.replace("\u2028", "\\u2028")
    head, _ = read_cef(form("cef", "host")(refused("a|b\\c", 400)).decode().strip())
    assert head[3] == "call:refused:a\\|b\\\\c"


@ALL
def test_syslog_has_its_header_and_the_record_in_its_structured_data(joined: Joined) -> None:
    data = form("syslog", "a host.example", framed=True)(joined)
    length, _, message = data.partition(b" ")
    assert int(length) == len(message)
    assert b"\n" not in message
    head, params, text = read_syslog(message)
    assert int(head[0]) // 8 == 13
    assert head[1] == "2023-11-14T22:13:20.123456Z"
    assert head[2:6] == ["a?host.example", "interlock", "-", joined.row["event"]]
    assert text.startswith("\ufeff")
    assert params["id"] == joined.row["id"]


def test_what_is_special_in_structured_data_is_escaped() -> None:
    _, params, _ = read_syslog(form("syslog", "h")(call(Outcome(200, note=HARD))).removesuffix(b"\n"))
    assert params["note"] == HARD.replace("\n", "\\n").replace("\r", "\\r").replace("\u2028", "\\u2028")


def test_severity_follows_what_happened() -> None:
    def severity(joined: Joined) -> int:
        return int(read_syslog(form("syslog", "h")(joined).strip())[0][0]) % 8

    assert severity(call(Outcome(200))) == 6
    assert severity(refused("token-expired", 401)) == 5
    assert severity(act(Event.PROCESS_EXIT)) == 4
    assert severity(act(Event.RECORD_ALTERED)) == 1


def test_cef_over_a_stream_is_the_text_of_a_syslog_message() -> None:
    data = form("cef", "h", framed=True)(call(Outcome(200)))
    length, _, message = data.partition(b" ")
    assert int(length) == len(message)
    _, params, text = read_syslog(message)
    assert params == {}
    assert read_cef(text)[1]["suser"] == "user:iss/alice"


@ALL
def test_json_lines_are_rows(joined: Joined) -> None:
    data = form("jsonl", "h")(joined)
    assert data.count(b"\n") == 1
    row = json.loads(data)
    assert row["id"] == joined.row["id"]
    assert ("outcome_id" in row) == (len(joined.records) > 1)
