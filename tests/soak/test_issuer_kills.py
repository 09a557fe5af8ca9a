"""kill -9 of what answers for the issuer while tokens are asked for and revoked: whatever a client was told holds."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from tests.integration.node import PLAIN, Node, eventually
from tests.integration.test_issuer import CONFIG, Desk
from tests.integration.upstream import Upstream
from tests.soak.test_two_hundred_kills import SEED, kill

pytestmark = pytest.mark.soak

KILLS = 40
KINDS = ("control", "control", "worker", "recorder", "supervisor", "all")


@dataclass
class Program:
    """A client that asks for tokens, one after the other, and revokes every other one; it goes on whatever happens."""

    node: Node
    who: tuple[str, str]
    ended: threading.Event
    kept: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    failed: int = 0

    def run(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.node.port}", auth=self.who, **PLAIN) as calls:
            for number in range(1_000_000):
                if self.ended.is_set():
                    return
                try:
                    answer = calls.post("/oauth/token", data={"grant_type": "client_credentials"})
                    if answer.status_code != 200:
                        self.failed += 1
                        continue
                    token = str(answer.json()["access_token"])
                    if number % 2:
                        self.kept.append(token)
                    elif calls.post("/oauth/revoke", data={"token": token}).status_code == 200:
                        self.revoked.append(token)
                except httpx.TransportError:
                    self.failed += 1
                    time.sleep(0.01)


def test_what_a_client_was_told_outlives_every_kill(make_node: Callable[..., Node], upstream: Upstream) -> None:
    """A token that was given out is on the record and opens; a revocation that was answered holds. Nothing is said of
    an answer that did not come: its token may be on the record, and nobody has it."""
    choose = random.Random(SEED)
    print(f"seed {SEED}")
    config = CONFIG.format(url=upstream.url) + "connections: {failures: 1000000/m}\n"
    config = config.replace("scopes:", "access_token: 1h, scopes:", 1)  # longer than all of this takes
    desk = Desk(make_node(config).start())
    node, ended = desk.node, threading.Event()
    programs = [Program(node, desk.client(f"p{number}", *words), ended) for number, words in enumerate(
        ([], ["--opaque"], [], ["--opaque"])
    )]  # fmt: skip
    threads = [threading.Thread(target=program.run) for program in programs]
    for thread in threads:
        thread.start()
    try:
        for number in range(KILLS):
            time.sleep(choose.random() * 0.5)
            before = sum(len(program.kept) for program in programs)
            kill(node, KINDS[number % len(KINDS)], choose)
            assert eventually(lambda before=before: sum(len(one.kept) for one in programs) > before, 30), node.tail()
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert eventually(lambda: node.status()["serving"] and node.status()["issuer"]["serving"], 30)
    told = [(program.who, token) for program in programs for token in program.kept]
    withdrawn = [(program.who, token) for program in programs for token in program.revoked]
    print(f"{len(told)} kept, {len(withdrawn)} revoked, {sum(program.failed for program in programs)} not answered")
    assert min(len(told), len(withdrawn)) > 2 * KILLS
    known: set[str] = set()
    with httpx.Client(base_url=f"http://127.0.0.1:{node.port}", **PLAIN) as calls:
        for who, token in told:
            said = calls.post("/oauth/introspect", data={"token": token}, auth=who).json()
            assert said["active"], "a token that was given out is not known"
            known.add(said["jti"])
            assert calls.get("/x", headers={"authorization": f"Bearer {token}"}).status_code == 200
        for who, token in withdrawn:
            assert not calls.post("/oauth/introspect", data={"token": token}, auth=who).json()["active"]
            assert calls.get("/x", headers={"authorization": f"Bearer {token}"}).status_code == 401
    assert node.stop() == 0
    acts = [json.loads(line) for line in node.cli("audit", "query", "--json", "--acts").stdout.splitlines()]
    assert known <= {act["details"]["token"] for act in acts if act["event"] == "token:issue"}
    assert node.verify()["ok"]
