"""The same requests to our issuer and to npm's oidc-provider, a server of others that is certified: what differs?

Each case is one function, run at both; its outcome is the status and what the answer is, in two words. Where they
differ, the difference stands in DIFFERENCES with both outcomes and the clause that decides, and a difference that is
none any more fails as well.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.desk import BACK, DEVICE, Asking, Desk, running, settled
from tests.integration.node import eventually, free_port
from tests.integration.peers import environment, missing, prepared
from tests.integration.person import Person, parameters
from tests.unit.jose.material import ec, sign

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing("oidc-provider")), reason=missing("oidc-provider")),
]

SCOPE = "openid things.read offline_access"
TOKEN, PAR, DEVICES = "token_endpoint", "pushed_authorization_request_endpoint", "device_authorization_endpoint"
REVOKE, LOOK, USERINFO = "revocation_endpoint", "introspection_endpoint", "userinfo_endpoint"
Client = dict[str, Any]
Form = dict[str, str] | list[tuple[str, str]]
CASES: dict[str, Callable[[Side], str]] = {}


class Side:
    """One of the two servers."""

    def __init__(self, url: str, clients: dict[str, Client], person: Callable[[], Person], verify: Any) -> None:
        self.url = url
        self.web, self.other, self.program = clients["web"], clients["other"], clients["program"]
        self.person = person
        self.alice = person()
        self.http = httpx.Client(verify=verify, trust_env=False, timeout=20)
        self.told: dict[str, str] = self.http.get(f"{url}/.well-known/openid-configuration").json()

    def send(self, endpoint: str, form: Form, client: Client | None = None, **headers: str) -> httpx.Response:
        """A form to an endpoint, with the client's secret in the header."""
        content = str(httpx.QueryParams(list(form.items()) if isinstance(form, dict) else form))
        auth = (client["client_id"], client["client_secret"]) if client else None
        kind = {"content-type": "application/x-www-form-urlencoded", **headers}
        return self.http.post(self.told[endpoint], content=content, auth=auth, headers=kind)

    def token(self, form: Form, client: Client | None = None, **headers: str) -> str:
        return outcome(self.send(TOKEN, form, client or self.web, **headers))

    # -- what a browser does

    def asking(self, **changed: str) -> Asking:
        return Asking(self.web, **{"scope": SCOPE, "prompt": "consent", **changed})

    def go(self, asked: Asking, person: Person | None = None, more: str = "") -> str:
        """Where the browser ends."""
        kept = {name: value for name, value in asked.parameters.items() if value}
        query = f"{httpx.QueryParams(kept)}{more}"
        return (person or self.alice).sign_in(f"{self.told['authorization_endpoint']}?{query}")

    def ends(self, asked: Asking, person: Person | None = None, more: str = "") -> str:
        """What came of it: on a page of the server, or told to the client."""
        where = self.go(asked, person, more)
        if where.startswith(self.url):
            return "page"
        said = parameters(where.replace("#", "?"))
        assert said.get("iss") == self.url or self.url.startswith("http:"), where
        return "code" if "code" in said else f"back {said['error']}"

    def code(self) -> tuple[Asking, str]:
        asked = self.asking()
        return asked, parameters(self.go(asked))["code"]

    def tokens(self, **headers: str) -> dict[str, str]:
        asked, code = self.code()
        answer = self.send(TOKEN, asked.exchange(code), self.web, **headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, str] = answer.json()
        return found

    def own(self) -> str:
        """A token of the program's own."""
        answer = self.send(TOKEN, {"grant_type": "client_credentials", "scope": "things.read"}, self.program)
        return str(answer.json()["access_token"])

    def proof(self, method: str = "POST", url: str = "", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        stated = {
            "jti": secrets.token_urlsafe(9),
            "htm": method,
            "htu": url or self.told[TOKEN],
            "iat": int(time.time()),
        }
        kept = {name: value for name, value in {**stated, **claims}.items() if value is not None}
        head = {"alg": "ES256", "typ": "dpop+jwt", "jwk": ec("proof").as_dict(private=False), **(header or {})}
        return sign(head, json.dumps(kept).encode(), ec("proof")).decode()


def outcome(answer: httpx.Response) -> str:
    """The status, and what it is."""
    if answer.status_code >= 400:
        try:
            said = answer.json().get("error", "")
        except ValueError:
            said = ""
        told = re.search(r'error="([a-z_]+)"', answer.headers.get("www-authenticate", ""))
        return f"{answer.status_code} {said or (told[1] if told else '')}".strip()
    said = answer.json() if answer.content else {}
    if "access_token" in said:
        return f"200 {said['token_type'].lower()}" + (" refresh" if "refresh_token" in said else "")
    if "active" in said:
        return f"{answer.status_code} {'active' if said['active'] else 'inactive'}"
    return str(answer.status_code)


def case(function: Callable[[Side], str]) -> Callable[[Side], str]:
    CASES[function.__name__] = function
    return function


def table(kind: str, cases: dict[str, Callable[[Side], str]]) -> None:
    CASES.update({f"{kind}_{name}": function for name, function in cases.items()})


OWN = {"grant_type": "client_credentials", "scope": "things.read"}
BODY = "application/x-www-form-urlencoded"

table(
    "client",
    {
        "good": lambda s: s.token(OWN, s.program),
        "wrong_secret": lambda s: s.token(OWN, {**s.program, "client_secret": "wrong"}),
        "unknown": lambda s: s.token(OWN, {**s.program, "client_id": "nobody"}),
        "no_credential": lambda s: outcome(s.send(TOKEN, {**OWN, "client_id": s.program["client_id"]})),
        "nothing": lambda s: outcome(s.send(TOKEN, OWN)),
        "secret_in_the_body": lambda s: outcome(s.send(TOKEN, {**OWN, **names(s.program)})),
        "two_ways": lambda s: s.token({**OWN, **names(s.program)}, s.program),
        "another_client_id_beside": lambda s: s.token({**OWN, "client_id": s.web["client_id"]}, s.program),
        "assertion_of_no_kind": lambda s: outcome(s.send(TOKEN, {**OWN, "client_assertion": "a.b.c"})),
        "bearer_for_basic": lambda s: outcome(s.send(TOKEN, OWN, authorization="Bearer abc")),
    },
)
table(
    "token",
    {
        "no_grant_type": lambda s: s.token({"scope": "things.read"}, s.program),
        "unknown_grant_type": lambda s: s.token({"grant_type": "magic"}, s.program),
        "password": lambda s: s.token({"grant_type": "password", "username": "alice", "password": "x"}, s.program),
        "grant_of_others": lambda s: s.token({"grant_type": "refresh_token", "refresh_token": "x"}, s.program),
        "more_scope": lambda s: s.token({**OWN, "scope": "things.write"}, s.program),
        "unknown_resource": lambda s: s.token({**OWN, "resource": "https://other.example.com"}, s.program),
        "relative_resource": lambda s: s.token({**OWN, "resource": "/things"}, s.program),
        "twice": lambda s: s.token([*OWN.items(), ("grant_type", "client_credentials")], s.program),
        "scope_twice": lambda s: s.token([*OWN.items(), ("scope", "things.read")], s.program),
        "json": lambda s: outcome(
            s.http.post(s.told[TOKEN], json=OWN, auth=(s.program["client_id"], s.program["client_secret"]))
        ),
    },
)


def names(client: Client) -> dict[str, str]:
    return {"client_id": client["client_id"], "client_secret": client["client_secret"]}


# -- codes


def redeemed(**changed: str) -> Callable[[Side], str]:
    def run(side: Side) -> str:
        asked, code = side.code()
        return side.token(asked.exchange(code, **changed))

    return run


table(
    "code",
    {
        "good": redeemed(),
        "unknown": redeemed(code="unknown"),
        "none": redeemed(code=""),
        "wrong_verifier": redeemed(code_verifier="w" * 43),
        "no_verifier": redeemed(code_verifier=""),
        "short_verifier": redeemed(code_verifier="short"),
        "verifier_of_other_letters": redeemed(code_verifier="!" * 43),
        "wrong_redirect_uri": redeemed(redirect_uri=f"{BACK}/"),
        "no_redirect_uri": redeemed(redirect_uri=""),
    },
)


@case
def code_of_another_client(side: Side) -> str:
    asked, code = side.code()
    return side.token(asked.exchange(code), side.other)


@case
def code_twice(side: Side) -> str:
    asked, code = side.code()
    return f"{side.token(asked.exchange(code))}, {side.token(asked.exchange(code))}"


@case
def code_twice_ends_what_came_of_it(side: Side) -> str:
    asked, code = side.code()
    given = side.send(TOKEN, asked.exchange(code), side.web).json()
    side.token(asked.exchange(code))
    return side.token({"grant_type": "refresh_token", "refresh_token": given["refresh_token"]})


@case
def code_after_a_failing_try(side: Side) -> str:
    asked, code = side.code()
    side.token(asked.exchange(code, code_verifier="w" * 43))
    return side.token(asked.exchange(code))


# -- authorization requests

table(
    "ask",
    {
        name: lambda s, changed=changed, more=more: s.ends(s.asking(**changed), more=more)
        for name, changed, more in [
            ("good", {}, ""),
            ("no_challenge", {"code_challenge": "", "code_challenge_method": ""}, ""),
            ("plain", {"code_challenge_method": "plain"}, ""),
            ("no_method", {"code_challenge_method": ""}, ""),
            ("short_challenge", {"code_challenge": "short"}, ""),
            ("long_challenge", {"code_challenge": "x" * 64}, ""),
            ("other_host", {"redirect_uri": "https://evil.example.com/back"}, ""),
            ("slash", {"redirect_uri": f"{BACK}/"}, ""),
            ("query", {"redirect_uri": f"{BACK}?a=b"}, ""),
            ("case", {"redirect_uri": BACK.upper()}, ""),
            ("fragment", {"redirect_uri": f"{BACK}#x"}, ""),
            ("userinfo", {"redirect_uri": "https://app.example.com@evil.example.com/back"}, ""),
            ("dots", {"redirect_uri": "https://app.example.com/x/../back"}, ""),
            ("http", {"redirect_uri": BACK.replace("https", "http")}, ""),
            ("port", {"redirect_uri": "https://app.example.com:443/back"}, ""),
            ("no_redirect_uri", {"redirect_uri": ""}, ""),
            ("unknown_client", {"client_id": "nobody"}, ""),
            ("no_client", {"client_id": ""}, ""),
            ("no_response_type", {"response_type": ""}, ""),
            ("token", {"response_type": "token"}, ""),
            ("id_token", {"response_type": "id_token"}, ""),
            ("unknown_mode", {"response_mode": "smoke"}, ""),
            ("unknown_scope", {"scope": "openid fly"}, ""),
            ("twice", {}, "&scope=openid"),
            ("state_twice", {}, "&state=other"),
            ("redirect_uri_twice", {}, "&redirect_uri=https%3A%2F%2Fevil.example.com%2F"),
            ("none_and_login", {"prompt": "none login"}, ""),
            ("unknown_prompt", {"prompt": "dance"}, ""),
            ("max_age_in_words", {"max_age": "soon"}, ""),
            ("unknown_request_uri", {}, "&request_uri=urn%3Aietf%3Aparams%3Aoauth%3Arequest_uri%3Anone"),
            ("request_uri_of_the_web", {}, "&request_uri=https%3A%2F%2Fevil.example.com%2Frequest"),
            ("unsigned_request", {}, "&request=eyJhbGciOiJub25lIn0.e30."),
            ("registration", {}, "&registration=%7B%7D"),
            ("unknown_resource", {"resource": "https://other.example.com"}, ""),
            ("unknown_parameter", {}, "&fruit=apple"),
            ("bad_thumbprint", {"dpop_jkt": "short"}, ""),
        ]
    },
)


@case
def ask_silently_as_a_stranger(side: Side) -> str:
    stranger = Person(side.url, "nobody")
    stranger.client = httpx.Client(verify=side.alice.client._transport._pool._ssl_context, trust_env=False)  # type: ignore[attr-defined]
    return side.ends(side.asking(prompt="none"), stranger)


# -- pushed requests


def pushed(side: Side, client: Client, **changed: str) -> httpx.Response:
    asked = side.asking(**changed)
    form = {name: value for name, value in asked.parameters.items() if value}
    return side.send(PAR, {**form, "client_id": client["client_id"]}, client)


table(
    "push",
    {
        "good": lambda s: outcome(pushed(s, s.web)),
        "wrong_secret": lambda s: outcome(pushed(s, {**s.web, "client_secret": "wrong"})),
        "of_a_program": lambda s: outcome(pushed(s, s.program)),
        "other_redirect_uri": lambda s: outcome(pushed(s, s.web, redirect_uri="https://evil.example.com/")),
        "no_challenge": lambda s: outcome(pushed(s, s.web, code_challenge="", code_challenge_method="")),
        "request_uri": lambda s: outcome(pushed(s, s.web, request_uri="urn:ietf:params:oauth:request_uri:x")),
        "no_response_type": lambda s: outcome(pushed(s, s.web, response_type="")),
        "followed": lambda s: s.ends(named(s, s.web)),
        "followed_by_another": lambda s: s.ends(named(s, s.other)),
        "followed_twice": lambda s: twice(s, named(s, s.web)),
    },
)


def named(side: Side, client: Client) -> Asking:
    """A request of `client` by the name of what the web client pushed."""
    asked = side.asking()
    name = pushed(side, side.web).json()["request_uri"]
    asked.parameters = {"client_id": client["client_id"], "request_uri": name}
    return asked


def twice(side: Side, asked: Asking) -> str:
    return f"{side.ends(asked)}, {side.ends(asked)}"


# -- refresh tokens


def refreshed(client: str = "web", **changed: str) -> Callable[[Side], str]:
    def run(side: Side) -> str:
        form = {"grant_type": "refresh_token", "refresh_token": side.tokens()["refresh_token"], **changed}
        return side.token({name: value for name, value in form.items() if value}, getattr(side, client))

    return run


table(
    "refresh",
    {
        "good": refreshed(),
        "less": refreshed(scope="openid"),
        "more": refreshed(scope="openid things.read profile"),
        "of_another": refreshed("other"),
        "unknown": refreshed(refresh_token="unknown"),
        "none": refreshed(refresh_token=""),
        "unknown_resource": refreshed(resource="https://other.example.com"),
    },
)


@case
def refresh_twice(side: Side) -> str:
    form = {"grant_type": "refresh_token", "refresh_token": side.tokens()["refresh_token"]}
    return f"{side.token(form)}, {side.token(form)}"


@case
def refresh_twice_ends_the_family(side: Side) -> str:
    form = {"grant_type": "refresh_token", "refresh_token": side.tokens()["refresh_token"]}
    later = side.send(TOKEN, form, side.web).json()["refresh_token"]
    side.token(form)
    return side.token({"grant_type": "refresh_token", "refresh_token": later})


# -- giving back, looking into

table(
    "revoke",
    {
        "unknown": lambda s: outcome(s.send(REVOKE, {"token": "unknown"}, s.web)),
        "none": lambda s: outcome(s.send(REVOKE, {}, s.web)),
        "without_a_client": lambda s: outcome(s.send(REVOKE, {"token": "x"})),
        "refresh_token": lambda s: given_back(s, "refresh_token"),
        "with_a_wrong_hint": lambda s: given_back(s, "refresh_token", token_type_hint="access_token"),
        "with_an_unknown_hint": lambda s: given_back(s, "refresh_token", token_type_hint="fruit"),
        "of_another": lambda s: outcome(s.send(REVOKE, {"token": s.tokens()["refresh_token"]}, s.other)),
    },
)
table(
    "look",
    {
        "own": lambda s: outcome(s.send(LOOK, {"token": s.tokens()["refresh_token"]}, s.web)),
        "by_another": lambda s: outcome(s.send(LOOK, {"token": s.tokens()["refresh_token"]}, s.other)),
        "nonsense": lambda s: outcome(s.send(LOOK, {"token": "nonsense"}, s.web)),
        "none": lambda s: outcome(s.send(LOOK, {}, s.web)),
        "without_a_client": lambda s: outcome(s.send(LOOK, {"token": "x"})),
        "wrong_secret": lambda s: outcome(s.send(LOOK, {"token": "x"}, {**s.web, "client_secret": "wrong"})),
        "twice": lambda s: outcome(s.send(LOOK, [("token", "x"), ("token", "y")], s.web)),
    },
)


def given_back(side: Side, kind: str, **hint: str) -> str:
    text = side.tokens()[kind]
    said = outcome(side.send(REVOKE, {"token": text, **hint}, side.web))
    return f"{said}, {outcome(side.send(LOOK, {'token': text}, side.web))}"


# -- userinfo

table(
    "userinfo",
    {
        "nothing": lambda s: outcome(s.http.get(s.told[USERINFO])),
        "nonsense": lambda s: outcome(s.http.get(s.told[USERINFO], headers={"authorization": "Bearer nonsense"})),
        "of_a_program": lambda s: outcome(s.http.get(s.told[USERINFO], headers={"authorization": f"Bearer {s.own()}"})),
    },
)

# -- DPoP

table(
    "proof",
    {
        "good": lambda s: s.token(OWN, s.program, dpop=s.proof()),
        "of_another_method": lambda s: s.token(OWN, s.program, dpop=s.proof("GET")),
        "of_another_url": lambda s: s.token(OWN, s.program, dpop=s.proof(url=s.url + "/other")),
        "of_another_host": lambda s: s.token(OWN, s.program, dpop=s.proof(url="https://evil.example.com/oauth/token")),
        "with_a_query": lambda s: s.token(OWN, s.program, dpop=s.proof(url=s.told[TOKEN] + "?a=b")),
        "without_jti": lambda s: s.token(OWN, s.program, dpop=s.proof(jti=None)),
        "without_iat": lambda s: s.token(OWN, s.program, dpop=s.proof(iat=None)),
        "without_htu": lambda s: s.token(OWN, s.program, dpop=s.proof(htu=None)),
        "old": lambda s: s.token(OWN, s.program, dpop=s.proof(iat=int(time.time()) - 3600)),
        "of_the_future": lambda s: s.token(OWN, s.program, dpop=s.proof(iat=int(time.time()) + 3600)),
        "of_another_type": lambda s: s.token(OWN, s.program, dpop=s.proof(header={"typ": "JWT"})),
        "with_another_key": lambda s: s.token(
            OWN, s.program, dpop=s.proof(header={"jwk": ec("another").as_dict(private=False)})
        ),
        "with_a_private_key": lambda s: s.token(
            OWN, s.program, dpop=s.proof(header={"jwk": ec("proof").as_dict(private=True)})
        ),
        "nonsense": lambda s: s.token(OWN, s.program, dpop="nonsense"),
    },
)


@case
def proof_twice(side: Side) -> str:
    proof = side.proof()
    return f"{side.token(OWN, side.program, dpop=proof)}, {side.token(OWN, side.program, dpop=proof)}"


@case
def proof_of_another_key_than_the_code(side: Side) -> str:
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(b"another").digest()).rstrip(b"=").decode()
    asked = side.asking(dpop_jkt=thumbprint)
    code = parameters(side.go(asked))["code"]
    return side.token(asked.exchange(code), dpop=side.proof())


