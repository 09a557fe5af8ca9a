"""Apache's mod_auth_openidc signs people in at our issuer, and hears when they have signed out."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.integration.apache import Apache, missing
from tests.integration.desk import Desk, running
from tests.integration.node import eventually
from tests.integration.person import Person, parameters

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(missing()), reason=missing())]

GRANTS = ("--grant", "authorization_code", "--grant", "refresh_token")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running(tmp_path_factory.mktemp("apache")) as desk:
        yield desk


@pytest.fixture(scope="module")
def apache(desk: Desk) -> Iterator[Apache]:
    server = Apache()
    made = desk.client(
        "apache",
        *(*GRANTS, "--scope", "openid", "--scope", "profile", "--redirect-uri", server.redirect),
        *("--backchannel-logout-uri", f"{server.redirect}?logout=backchannel"),
        *("--post-logout-redirect-uri", f"{server.url}/"),
    )
    try:
        server.start(desk.url, desk.ca, made["client_id"], made["client_secret"])
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def alice(desk: Desk) -> Iterator[Person]:
    somebody = desk.person("alice")
    yield somebody
    somebody.close()


class Window:
    """The part of a browser that is at the application."""

    def __init__(self, apache: Apache) -> None:
        self.apache = apache
        self.http = httpx.Client(
            trust_env=False, timeout=20, headers={"accept": "text/html", "user-agent": "a browser"}
        )

    def look(self) -> httpx.Response:
        return self.http.get(f"{self.apache.url}/protected/")

    def sign_in(self, person: Person) -> httpx.Response:
        asked = self.look()
        assert asked.status_code == 302, (asked.status_code, self.apache.log())
        where = person.sign_in(asked.headers["location"])
        assert where.startswith(self.apache.redirect), (where, person.text)
        back = self.http.get(where)
        assert back.status_code == 302, (back.text, self.apache.log())
        assert back.headers["location"] == f"{self.apache.url}/protected/"
        return self.look()

    def is_out(self) -> bool:
        return self.look().status_code == 302


@pytest.fixture
def window(apache: Apache) -> Iterator[Window]:
    made = Window(apache)
    yield made
    made.http.close()


def test_the_protected_page_is_shown_to_who_signed_in(window: Window, desk: Desk, alice: Person) -> None:
    asked = parameters(window.look().headers["location"])
    assert asked["code_challenge_method"] == "S256"
    page = window.sign_in(alice)
    assert (page.status_code, page.text) == (200, "the protected page")
    assert page.headers["x-remote-user"] == "alice"
    assert page.headers["x-sid"]


def test_an_answer_for_another_browser_is_refused(window: Window, apache: Apache, alice: Person) -> None:
    where = alice.sign_in(window.look().headers["location"])
    thief = Window(apache)
    thief.http.get(where)
    assert thief.is_out()


def test_who_is_refused_at_the_issuer_is_not_in(window: Window, apache: Apache) -> None:
    window.look()
    window.http.get(f"{apache.redirect}?error=access_denied&state=x")
    window.http.get(f"{apache.redirect}?code=made-up&state=x")
    assert window.is_out()


def test_a_forged_farewell_ends_nothing(window: Window, apache: Apache, alice: Person) -> None:
    window.sign_in(alice)
    forged = httpx.post(
        f"{apache.redirect}?logout=backchannel", data={"logout_token": "eyJhbGciOiJub25lIn0.e30."}, trust_env=False
    )
    assert forged.status_code == 400
    assert not window.is_out()


def test_revoking_the_session_ends_it_at_the_application(window: Window, desk: Desk, alice: Person) -> None:
    sid = window.sign_in(alice).headers["x-sid"]
    desk.node.cli("revoke", "session", sid)
    assert eventually(window.is_out, timeout=15), window.apache.log()


def test_signing_out_at_the_issuer_ends_it_at_the_application(window: Window, desk: Desk, alice: Person) -> None:
    window.sign_in(alice)
    alice.visit(desk.metadata()["end_session_endpoint"])
    alice.submit("/confirm")
    assert eventually(window.is_out, timeout=15), window.apache.log()


def test_signing_out_at_the_application_ends_it_at_the_issuer(window: Window, apache: Apache, alice: Person) -> None:
    window.sign_in(alice)
    sent = window.http.get(f"{apache.redirect}?logout={quote(apache.url + '/', safe='')}")
    assert sent.status_code == 302
    assert "id_token_hint" in parameters(sent.headers["location"])
    assert alice.visit(sent.headers["location"]).startswith(apache.url)
    asked = window.look()
    assert asked.status_code == 302
    assert "/oauth/signin" in alice.visit(asked.headers["location"]), "she is signed out at the issuer, too"
