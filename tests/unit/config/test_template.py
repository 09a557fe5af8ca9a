from __future__ import annotations

import re
from pathlib import Path

import pytest

from interlock.config import Config
from interlock.config.document import read_document
from interlock.config.template import template
from interlock.errors import UsageError
from tests.unit.config.files import faults, read

FILES = ("server.pem", "server.key", "partners.pem", "billing-ca.pem", "client.pem", "client.key")


def test_it_runs_as_it_stands(tmp_path: Path) -> None:
    config = read(template("http://127.0.0.1:9000", "127.0.0.1:8080", "off"), tmp_path)
    assert config.warnings == []
    assert config.services["upstream"].upstreams == ("http://127.0.0.1:9000",)
    (route,) = config.routes
    assert (route.id, route.service, route.authenticate) == ("/*", "upstream", (("api_key",),))
    assert route.allow.permission in config.roles["caller"]
    assert len(route.limit) == 1
    assert (config.listeners[0].address, config.listeners[0].tls) == ("127.0.0.1:8080", "off")
    assert config.data_dir == tmp_path / "interlock-data"


def test_tls_for_everybody(tmp_path: Path) -> None:
    config = read(template("https://api.internal:8443", "0.0.0.0:8443", "auto"), tmp_path)
    assert (config.listeners[0].address, config.listeners[0].tls) == ("0.0.0.0:8443", "auto")
    assert read(template("http://[::1]:9000", "[::1]:8080", "off"), tmp_path).listeners[0].address == "[::1]:8080"


def with_all_options(text: str) -> str:
    return re.sub(r"^#(?! (?! ))", "", text, flags=re.MULTILINE)


def test_every_option_holds_without_its_comment_mark(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text("")
    text = template("http://127.0.0.1:9000", "127.0.0.1:8080", "off")
    text = with_all_options(text)
    assert faults(text, tmp_path) == []
    config = read(text, tmp_path)
    assert len(config.routes) == 3
    assert len(config.listeners) == 2
    tree = read_document(text.encode())
    assert set(tree) >= set(Config.model_fields) - {"issuer"}
    assert set(tree["connections"]) == set(type(config.connections).model_fields)
    assert set(tree["defaults"]) == set(type(config.defaults).model_fields)


def test_the_defaults_that_it_shows_are_the_defaults(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_text("")
    plain = template("http://127.0.0.1:9000", "127.0.0.1:8080", "off")
    shown = with_all_options(plain)
    assert read(shown, tmp_path).connections == read(plain, tmp_path).connections
    assert read(shown, tmp_path).defaults == read(plain, tmp_path).defaults


@pytest.mark.parametrize(
    ("upstream", "address", "tls"),
    [
        ("127.0.0.1:9000", "127.0.0.1:8080", "off"),
        ("http://127.0.0.1:9000/api", "127.0.0.1:8080", "off"),
        ('http://127.0.0.1:9000"]\nadmin: 0.0.0.0:1 #', "127.0.0.1:8080", "off"),
        ("http://user:pw@host", "127.0.0.1:8080", "off"),
        ("http://127.0.0.1:9000", "0.0.0.0:8080", "off"),
        ("http://127.0.0.1:9000", "8080", "off"),
        ("http://127.0.0.1:9000", "127.0.0.1:8080\ntls: off", "off"),
        ("http://127.0.0.1:9000", "127.0.0.1:8080", "maybe"),
    ],
)
def test_what_cannot_be_written(upstream: str, address: str, tls: str) -> None:
    with pytest.raises(UsageError):
        template(upstream, address, tls)
