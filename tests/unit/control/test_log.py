"""Lines for the operator: one per event, whatever is put into them."""

from __future__ import annotations

import json
import logging
import os

import pytest

from interlock.control.log import Log, bridge_logging, render

NASTY = 'x\n2026-01-01 info forged\x1b[2J "quoted"\x00\u2028'


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_from_outside_can_make_a_second_line_or_reach_the_terminal(as_json: bool) -> None:
    line = render(1.5, "info", "worker-0", NASTY, {"path": NASTY, "n": 1, "list": [NASTY]}, as_json=as_json)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert line[:-1].isprintable()


def test_json_is_json_and_its_own_fields_cannot_be_overwritten() -> None:
    entry = json.loads(render(0, "info", "control", "started", {"level": "error", "pid": 7}, as_json=True))
    assert entry == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "process": "control",
        "event": "started",
        "pid": 7,
    }


def test_the_plain_form_quotes_what_needs_it() -> None:
    line = render(0, "error", "node", "process ended", {"how": "exit 1", "name": "control", "none": ""}, as_json=False)
    assert line == '1970-01-01T00:00:00.000Z error   node: process ended how="exit 1" name=control none=""\n'


def test_a_closed_terminal_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    Log("node", write, as_json=True).info("started")


def test_libraries_speak_through_it() -> None:
    read, write = os.pipe()
    before = logging.root.handlers[:], logging.root.level
    try:
        bridge_logging(Log("control", write, as_json=True))
        logging.getLogger("httpx").info("not this")
        logging.getLogger("httpx").error("broken %s", "pipe")
        os.close(write)
        lines = os.read(read, 10_000).splitlines()
    finally:
        logging.root.handlers[:], logging.root.level = before
        os.close(read)
    assert [json.loads(line)["event"] for line in lines] == ["broken pipe"]
