from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import plan
from tests.unit.config.files import FILES, LARGE, SMALL, read, with_routes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_text("")
    return tmp_path


def told(old: str, new: str, folder: Path) -> list[str]:
    return [str(change) for change in plan(read(old, folder), read(new, folder))]


def test_the_same_file_changes_nothing(folder: Path) -> None:
    assert told(LARGE, LARGE, folder) == []
    assert told(SMALL, "# a comment\n" + SMALL, folder) == []
    assert told(SMALL, SMALL.replace("GET /a", "GET   /a"), folder) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("limit: 1000000/s per principal", "limit: none", "~ routes[GET /a]: limit: [1000000/s per principal] -> none"),
        ("allow: a:read", "allow: {role: reader}", "~ routes[GET /a]: allow: permission a:read -> role reader"),
        ("reader: [a:read]", "reader: [a:read, b]", "~ roles.reader: a:read -> [a:read, b]"),
        ("9000]", "9000], timeout: 1s", "~ services.up: timeout: none -> 1s"),
        ("version: 1", "version: 1\ndefaults: {timeout: 1s}", "~ defaults: timeout: 30s -> 1s"),
        ("version: 1", "version: 1\nconnections: {handshakes: 7}",
         "~ connections: handshakes: 256 -> 7 (needs a restart)"),
        ("version: 1", "version: 1\nworkers: 3", "~ workers: 0 -> 3 (needs a restart)"),
        ("version: 1", "version: 1\nadmin: 127.0.0.1:1", "~ admin: 127.0.0.1:0 -> 127.0.0.1:1 (needs a restart)"),
        ("version: 1", "version: 1\nkeys: {kek: '${env:K}'}", "~ keys: kek: none -> ${env:K}"),
        ("audience: api", "audience: [api, b]", "~ identity.issuers[https://iss]: audience: api -> [api, b]"),
        ("version: 1", "version: 1\nissuer: {url: https://id}", "+ issuer: url https://id"),
    ],
)  # fmt: skip
def test_what_changes_is_told(old: str, new: str, expected: str, folder: Path) -> None:
    assert told(SMALL, SMALL.replace(old, new, 1), folder) == [expected]


def test_what_comes_and_goes(folder: Path) -> None:
    new = with_routes("match: POST /b, service: up, allow: public, limit: none")
    changes = plan(read(SMALL, folder), read(new, folder))
    assert [(change.kind, change.where, change.restart) for change in changes] == [
        ("removed", "routes[GET /a]", False),
        ("added", "routes[POST /b]", False),
    ]
    assert "allow public" in changes[1].summary
    assert "limit none" in changes[1].summary


def test_listeners_need_a_restart(folder: Path) -> None:
    changes = plan(read(SMALL, folder), read(SMALL.replace("8080", "8081"), folder))
    assert [(change.kind, change.where, change.restart) for change in changes] == [
        ("removed", "listeners[127.0.0.1:8080]", True),
        ("added", "listeners[127.0.0.1:8081]", True),
    ]


def test_the_order_of_routes_has_no_meaning(folder: Path) -> None:
    one, other = (f"match: /{name}, service: up, allow: public, limit: none" for name in "ab")
    assert told(with_routes(one, other), with_routes(other, one), folder) == []


def test_every_difference_of_the_examples_is_told(folder: Path) -> None:
    changes = plan(read(SMALL, folder), read(LARGE, folder))
    sections = {change.where.split(".")[0].split("[")[0] for change in changes}
    assert sections == {
        *("keys", "admin", "listeners", "issuer", "trust", "zones", "services", "routes", "roles", "identity"),
        *("objectives", "frameworks"),
    }
    assert {change.where.split(".")[0].split("[")[0] for change in changes if change.restart} == {
        "admin",
        "listeners",
    }