@case
def bound_token_as_a_bearer(side: Side) -> str:
    token = side.tokens(dpop=side.proof())["access_token"]
    return outcome(side.http.get(side.told[USERINFO], headers={"authorization": f"Bearer {token}"}))


# -- devices


def began(side: Side, client: Client, **form: str) -> httpx.Response:
    return side.send(DEVICES, {"client_id": client["client_id"], "scope": "openid things.read", **form}, client)


def polled(client: str = "web", **changed: str) -> Callable[[Side], str]:
    def run(side: Side) -> str:
        form = {"grant_type": DEVICE, "device_code": began(side, side.web).json()["device_code"], **changed}
        return side.token({name: value for name, value in form.items() if value}, getattr(side, client))

    return run


table(
    "device",
    {
        "begins": lambda s: outcome(began(s, s.web)),
        "of_a_program": lambda s: outcome(began(s, s.program)),
        "with_a_wrong_secret": lambda s: outcome(began(s, {**s.web, "client_secret": "wrong"})),
        "waits": polled(),
        "unknown": polled(device_code="unknown"),
        "none": polled(device_code=""),
        "of_another": polled("other"),
        "asked_at_once_again": lambda s: at_once(s),
    },
)


def at_once(side: Side) -> str:
    form = {"grant_type": DEVICE, "device_code": began(side, side.web).json()["device_code"]}
    return f"{side.token(form)}, {side.token(form)}"


