"""Clients of the issuer that show certificates (RFC 8705), with the real `ssl` on the other side, and thieves.

`issue`: certificates of a bundle of the file; `own`: self-signed ones, which become anchors of the listeners.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.certificates import Authority
from tests.integration.node import Node, eventually, free_port
from tests.integration.upstream import Upstream
from tests.unit.control.test_anchors import Own

pytestmark = pytest.mark.integration

Files = tuple[Path, Path]
BILLING, THIEF = "spiffe://partners/billing", "spiffe://partners/thief"
CONFIG = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto, client_certificates: optional}}
  - {{address: 127.0.0.1:OTHER, tls: auto, client_certificates: none}}
issuer: {{url: "https://127.0.0.1:PORT", trust: partners}}
services:
  upstream: {{upstreams: [{url}]}}
trust:
  partners:
    ca: partners.pem
    principal: san-uri
    roles: {{"{billing}": caller, "{thief}": caller}}
    principals: {{"{billing}": "service:interlock/billing"}}
  others: {{ca: others.pem, principal: san-uri}}
routes:
  - {{match: GET /token/*, service: upstream, authenticate: [jwt], allow: call, limit: none}}
  - {{match: GET /both/*, service: upstream, authenticate: [jwt+mtls], trust: partners, allow: call, limit: none}}
  - {{match: GET /mtls/*, service: upstream, authenticate: [mtls], trust: partners, allow: call, limit: none}}
  - {{match: GET /others/*, service: upstream, authenticate: [mtls], trust: others, allow: call, limit: none}}
roles:
  caller: [call]
"""


