"""The issuer's other name, where certificates are shown (RFC 8705 section 5): for programs, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import OwnIssuer
from interlock.control.issuer_routes import issuer_routes
from tests.unit.issuer.desk import URL, Desk, told

PLACE = "https://mtls.example.com:8444"
METADATA = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")


@pytest.mark.parametrize("document", METADATA)
def test_the_metadata_names_it_for_what_programs_call(tmp_path: Path, document: str) -> None:
    desk = Desk(tmp_path, mtls_url=PLACE, registration="token")
    found = told(desk.send("GET", document))
    assert found["mtls_endpoint_aliases"] == {
        "token_endpoint": f"{PLACE}/oauth/token",
        "pushed_authorization_request_endpoint": f"{PLACE}/oauth/par",
        "revocation_endpoint": f"{PLACE}/oauth/revoke",
        "introspection_endpoint": f"{PLACE}/oauth/introspect",
        "userinfo_endpoint": f"{PLACE}/oauth/userinfo",
        "device_authorization_endpoint": f"{PLACE}/oauth/device_authorization",
        "registration_endpoint": f"{PLACE}/oauth/register",
    }
    assert found["issuer"] == URL
    assert found["token_endpoint"] == f"{URL}/oauth/token"
    desk.state.close()


@pytest.mark.parametrize("document", METADATA)
def test_without_it_there_are_none(desk: Desk, document: str) -> None:
    assert "mtls_endpoint_aliases" not in told(desk.send("GET", document))


def test_what_is_not_offered_has_no_other_name(tmp_path: Path) -> None:
    desk = Desk(tmp_path, mtls_url=PLACE)
    assert "registration_endpoint" not in told(desk.send("GET", METADATA[0]))["mtls_endpoint_aliases"]
    desk.state.close()


def test_beneath_a_path_it_has_the_path_too(tmp_path: Path) -> None:
    tenant = Desk(tmp_path)
    tenant.issuer.settings = OwnIssuer.model_validate({"url": f"{URL}/tenant", "mtls_url": f"{PLACE}/tenant"})
    found = told(tenant.send("GET", METADATA[0]))["mtls_endpoint_aliases"]
    assert found["token_endpoint"] == f"{PLACE}/tenant/oauth/token"
    tenant.state.close()


def test_workers_serve_there_what_programs_call_and_no_page() -> None:
    settings = OwnIssuer.model_validate({"url": URL, "mtls_url": PLACE})
    there = {
        "/".join(pattern.segments)
        for route in issuer_routes(settings)
        for pattern in route.patterns
        if pattern.host == "mtls.example.com"
    }
    programs = ("token", "introspect", "revoke", "par", "device_authorization", "register", "userinfo")
    assert there == {"oauth/register/{client_id}", *(f"oauth/{name}" for name in programs)}
