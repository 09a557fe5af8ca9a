"""Rich authorization requests, RFC 9396: what the file does not know is not asked for, and routes can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock.errors import ConfigError
from interlock.issuer import details
from interlock.issuer.errors import OAuthError
from interlock.model import Identity, Reason
from interlock.policy.condition import compile_condition
from interlock.policy.facts import CallFacts
from tests.unit.issuer.desk import URL, Desk, claims_of, told

PAY = {
    "payment_initiation": {
        "about": "Pay from your account",
        "fields": {
            "amount": {"kind": "object", "required": True, "fields": {"currency": "text", "value": "number"}},
            "creditor": {"kind": "text", "required": True},
            "actions": {"kind": "texts", "values": ["initiate", "status"]},
            "locations": "texts",
            "urgent": "boolean",
        },
    },
    "accounts": {"fields": {"iban": "text"}},
}
GOOD = {
    "type": "payment_initiation",
    "amount": {"currency": "EUR", "value": 10.5},
    "creditor": "Bob",
    "actions": ["initiate"],
    "locations": [URL],
    "urgent": True,
}


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path, details=PAY, resources=["https://other.example"])
    made.client(authorization_details_types=("payment_initiation",))
    yield made
    made.state.close()


def asked(desk: Desk, value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return told(desk.token(grant_type="client_credentials", authorization_details=text))


def test_details_are_in_the_answer_the_token_and_introspection(desk: Desk) -> None:
    body = asked(desk, [GOOD])
    assert body["authorization_details"] == [GOOD]
    assert claims_of(body["access_token"])["authorization_details"] == [GOOD]
    form = {"token": body["access_token"]}
    found = told(desk.send("POST", "/oauth/introspect", form=form, basic=("billing", "ils_secret-of-the-client")))
    assert found["authorization_details"] == [GOOD]


def test_a_route_decides_by_them(desk: Desk) -> None:
    token = asked(desk, [GOOD])["access_token"]
    identity = desk.verifier([URL]).verify(token.encode(), desk.clock.wall())
    assert isinstance(identity, Identity)
    facts = CallFacts(method="POST", path="/pay", host="", source="192.0.2.1", params={"to": "Bob"}, now_ns=0)
    pays = (
        'claims.authorization_details.exists(d, d.type == "payment_initiation" && d.creditor == request.params.to'
        " && d.amount.value < 100.0)"
    )
    holds = compile_condition(pays)
    assert holds(identity, facts) is None
    other = msgspec.structs.replace(facts, params={"to": "Eve"})
    refusal = holds(identity, other)
    assert refusal is not None
    assert refusal.reason is Reason.CONDITION_FALSE
    plain = desk.verifier([URL]).verify(
        told(desk.token(grant_type="client_credentials"))["access_token"].encode(), desk.clock.wall()
    )
    assert isinstance(plain, Identity)
    without = holds(plain, facts)
    assert without is not None, "a token without any does not pass"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [1],
        ["payment_initiation"],
        [{}],
        [{"type": 1}],
        [{"type": "unknown"}],
        [{"type": "accounts", "iban": "DE1"}],  # the file has it, the client does not
        [{**GOOD, "extra": 1}],
        [{name: value for name, value in GOOD.items() if name != "creditor"}],
        [{**GOOD, "creditor": 1}],
        [{**GOOD, "creditor": "x" * 1025}],
        [{**GOOD, "creditor": "Bob\u0000"}],
        [{**GOOD, "creditor": "Bob\n"}],
        [{**GOOD, "amount": "10"}],
        [{**GOOD, "amount": {"currency": "EUR", "value": True}}],
        [{**GOOD, "amount": {"currency": "EUR", "tip": 1}}],
        [{**GOOD, "actions": "initiate"}],
        [{**GOOD, "actions": ["initiate", "cancel"]}],
        [{**GOOD, "urgent": "yes"}],
        [{**GOOD, "urgent": None}],
        [{**GOOD, "locations": ["https://other.example"]}],
        [{**GOOD, "locations": [URL, "https://evil.example"]}],
        [GOOD] * 17,
        "nonsense",
        '[{"type":"payment_initiation","type":"accounts"}]',
        msgspec.json.encode([GOOD]).decode() + ',"x":1',
        "NaN",
        "[" * 40 + "]" * 40,
        '[{"type":"\\ud800"}]',
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(desk: Desk, value: Any) -> None:
    assert asked(desk, value)["error"] == "invalid_authorization_details"


def test_a_client_that_registered_itself_has_nobodys_word(desk: Desk) -> None:
    desk.client("self", registration=b"h" * 32, scopes=("ledger",), authorization_details_types=("payment_initiation",))
    answer = told(desk.token("self", grant_type="client_credentials"))
    assert "scope" not in answer
    assert told(desk.token("self", grant_type="client_credentials", scope="ledger"))["error"] == "invalid_scope"
    text = msgspec.json.encode([GOOD]).decode()
    refused = told(desk.token("self", grant_type="client_credentials", authorization_details=text))
    assert refused["error"] == "invalid_authorization_details"


def test_the_validator_for_other_endpoints(desk: Desk) -> None:
    client = desk.clients.get("billing")
    assert details.validate(desk.issuer, client, None) == ()
    assert details.validate_value(desk.issuer, client, [GOOD]) == (GOOD,)
    assert desk.issuer.details(client, msgspec.json.encode([GOOD]).decode()) == (GOOD,)
    with pytest.raises(OAuthError):
        details.validate_value(desk.issuer, client, [{**GOOD, "x": 1}])


def test_the_metadata_names_the_types(desk: Desk) -> None:
    found = told(desk.send("GET", "/.well-known/oauth-authorization-server"))
    assert found["authorization_details_types_supported"] == ["accounts", "payment_initiation"]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "text"},
        {"a": "words"},
        {"a": {"kind": "object"}},
        {"a": {"kind": "text", "fields": {"b": "text"}}},
        {"a": {"kind": "number", "values": ["1"]}},
        {"a b": "text"},
        {"a": {"kind": "text", "default": "x"}},
    ],
    ids=str,
)
def test_a_type_that_makes_no_sense_is_refused(tmp_path: Path, fields: Any) -> None:
    with pytest.raises((ValueError, ConfigError)):
        Desk(tmp_path, details={"x": {"fields": fields}})
