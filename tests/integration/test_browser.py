"""A real browser signs in: password and code, a passkey, consent, signing out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from authlib.common.security import generate_token
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from tests.integration.browser import Browser, browser, code_of, missing
from tests.integration.node import Node
from tests.integration.person import PASSWORD, parameters
from tests.integration.upstream import Upstream
from tests.unit.issuer.desk import claims_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=f"{missing()} is not here: apt-get install chromium chromium-driver"),
]

CONFIG = """
version: 1
workers: 1
listeners:
  - {{address: 127.0.0.1:PORT, tls: off}}
issuer:
  url: http://localhost:PORT
  second_factor: required
  scopes: {{things.read: See your things}}
services:
  up: {{upstreams: [{url}]}}
routes:
  - {{match: /*, service: up, authenticate: [jwt, api_key], allow: call, limit: none}}
roles:
  caller: [call]
"""


class Application:
    """Where the browser is sent back to; it also hears of those who have signed out."""

    def __init__(self) -> None:
        told = self.told = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"<h1>The application</h1>")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                told.append(parse_qs(body)["logout_token"][0])
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Scene:
    def __init__(self, node: Node, application: Application, window: Browser) -> None:
        self.node = node
        self.application = application
        self.window = window
        self.url = f"http://localhost:{node.port}"
        self.back = f"{application.url}/back"
        words = ["client", "create", "shop", "--grant", "authorization_code", "--redirect-uri", self.back]
        words += ["--scope", "openid", "--scope", "profile", "--scope", "things.read"]
        words += ["--post-logout-redirect-uri", f"{application.url}/bye"]
        words += ["--backchannel-logout-uri", f"{application.url}/farewell"]
        self.client: dict[str, Any] = json.loads(node.cli(*words, "--json").stdout)
        self._verifier = ""

    def ask(self, **more: str) -> None:
        """The application sends the browser."""
        self._verifier = generate_token(48)
        query = {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "redirect_uri": self.back,
            "scope": "openid profile things.read",
            "state": "st",
            "nonce": "no",
            "code_challenge": create_s256_code_challenge(self._verifier),
            "code_challenge_method": "S256",
            **more,
        }
        self.window.open(str(httpx.URL(f"{self.url}/oauth/authorize", params=query)))

    def redeem(self) -> dict[str, Any]:
        """What the application gets for what the browser brings."""
        found = parameters(self.window.until_at(self.back))
        assert found["state"] == "st"
        assert found["iss"] == self.url
        form = {"grant_type": "authorization_code", "code": found["code"], "redirect_uri": self.back}
        answer = httpx.post(
            f"{self.url}/oauth/token",
            data={**form, "code_verifier": self._verifier},
            auth=(self.client["client_id"], self.client["client_secret"]),
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture
def scene(tmp_path: Path, make_node: Callable[..., Node], upstream: Upstream) -> Iterator[Scene]:
    node = make_node(CONFIG.format(url=upstream.url))
    application = Application()
    try:
        node.start()
        with browser(tmp_path) as window:
            yield Scene(node, application, window)
    finally:
        node.kill()
        application.close()


@pytest.mark.timeout(300)
def test_somebody_signs_in_for_real(scene: Scene) -> None:
    window = scene.window
    link = json.loads(scene.node.cli("user", "create", "alice", "--role", "caller", "--json").stdout)["link"]

    # The first time: a password, an app for codes, recovery codes.
    window.open(link)
    window.fill(password=PASSWORD, again=PASSWORD)
    window.press("Use this password")
    window.until("app")
    seed = window.driver.find_element("css selector", ".seed code").text
    used = code_of(seed)
    window.fill(code=used)
    window.press("Confirm")
    window.until("recovery codes")
    window.press("I have kept them")
    window.until("Your account")

    # An application sends the browser: nobody is asked for the password again, but for consent.
    scene.ask()
    window.until("See your things")
    window.press("Allow")
    first = scene.redeem()
    told = claims_of(first["id_token"])
    assert told["acr"] == "urn:interlock:acr:mfa"
    assert told["preferred_username"] == "alice"
    assert httpx.get(f"{scene.url}/x", headers={"authorization": f"Bearer {first['access_token']}"}).status_code == 200

    # Signing out at the application's wish takes the session, its tokens, and tells the application.
    ended = httpx.URL(
        f"{scene.url}/oauth/logout",
        params={"id_token_hint": first["id_token"], "post_logout_redirect_uri": f"{scene.application.url}/bye"},
    )
    window.open(str(ended))
    window.until_at(f"{scene.application.url}/bye")
    assert httpx.get(f"{scene.url}/x", headers={"authorization": f"Bearer {first['access_token']}"}).status_code == 401
    window.wait.until(lambda _: scene.application.told)
    farewell = claims_of(scene.application.told[0])
    assert farewell["sid"] == told["sid"]
    assert "http://schemas.openid.net/event/backchannel-logout" in farewell["events"]

    # Password and code.
    scene.ask()
    window.fill(name="alice", password=PASSWORD)
    window.press("Sign in")
    window.until("confirm that it is you")
    window.fill(code=code_of(seed, after=used))
    window.press("Continue")
    assert claims_of(scene.redeem()["id_token"])["amr"] == ["pwd", "otp", "mfa"]

    # A passkey beside the app.
    window.authenticator()
    window.open(f"{scene.url}/oauth/account")
    window.press("Add a passkey")
    window.press_and_stay("Set up a passkey")
    window.until("Passkey")

    # The passkey alone, where the application asks for what cannot be phished.
    scene.ask(acr_values="urn:interlock:acr:phr", prompt="login")
    # The browser offers it by itself, and this one has nobody to ask whether it may.
    told = claims_of(scene.redeem()["id_token"])
    assert told["acr"] == "urn:interlock:acr:phr"
    assert "pop" in told["amr"]
    assert window.complaints() == [], "a page of ours asks for what its own policy forbids"