class Place:
    """A node, two authorities, and callers with certificates."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder = folder
        self.partners, self.others = Authority("partners"), Authority("others")
        node_folder = folder / "node"
        node_folder.mkdir()
        (node_folder / "partners.pem").write_bytes(self.partners.pem)
        (node_folder / "others.pem").write_bytes(self.others.pem)
        self.other_port = free_port()
        text = CONFIG.format(url=upstream.url, billing=BILLING, thief=THIEF)
        self.node = Node(node_folder, text.replace("OTHER", str(self.other_port))).start()

    def issue(self, uri: str, **options: Any) -> Files:
        return self.partners.issue(self.folder, uri=uri, **options)

    def own(self, name: str) -> Files:
        return Own(name).files(self.folder)

    def create(self, name: str, *words: str) -> str:
        made = json.loads(self.node.cli("client", "create", name, "--role", "caller", "--json", *words).stdout)
        return str(made["client_id"])

    def client(self, certificate: Files | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.node.data / "pki" / "ca.pem"))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return httpx.Client(verify=context, trust_env=False, timeout=20)

    def ask(self, certificate: Files | None, client_id: str, *, other: bool = False, **form: str) -> httpx.Response:
        """For a token; a handshake that is refused is 495, as proxies call it."""
        port = self.other_port if other else self.node.port
        asked = {"grant_type": "client_credentials", "client_id": client_id, **form}
        try:
            with self.client(certificate) as client:
                return client.post(f"https://127.0.0.1:{port}/oauth/token", data=asked)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            return httpx.Response(495, text="handshake refused")

    def token(self, certificate: Files, client_id: str) -> str:
        answer = self.ask(certificate, client_id)
        assert answer.status_code == 200, f"{answer.text}\n{self.node.tail()}"
        return str(answer.json()["access_token"])

    def call(self, path: str, token: str = "", certificate: Files | None = None, *, other: bool = False) -> int:
        port = self.other_port if other else self.node.port
        fields = {"authorization": f"Bearer {token}"} if token else {}
        try:
            with self.client(certificate) as client:
                return client.get(f"https://127.0.0.1:{port}{path}", headers=fields).status_code
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            return 495


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    upstream = Upstream()
    made = Place(tmp_path_factory.mktemp("m"), upstream)
    yield made
    made.node.kill()
    upstream.close()


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def fingerprint(certificate: Files) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate[0].read_text())).hexdigest()


def thumbprint(certificate: Files) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(fingerprint(certificate))).rstrip(b"=").decode()


# -- tls_client_auth (section 2.1)


def test_a_client_is_known_by_the_name_in_a_certificate_that_somebody_vouches_for(place: Place) -> None:
    client_id = place.create("billing", "--auth", "tls_client_auth", "--san-uri", BILLING)
    assert place.call("/token/x", place.token(place.issue(BILLING), client_id)) == 200
    renewed = place.issue(BILLING)
    assert place.ask(renewed, client_id).status_code == 200, "it is the name that counts, and not the certificate"
    for wrong in (
        place.issue(THIEF),
        place.issue(BILLING, days=-1),
        place.issue(BILLING, server=True),
        place.others.issue(place.folder, uri=BILLING),
        Authority("partners").issue(place.folder, uri=BILLING),
        place.own("billing"),
        None,
    ):
        assert place.ask(wrong, client_id).status_code in (401, 495)
    assert place.ask(place.issue(BILLING), client_id, other=True).status_code == 401, "that listener does not ask"


def test_the_other_bundle_of_the_file_vouches_for_no_client(place: Place) -> None:
    """Its certificates pass the handshake, since a route takes them."""
    foreign = place.others.issue(place.folder, uri=BILLING)
    client_id = place.create("foreign", "--auth", "tls_client_auth", "--san-uri", BILLING)
    answer = place.ask(foreign, client_id)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_by_a_subject_and_by_a_host(place: Place) -> None:
    by_dn = place.create("by-dn", "--auth", "tls_client_auth", "--subject-dn", "CN=ledger")
    assert place.ask(place.issue("spiffe://partners/any", name="ledger"), by_dn).status_code == 200
    assert place.ask(place.issue("spiffe://partners/any", name="other"), by_dn).status_code == 401
    by_dns = place.create("by-dns", "--auth", "tls_client_auth", "--san-dns", "ledger.example")
    assert place.ask(place.partners.issue(place.folder, dns="ledger.example"), by_dns).status_code == 200
    assert place.ask(place.partners.issue(place.folder, dns="x.ledger.example"), by_dns).status_code == 401


def test_a_revoked_certificate_is_no_client_s_any_more(place: Place) -> None:
    name = "spiffe://partners/revoked"
    client_id = place.create("revoked", "--auth", "tls_client_auth", "--san-uri", name)
    certificate = place.issue(name)
    assert place.ask(certificate, client_id).status_code == 200
    place.node.cli("revoke", "certificate", fingerprint(certificate))
    assert place.ask(certificate, client_id).status_code == 401, "when the command returns"
    assert place.ask(place.issue(name), client_id).status_code == 200


# -- self_signed_tls_client_auth (section 2.2)


def test_a_self_signed_certificate_is_taken_from_its_registration_to_its_end(place: Place) -> None:
    own, stranger = place.own("own"), place.own("own")
    words = ("--auth", "self_signed_tls_client_auth", "--certificate", str(own[0]))
    assert place.ask(own, "nobody").status_code == 495, "nobody vouches for it yet"
    client_id = place.create("own", *words)
    token = place.token(own, client_id)
    assert place.call("/token/x", token) == 200
    assert place.ask(stranger, client_id).status_code == 495
    assert place.ask(place.issue(BILLING), client_id).status_code == 401
    # It opens nothing but the issuer's door.
    for path in ("/mtls/x", "/others/x"):
        assert place.call(path, "", own) == 401
        assert place.call(path, token, own) == 401
    assert place.call("/both/x", token, own) == 401
    place.node.cli("client", "disable", client_id)
    assert place.ask(own, client_id).status_code == 495, "its anchor went with it"
    assert place.call("/token/x", token) == 401
    assert place.call("/mtls/x", "", place.issue(THIEF)) == 200, "others' certificates are what they were"


def test_what_a_self_signed_certificate_signs_is_nobody_s(place: Place) -> None:
    """One that calls itself an authority is an anchor, too: whoever holds it can make others pass the handshake."""
    authority = Authority("looks like a client")
    pem = place.folder / "authority.pem"
    pem.write_bytes(authority.pem)
    client_id = place.create("authority", "--auth", "self_signed_tls_client_auth", "--certificate", str(pem))
    made = authority.issue(place.folder, uri=BILLING)
    assert place.ask(made, client_id).status_code == 401
    other = place.create("victim", "--auth", "tls_client_auth", "--san-uri", BILLING)
    assert place.ask(made, other).status_code == 401
    assert place.call("/mtls/x", "", made) == 401
    token = place.token(place.issue(BILLING), other)
    assert place.call("/both/x", token, made) == 401


def test_a_worker_and_a_node_that_start_again_know_the_anchors(place: Place) -> None:
    own = place.own("again")
    client_id = place.create("again", "--auth", "self_signed_tls_client_auth", "--certificate", str(own[0]))
    assert place.ask(own, client_id).status_code == 200
    for kind in ("worker", "control"):
        for pid in place.node.pids(kind):
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: place.ask(own, client_id).status_code == 200, 30)
    place.node.stop()
    place.node.start()
    assert eventually(lambda: place.ask(own, client_id).status_code == 200, 30)


def test_made_while_the_node_was_down(place: Place) -> None:
    own = place.own("down")
    place.node.stop()
    client_id = place.create("down", "--auth", "self_signed_tls_client_auth", "--certificate", str(own[0]))
    place.node.start()
    assert eventually(lambda: place.ask(own, client_id).status_code == 200, 30)


# -- bound tokens (section 3)


def test_a_bound_token_is_worth_nothing_without_its_certificate(place: Place) -> None:
    certificate = place.issue(BILLING)
    client_id = place.create("bound", "--auth", "tls_client_auth", "--san-uri", BILLING, "--bound", "certificate")
    token = place.token(certificate, client_id)
    assert claims(token)["cnf"] == {"x5t#S256": thumbprint(certificate)}
    assert place.call("/token/x", token, certificate) == 200
    assert place.call("/token/x", token) == 401, "stolen from a log"
    assert place.call("/token/x", token, place.issue(THIEF)) == 401, "with the thief's own certificate"
    assert place.call("/token/x", token, place.issue(BILLING)) == 401, "with another one of the same name"
    assert place.call("/token/x", token, certificate, other=True) == 401, "where nobody asks for one"
    assert {call["reason"] for call in place.node.query("--decision", "deny", "--limit", "4")} == {"token-binding"}


def test_a_bound_token_of_a_self_signed_client(place: Place) -> None:
    own, other = place.own("bound-own"), place.own("bound-other")
    words = ("--auth", "self_signed_tls_client_auth", "--bound", "certificate", "--certificate")
    first = place.create("bound-own", *words, str(own[0]))
    second = place.create("bound-other", *words, str(other[0]))
    token = place.token(own, first)
    assert place.call("/token/x", token, own) == 200
    assert place.call("/token/x", token, other) == 401
    assert place.call("/token/x", place.token(other, second), other) == 200
    assert place.call("/both/x", token, own) == 401, "no bundle vouches for it"


def test_a_stolen_token_with_the_thief_s_own_certificate(place: Place) -> None:
    """An unbound token at a route that asks for both: they MUST be of one principal."""
    mine, thief = place.issue(BILLING), place.issue(THIEF)
    unbound = place.create("billing", "--auth", "tls_client_auth", "--san-uri", BILLING)
    token = place.token(mine, unbound)
    assert "cnf" not in claims(token)
    assert place.call("/both/x", token, mine) == 200
    assert place.call("/both/x", token, thief) == 401
    assert place.node.query("--limit", "1")[0]["reason"] == "credential-mismatch"
    assert place.call("/both/x", token) == 401
    assert place.call("/both/x", "", mine) == 401
    assert place.call("/token/x", token, thief) == 200, "unbound is what it is: whoever has it may use it there"


def test_tokens_of_a_client_with_a_secret_are_bound_to_its_own_certificate_alone(place: Place) -> None:
    own = place.own("secret")
    made = json.loads(
        place.node.cli(
            *("client", "create", "secret", "--role", "caller", "--json", "--bound", "certificate"),
            *("--certificate", str(own[0])),
        ).stdout
    )
    secret = {"client_secret": made["client_secret"]}
    answer = place.ask(own, made["client_id"], **secret)
    assert place.call("/token/x", answer.json()["access_token"], own) == 200
    for other in (None, place.issue(BILLING)):
        assert place.ask(other, made["client_id"], **secret).status_code == 400
    assert place.ask(own, made["client_id"]).status_code == 401, "the certificate alone is no login"


def test_introspection_tells_what_a_token_is_bound_to(place: Place) -> None:
    certificate = place.issue(BILLING)
    client_id = place.create("told", "--auth", "tls_client_auth", "--san-uri", BILLING, "--bound", "certificate")
    token = place.token(certificate, client_id)
    with place.client(certificate) as client:
        form = {"token": token, "client_id": client_id}
        answer = client.post(f"https://127.0.0.1:{place.node.port}/oauth/introspect", data=form).json()
    assert answer["active"]
    assert answer["cnf"] == {"x5t#S256": thumbprint(certificate)}


def test_a_resumed_session_shows_what_its_first_handshake_showed(place: Place) -> None:
    """And no more: a session of a certificate that is revoked is a session of nobody."""
    name = "spiffe://partners/resumed"
    client_id = place.create("resumed", "--auth", "tls_client_auth", "--san-uri", name)
    certificate = place.issue(name)
    with place.client(certificate) as client:
        form = {"grant_type": "client_credentials", "client_id": client_id}
        url = f"https://127.0.0.1:{place.node.port}/oauth/token"
        for _ in range(3):
            assert client.post(url, data=form, headers={"connection": "close"}).status_code == 200
        place.node.cli("revoke", "certificate", fingerprint(certificate))
        assert client.post(url, data=form).status_code == 401


def test_the_metadata_says_so(place: Place) -> None:
    with place.client() as client:
        found = client.get(f"https://127.0.0.1:{place.node.port}/.well-known/oauth-authorization-server").json()
    assert found["tls_client_certificate_bound_access_tokens"] is True
    assert {"tls_client_auth", "self_signed_tls_client_auth"} <= set(found["token_endpoint_auth_methods_supported"])


# -- a listener of its own (RFC 8705 section 5)

TWO_PLACES = """
version: 1
workers: 2
listeners:
  - {{address: 127.0.0.1:PORT, tls: auto, client_certificates: none}}
  - {{address: 127.0.0.1:OTHER, tls: auto, client_certificates: optional}}