# -- what differs: ours, theirs, who is right

NOBODY = "a client that does not authenticate is invalid_client: RFC 6749 section 5.2"
NO_GRANT = "who may not use a grant is unauthorized_client: RFC 6749 section 5.2"
NOT_FITTING = "what does not fit the challenge is invalid_grant, malformed or not: RFC 7636 section 4.6"
FEWER = "both may be done with a scope that is not known: RFC 6749 section 3.3"
UNSURE = "what stands beside a request object counts for nothing, the redirect URI neither: RFC 9101 section 6.3"
BY_NAME = "the redirect URI was pushed, and no name leads to it any more: RFC 9126 section 4"
PROOF = "a proof that is not good is invalid_dpop_proof: RFC 9449 section 5"
PARAMETER = "a parameter with an invalid value is invalid_request: RFC 6749 section 4.1.2.1"

DIFFERENCES: dict[str, tuple[str, str, str]] = {
    "client_nothing": ("401 invalid_client", "400 invalid_request", NOBODY),
    "client_bearer_for_basic": ("401 invalid_client", "400 invalid_request", NOBODY),
    "revoke_without_a_client": ("401 invalid_client", "400 invalid_request", NOBODY),
    "look_without_a_client": ("401 invalid_client", "400 invalid_request", f"{NOBODY}, RFC 7662 section 2.3"),
    "token_grant_of_others": ("400 unauthorized_client", "400 invalid_request", NO_GRANT),
    "push_of_a_program": ("400 unauthorized_client", "400 invalid_request", f"{NO_GRANT}, RFC 9126 section 2.3"),
    "device_of_a_program": ("400 unauthorized_client", "400 invalid_request", f"{NO_GRANT}, RFC 8628 section 3.2"),
    "token_more_scope": ("400 invalid_scope", "200 bearer", FEWER),
    "ask_unknown_scope": ("back invalid_scope", "code", FEWER),
    "code_short_verifier": ("400 invalid_grant", "400 invalid_request", NOT_FITTING),
    "code_verifier_of_other_letters": ("400 invalid_grant", "400 invalid_request", NOT_FITTING),
    "ask_long_challenge": ("back invalid_request", "code", "SHA-256 has 43 letters and no more: RFC 7636 section 4.2"),
    "ask_unknown_mode": ("back invalid_request", "back unsupported_response_mode", PARAMETER),
    "ask_bad_thumbprint": ("back invalid_request", "code", f"{PARAMETER}, RFC 9449 section 10"),
    "ask_redirect_uri_twice": (
        "page",
        "back invalid_request",
        "nobody is sent anywhere where it is not clear which is meant: RFC 6749 section 4.1.2.1",
    ),
    "ask_unknown_request_uri": ("page", "back invalid_request_uri", UNSURE),
    "ask_request_uri_of_the_web": ("page", "back request_uri_not_supported", UNSURE),
    "ask_unsigned_request": ("page", "back request_not_supported", UNSURE),
    "push_followed_by_another": ("page", "back invalid_request_object", BY_NAME),
    "push_followed_twice": ("code, page", "code, back invalid_request_uri", BY_NAME),
    "push_request_uri": (
        "400 invalid_request",
        "400 request_uri_not_supported",
        "it must not be there, whatever else is supported: RFC 9126 section 2.1",
    ),
    "revoke_of_another": (
        "400 invalid_grant",
        "400 invalid_request",
        "refused (RFC 7009 section 2.1); what was issued to another client is invalid_grant: RFC 6749 section 5.2",
    ),
    "look_by_another": (
        "200 inactive",
        "200 active",
        "who may not look into a token learns no more than active: false: RFC 7662 section 2.2",
    ),
    "userinfo_nothing": ("401", "401 invalid_token", "no error code where nothing was presented: RFC 6750 section 3.1"),
    "userinfo_of_a_program": (
        "403 insufficient_scope",
        "401 invalid_token",
        "the token is good and of too little: RFC 6750 section 3.1",
    ),
    "proof_twice": ("200 dpop, 400 invalid_dpop_proof", "200 dpop, 400 invalid_grant", PROOF),
    "proof_of_another_key_than_the_code": ("400 invalid_dpop_proof", "400 invalid_grant", f"{PROOF} and section 10"),
    "device_asked_at_once_again": (
        "400 authorization_pending, 400 slow_down",
        "400 authorization_pending, 400 authorization_pending",
        "who polls too fast is told slow_down: RFC 8628 section 3.5",
    ),
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    with running(tmp_path_factory.mktemp("oracle")) as desk:
        started = time.monotonic()
        alice = desk.person("alice")
        side = Side(desk.url, our_clients(desk), lambda: alice, desk.context())
        settled(started)
        yield side
        side.http.close()


PEOPLE = ("authorization_code", "refresh_token", DEVICE)


def our_clients(desk: Desk) -> dict[str, Client]:
    scopes = ("--scope", "openid", "--scope", "things.read", "--redirect-uri", BACK)
    people = [word for grant in PEOPLE for word in ("--grant", grant)]
    return {
        "web": desk.client("web", *people, *scopes),
        "other": desk.client("other", *people, *scopes),
        "program": desk.client("program", "--role", "caller", "--scope", "things.read"),
    }


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    port = free_port()
    url = f"http://localhost:{port}"
    secret = "a secret of a test, long enough for all"
    shared = {"client_secret": secret, "redirect_uris": [BACK], "response_types": ["code"]}
    clients = {
        "web": {**shared, "client_id": "web", "grant_types": list(PEOPLE)},
        "other": {**shared, "client_id": "other", "grant_types": list(PEOPLE)},
        "program": {
            **shared,
            "client_id": "program",
            "grant_types": ["client_credentials"],
            "redirect_uris": [],
            "response_types": [],
        },
    }
    given = {
        "port": port,
        "clients": list(clients.values()),
        "resource": "https://api.example.com",
        "scope": "things.read",
    }
    folder = tmp_path_factory.mktemp("theirs")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["node", "oracle.mjs", json.dumps(given)], stdout=log, stderr=log, cwd=prepared(folder), env=environment()
        ) as process,
    ):
        try:
            assert eventually(lambda: b"ready" in (folder / "log").read_bytes(), timeout=30), (
                folder / "log"
            ).read_text()
            side = Side(url, clients, lambda: Person(url, "alice"), False)
            yield side
            side.http.close()
        finally:
            process.kill()


@pytest.mark.parametrize("name", CASES)
def test_both_answer_alike(ours: Side, theirs: Side, name: str) -> None:
    found = (CASES[name](ours), CASES[name](theirs))
    if name in DIFFERENCES:
        assert found == DIFFERENCES[name][:2]
    else:
        assert found[0] == found[1]


def test_every_difference_is_one_and_has_its_clause() -> None:
    for name, (ours, theirs, why) in DIFFERENCES.items():
        assert name in CASES
        assert ours != theirs, name
        assert re.search(r"RFC \d{4}|OAuth 2\.1|OpenID Connect", why), name
