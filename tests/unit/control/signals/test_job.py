"""All of it together, following the file: what begins, what ends, and what comes in without an issuer of ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from interlock.control.issuing import BUSY, IssuerServer
from interlock.control.signals.job import SignalsJob
from interlock.control.signals.receiver import PATH
from interlock.control.signals.status import SIGNALS_REPORT
from interlock.identity import principal_handle
from interlock.issuer.errors import NotYet
from interlock.issuer.http import Request, Response
from interlock.issuer.outside import Subject
from interlock.issuer.signals.events import SESSION_REVOKED, iss_sub
from interlock.jose.signing import Signer, make_key
from interlock.store.accounts import Accounts
from tests.unit.control.signals.conftest import IDP, Bench

SIGNER = Signer(make_key("ES256"), "ES256")
PUSHED = """
identity:
  issuers:
    - {issuer: https://login.example.com, audience: sp, algorithms: [RS256], jwks: https://login.example.com/jwks,
       signals: {push: true}}
"""
OUTSIDE = """
issuer:
  url: https://id.example.com
  signals: {}
  outside: {corp: {issuer: https://login.example.com, client_id: us, title: Corporate account}}
"""


@pytest.fixture
def job(bench: Bench) -> Iterator[SignalsJob]:
    made = SignalsJob(
        bench.paths,
        bench.state,
        bench.clock,
        bench.log,
        config=lambda: bench.config,
        streams=bench.streams,
        desk=bench.desk,
        signer=lambda: SIGNER,
        key=lambda: bench.key,
        refresh=bench.refreshed.append,
        acts=lambda: bench.acts,
    )
    bench.outbox.filled = made.look
    yield made
    made.close()


def request(bench: Bench, subject: str = "alice") -> Request:
    token = bench.set(SESSION_REVOKED, iss_sub(IDP, subject))
    headers = {"content-type": "application/secevent+jwt"}
    return Request("POST", PATH, headers=headers, body=token, now=bench.clock.wall())


def until(check: Callable[[], object]) -> bool:
    end = time.monotonic() + 20
    while not check() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(check())


def test_it_takes_what_is_pushed_where_the_file_says_so(bench: Bench, job: SignalsJob) -> None:
    assert job.push(request(bench)).status == 202
    bench.configure("")
    assert job.push(request(bench)).status == 404


def test_it_follows_the_file_and_says_how_it_is_doing(bench: Bench, job: SignalsJob) -> None:
    bench.configure("")
    job.configure()
    assert (job.status().streams, job.status().sources) == ([], [])
    bench.configure(OUTSIDE + PUSHED)
    bench.stream(method="push", url="https://nowhere.example.com/x")
    job.configure()
    assert until(lambda: SIGNALS_REPORT.read(bench.paths.run))
    found = SIGNALS_REPORT.read(bench.paths.run)
    assert found is not None
    assert [one.client for one in found.streams] == ["shop"]
    assert [(one.issuer, one.method) for one in found.sources] == [(IDP, "push")]
    account = bench.person()
    bench.outbox.announce("session-revoked", account.principal)
    assert until(lambda: bench.kept.stream("s").status == "paused"), "its URL is not allowed: somebody looked at once"
    bench.configure("")
    job.configure()
    assert until(lambda: SIGNALS_REPORT.read(bench.paths.run) is None)


def test_whose_account_is_linked_is_told_by_the_key_that_links_are_kept_under(bench: Bench, job: SignalsJob) -> None:
    bench.configure(OUTSIDE + PUSHED)
    account = bench.person("al")
    identity = bench.key.hash("outside", Subject(IDP, "alice", False).key)
    Accounts(bench.state).link(account.id, "corp", identity, bench.clock.wall())
    assert job.push(request(bench, "alicia")).status == 202
    assert bench.since(principal_handle(account.principal)) == 0
    assert job.push(request(bench, "alice")).status == 202
    assert bench.since(principal_handle(account.principal))


def test_an_issuer_that_people_do_not_sign_in_with_ends_nothing_here(bench: Bench, job: SignalsJob) -> None:
    bench.configure(OUTSIDE.replace("https://login.example.com", "https://another.example.com") + PUSHED)
    account = bench.person("al")
    identity = bench.key.hash("outside", Subject(IDP, "alice", False).key)
    Accounts(bench.state).link(account.id, "corp", identity, bench.clock.wall())
    assert job.push(request(bench, "alice")).status == 202
    assert bench.since(principal_handle(account.principal)) == 0


def test_what_others_tell_comes_in_without_an_issuer_of_ours(bench: Bench) -> None:
    server = IssuerServer(bench.paths.run, lambda: None, lambda: "", lambda: bench.acts)
    answers: list[Response] = []

    async def ask(path: str) -> None:
        answered = asyncio.Event()

        def done(response: Response) -> None:
            answers.append(response)
            answered.set()

        server.ask(Request("POST", path, now=1), done)
        await asyncio.wait_for(answered.wait(), 20)

    waits = [True]

    def receive(asked: Request) -> Response:
        if waits.pop():
            waits.append(False)
            raise NotYet(0.01)
        return Response(202)

    async def story() -> None:
        await ask(PATH)
        server.receive = receive
        await ask(PATH)
        await ask("/oauth/token")
        await server.close()

    asyncio.run(story())
    assert [answer.status for answer in answers] == [BUSY.status, 202, BUSY.status]