issuer: {{url: "https://id.example.com:PORT", mtls_url: "https://mtls.example.com:OTHER", trust: partners}}
services:
  upstream: {{upstreams: [{url}]}}
trust:
  partners: {{ca: partners.pem, principal: san-uri}}
routes:
  - {{match: /*, service: upstream, authenticate: [jwt], allow: call, limit: none}}
roles:
  caller: [call]
"""


class TwoPlaces:
    """A node that people know by one name, and programs with certificates by another; both lead here."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.partners = Authority("partners")
        self.folder = folder
        node_folder = folder / "node"
        node_folder.mkdir()
        (node_folder / "partners.pem").write_bytes(self.partners.pem)
        self.ports = {"id.example.com": 0, "mtls.example.com": free_port()}
        text = TWO_PLACES.format(url=upstream.url).replace("OTHER", str(self.ports["mtls.example.com"]))
        self.node = Node(node_folder, text).start()
        self.ports["id.example.com"] = self.node.port

    def ask(
        self, method: str, url: str, certificate: Files | None = None, *, said: str = "", **options: Any
    ) -> httpx.Response:
        """As a client does that has looked the host up; `said`: another Host than that of the handshake."""
        parts = httpx.URL(url)
        assert self.ports[parts.host] == parts.port
        context = ssl.create_default_context(cafile=str(self.node.data / "pki" / "ca.pem"))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        with httpx.Client(verify=context, trust_env=False, timeout=20) as client:
            return client.request(
                method,
                parts.copy_with(host="127.0.0.1"),
                headers={"host": said or f"{parts.host}:{parts.port}", **options.pop("headers", {})},
                extensions={"sni_hostname": parts.host},
                **options,
            )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoPlaces]:
    upstream = Upstream()
    made = TwoPlaces(tmp_path_factory.mktemp("two"), upstream)
    yield made
    made.node.kill()
    upstream.close()


def test_a_client_with_a_certificate_finds_where_to_show_it(places: TwoPlaces) -> None:
    """As a client does that knows the issuer's URL alone: discovery, then the aliases, over real TLS."""
    url = f"https://id.example.com:{places.node.port}"
    found = places.ask("GET", f"{url}/.well-known/openid-configuration").json()
    aliases = found["mtls_endpoint_aliases"]
    assert found["issuer"] == url
    made = places.node.cli(
        "client", "create", "billing", "--role", "caller", "--auth", "tls_client_auth", "--san-uri", BILLING,
        "--bound", "certificate", "--json",
    )  # fmt: skip
    client_id = json.loads(made.stdout)["client_id"]
    certificate = places.partners.issue(places.folder, uri=BILLING)
    form = {"grant_type": "client_credentials", "client_id": client_id}
    refused = places.ask("POST", found["token_endpoint"], certificate, data=form)
    assert refused.status_code == 401, "nobody is asked for a certificate there"
    answer = places.ask("POST", aliases["token_endpoint"], certificate, data=form)
    assert answer.status_code == 200, f"{answer.text}\n{places.node.tail()}"
    token = str(answer.json()["access_token"])
    assert claims(token)["iss"] == url
    assert places.ask("POST", aliases["token_endpoint"], data=form).status_code == 401
    introspected = places.ask(
        "POST", aliases["introspection_endpoint"], certificate, data={"client_id": client_id, "token": token}
    )
    assert introspected.json()["active"], introspected.text
    headers = {"authorization": f"Bearer {token}"}
    api = f"https://mtls.example.com:{places.ports['mtls.example.com']}/accounts"
    assert places.ask("GET", api, certificate, headers=headers).status_code == 200
    assert places.ask("GET", api, headers=headers).status_code == 401, "not without the certificate"
    gone = places.ask(
        "POST", aliases["revocation_endpoint"], certificate, data={"client_id": client_id, "token": token}
    )
    assert gone.status_code == 200
    assert places.ask("GET", api, certificate, headers=headers).status_code == 401


def test_no_page_for_people_is_where_they_would_be_asked_for_a_certificate(places: TwoPlaces) -> None:
    there = f"https://mtls.example.com:{places.ports['mtls.example.com']}"
    for path in ("/oauth/signin", "/oauth/authorize", "/oauth/account", "/.well-known/openid-configuration"):
        answer = places.ask("GET", there + path)
        assert answer.status_code == 401, "a path like any other of that host"
        assert "location" not in answer.headers
    page = places.ask("GET", f"https://id.example.com:{places.node.port}/oauth/signin", follow_redirects=False)
    assert page.status_code == 303
    shown = places.ask("GET", f"https://id.example.com:{places.node.port}/oauth/device")
    assert shown.status_code in (200, 303)
