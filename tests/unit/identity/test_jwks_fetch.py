"""Fetching an issuer's keys, against answers served from memory."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.clock import ManualClock
from interlock.errors import ConfigError
from interlock.identity.jwks_fetch import JwksSource, JwksUnavailable
from tests.unit.jose.material import oct_key, public, rsa

ISSUER = "https://login.example.com"
KEYS = "https://login.example.com/keys"
JWKS = public(rsa())
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """URL -> what it answers; `asked` holds what was asked for."""
    answers: dict[str, Any] = {"asked": [], "accepted": []}

    def handle(request: httpx.Request) -> httpx.Response:
        answers["asked"].append(str(request.url))
        answers["accepted"].append(request.headers["accept-encoding"])
        answer = answers.get(str(request.url), 404)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer)
        return httpx.Response(200, content=answer) if isinstance(answer, str | bytes) else answer()

    real = httpx.AsyncClient

    def client(**settings: Any) -> httpx.AsyncClient:
        assert settings.pop("verify") is True
        return real(transport=httpx.MockTransport(handle), **settings)

    monkeypatch.setattr(httpx, "AsyncClient", client)
    return answers


def source(clock: ManualClock | None = None, issuer: str = ISSUER, **where: Any) -> JwksSource:
    return JwksSource(issuer, clock or ManualClock(), jitter=lambda: 1.0, **where)


def fetch(from_: JwksSource) -> str:
    return asyncio.run(from_.fetch())


def failure(from_: JwksSource) -> str:
    with pytest.raises(JwksUnavailable) as caught:
        fetch(from_)
    return str(caught.value)


def discovery(**members: Any) -> str:
    return json.dumps({"issuer": ISSUER, "jwks_uri": KEYS, **members})


def redirect(to: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(302, headers={"location": to})


def test_by_url(web: dict[str, Any]) -> None:
    web[KEYS] = JWKS
    assert fetch(source(url=KEYS)) == JWKS


def test_by_discovery(web: dict[str, Any]) -> None:
    web[ISSUER + "/.well-known/openid-configuration"] = discovery()
    web[KEYS] = JWKS
    assert fetch(source()) == JWKS


def test_by_file(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(JWKS)
    assert fetch(source(file=file)) == JWKS
    file.write_bytes(b"\xff")
    assert "UTF-8" in failure(source(file=file))
    assert "No such file" in failure(source(file=tmp_path / "none"))


@pytest.mark.parametrize(
    "document",
    [
        discovery(issuer=ISSUER + "/"),
        discovery(issuer="https://evil.example"),
        discovery(issuer=None),
        discovery(jwks_uri="http://login.example.com/keys"),
        discovery(jwks_uri="file:///etc/passwd"),
        discovery(jwks_uri="https://127.0.0.1/keys"),
        discovery(jwks_uri="https://user:pass@login.example.com/keys"),
        discovery(jwks_uri=None),
        discovery(jwks_uri="//["),
        '{"issuer":"' + ISSUER + '","issuer":"x","jwks_uri":"' + KEYS + '"}',
        "[]",
        "no json",
    ],
)
def test_a_discovery_document_that_cannot_be_trusted(web: dict[str, Any], document: str) -> None:
    web[ISSUER + "/.well-known/openid-configuration"] = document
    web[KEYS] = JWKS
    web["http://login.example.com/keys"] = JWKS
    assert "discovery" in failure(source())
    assert len(web["asked"]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        404,
        500,
        204,
        "",
        "{}",
        '{"keys":[]}',
        "x" * (512 * 1024 + 1),
        b"\xff",
        json.dumps({"keys": [oct_key().as_dict(private=True)]}),
        public(rsa(), use="enc"),
        httpx.ConnectTimeout("timed out"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("bad"),
    ],
    ids=lambda answer: repr(answer)[:14],  # without the keys, which are others each time
)
def test_answers_without_usable_keys(web: dict[str, Any], answer: Any) -> None:
    web[KEYS] = answer
    assert failure(source(url=KEYS))


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity"])
def test_nothing_compressed_is_asked_for_or_taken(web: dict[str, Any], coding: str) -> None:
    """A few KiB that unpack to gigabytes would be unpacked before they are counted."""
    bomb = b"this is never unpacked"

    class Watched(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError("read")
            yield bomb

    web[KEYS] = lambda: httpx.Response(200, headers={"content-encoding": coding}, stream=Watched())
    assert "content coding" in failure(source(url=KEYS))
    assert web["accepted"] == ["identity"]


def test_redirects_are_followed_where_nothing_is_lost(web: dict[str, Any]) -> None:
    web[KEYS] = redirect("/v2/keys")
    web[ISSUER + "/v2/keys"] = redirect("https://cdn.example/keys")
    web["https://cdn.example/keys"] = JWKS
    assert fetch(source(url=KEYS)) == JWKS


@pytest.mark.parametrize(
    "target",
    [
        "http://login.example.com/keys2",
        "http://127.0.0.1/keys",
        "https://127.0.0.1/keys",
        "https://localhost/keys",
        "https://[::1]/keys",
        "file:///etc/passwd",
    ],
)
def test_redirects_to_something_lesser_are_not(web: dict[str, Any], target: str) -> None:
    web[KEYS] = redirect(target)
    web[target] = JWKS
    assert "not acceptable" in failure(source(url=KEYS))
    assert web["asked"] == [KEYS]


def test_redirects_come_to_an_end(web: dict[str, Any]) -> None:
    web[KEYS] = redirect(KEYS)
    assert "redirects" in failure(source(url=KEYS))
    assert len(web["asked"]) == 4


@pytest.mark.parametrize("url", ["http://login.example.com/keys", "ftp://x/keys", "keys.json", "", "https://u:p@x/k"])
def test_a_url_in_the_clear_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError):
        JwksSource(url, ManualClock())


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_plain_http_on_this_machine_only(host: str) -> None:
    JwksSource(f"http://{host}", ManualClock())


def test_many_who_ask_at_once_share_one_fetch(web: dict[str, Any]) -> None:
    web[KEYS] = JWKS

    async def all_at_once() -> list[str]:
        one = source(url=KEYS)
        return list(await asyncio.gather(*(one.fetch() for _ in range(10))))

    assert asyncio.run(all_at_once()) == [JWKS] * 10
    assert web["asked"] == [KEYS]


def test_one_who_gives_up_does_not_take_the_fetch_along(web: dict[str, Any]) -> None:
    web[KEYS] = JWKS

    async def story() -> str:
        one = source(url=KEYS)
        impatient = asyncio.ensure_future(one.fetch())
        patient = asyncio.ensure_future(one.fetch())
        await asyncio.sleep(0)
        impatient.cancel()
        return await patient

    assert asyncio.run(story()) == JWKS


def test_asked_again_too_soon_the_issuer_is_left_alone(web: dict[str, Any]) -> None:
    web[KEYS] = JWKS
    clock = ManualClock()
    one = source(clock, url=KEYS)
    fetch(one)
    clock.advance(24)
    assert fetch(one) == JWKS
    assert len(web["asked"]) == 1
    clock.advance(2)
    fetch(one)
    assert len(web["asked"]) == 2


def test_an_issuer_that_fails_is_left_alone_for_longer_and_longer(web: dict[str, Any]) -> None:
    clock = ManualClock()
    one = source(clock, url=KEYS)
    asked: list[int] = []
    for second in range(1200):
        before = len(web["asked"])
        failure(one)
        if len(web["asked"]) > before:
            asked.append(second)
        clock.advance(1)
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    web[KEYS] = JWKS
    clock.advance(300)
    assert fetch(one) == JWKS


def test_workers_do_not_load_an_http_client() -> None:
    import subprocess
    import sys

    code = "import interlock.identity, interlock.policy, sys; print('httpx' in sys.modules, 'cel' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", "False"]
