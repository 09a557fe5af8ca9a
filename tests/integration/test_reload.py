"""Reload swaps the configuration under load without a failed request, and refuses a bad one whole."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from collections.abc import Callable

import pytest

from tests.integration.conftest import CONFIG
from tests.integration.load import Load
from tests.integration.node import Node, eventually
from tests.integration.upstream import Upstream

pytestmark = pytest.mark.integration


def test_reload_under_load_drops_nothing(make_node: Callable[..., Node], upstream: Upstream) -> None:
    config = CONFIG.format(url=upstream.url)
    node = make_node(config.replace("workers: 1", "workers: 2")).start()
    key = str(node.key("steady", "caller")["key"])
    with Load(node.port, key) as load:
        load.wait(100)
        for turn in range(5):
            route = f"  - {{match: GET /new{turn}, service: upstream, allow: public, limit: none}}\nroles:"
            node.configure(config.replace("workers: 1", "workers: 2").replace("roles:", route, 1))
            if turn % 2:
                os.kill(node.pids("supervisor")[0], signal.SIGHUP)
            else:
                node.cli("reload")
            assert eventually(lambda turn=turn: node.get(f"/new{turn}").status_code == 200), node.tail()
            load.wait(50)
        assert node.get("/new0").status_code == 401
    assert set(load.statuses) == {200}, load.statuses


def test_a_bad_config_is_refused_whole(node: Node, key: str) -> None:
    good = node.file.read_text()
    node.file.write_text(good + "nonsense: true\n")
    line = len(good.splitlines()) + 1
    checked = node.cli("check", check=False)
    assert checked.returncode != 0
    assert f"interlock.yaml:{line}" in checked.stdout + checked.stderr
    reloaded = node.cli("reload", check=False)
    assert reloaded.returncode != 0
    assert node.get("/still", key).status_code == 200
    node.file.write_text(good)
    node.cli("reload")
    assert node.get("/still", key).status_code == 200


def test_what_is_removed_is_gone(make_node: Callable[..., Node], upstream: Upstream) -> None:
    config = CONFIG.format(url=upstream.url)
    node = make_node(config).start()
    key = str(node.key("k", "caller")["key"])
    assert node.get("/open/x").status_code == 200
    assert node.get("/x", key).status_code == 200
    node.configure(config.replace("caller: [call]", "caller: [other]").replace("GET /open/*", "GET /closed/*"))
    planned = node.cli("plan", check=False).stdout
    assert "/closed" in planned
    node.cli("reload")
    assert eventually(lambda: node.get("/open/x").status_code != 200)
    assert node.get("/x", key).status_code == 403


def test_a_long_body_ends_as_it_began_and_the_next_call_is_judged_anew(
    make_node: Callable[..., Node], upstream: Upstream
) -> None:
    """Three reloads while it comes: its route goes, then its service, then the role of whoever sends it."""
    config = CONFIG.format(url=upstream.url)
    upload = "  - {match: POST /upload, service: storage, authenticate: [api_key], allow: call, limit: none}\n"
    storage = f"services:\n  storage: {{upstreams: [{upstream.url}]}}\n"
    whole = config.replace("services:\n", storage).replace("roles:", f"{upload}roles:")
    node = make_node(whole).start()
    key = str(node.key("k", "caller")["key"])
    piece, pieces = b"x" * 65536, 40
    with socket.create_connection(("127.0.0.1", node.port), 20) as sock:
        sock.sendall(
            b"POST /upload HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"
            % (key.encode(), len(piece) * pieces)
        )
        for number in range(pieces):
            if number == 10:
                node.configure(config.replace("services:\n", storage))
                node.cli("reload")
            elif number == 20:
                node.configure(config)
                node.cli("reload")
            elif number == 30:
                node.configure(config.replace("caller: [call]", "caller: [other]"))
                node.cli("reload")
            sock.sendall(piece)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 200
        assert json.loads(answer.read())["size"] == len(piece) * pieces
        sock.sendall(b"GET /next HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\n\r\n" % key.encode())
        following = http.client.HTTPResponse(sock)
        following.begin()
        assert following.status == 403, "on the same connection"
    assert eventually(lambda: any(row["resource"] == "/upload" for row in node.query()))
    row = next(row for row in node.query() if row["resource"] == "/upload")
    assert (row["route"], row["status"], row["decision"]) == ("POST /upload", 200, "allow")
    assert [seen.target for seen in upstream.seen] == ["/upload"]


def test_sigterm_finishes_what_is_in_progress(node: Node, key: str) -> None:
    import threading

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(node.get("/slow", key).status_code))
    thread.start()
    import time

    time.sleep(0.5)
    assert node.stop() == 0
    thread.join(10)
    assert results == [200]
    assert node.verify()["ok"]
