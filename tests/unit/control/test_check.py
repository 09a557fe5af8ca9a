"""What is wrong with what a file names: conditions, certificates, key sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlock.cli.tour.issuer import Issuer, Partner
from interlock.control.check import check_file

REST = """\
services:
  up: {upstreams: [http://127.0.0.1:9000]}
routes:
  - {match: GET /a, service: up, allow: public, limit: none}
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "interlock.yaml"
    path.write_text("version: 1\n" + text)
    found, _ = check_file(path)
    return [str(problem).replace(str(tmp_path) + "/", "") for problem in found]


def listener(tls: str) -> str:
    return f"listeners:\n  - {{address: 127.0.0.1:8443, tls: {tls}}}\n{REST}"


def test_a_condition_that_does_not_compile(tmp_path: Path) -> None:
    text = listener("off").replace("allow: public", "authenticate: [api_key], allow: {when: 'request.hour >'}")
    (found,) = problems(tmp_path, text)
    assert found.startswith("interlock.yaml:7: routes[0].allow.when: ")


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("nothing")
    (tmp_path / "k.pem").write_text("nothing")
    (found,) = problems(tmp_path, listener("{certificate: c.pem, key: k.pem}"))
    assert "listeners[0].tls.certificate" in found
    assert "are not a certificate and its key" in found


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    partner = Partner(tmp_path)
    good = f"{{certificate: {partner.certificate_file.name}, key: {partner.certificate_file.name}}}"
    assert problems(tmp_path, listener(good)) == []
    bad = f"{{certificate: {partner.ca_file.name}, key: {partner.certificate_file.name}}}"
    (found,) = problems(tmp_path, listener(bad))
    assert "MISMATCH" in found.upper()


@pytest.mark.parametrize("contents", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_bundle_without_certificates(tmp_path: Path, contents: str) -> None:
    (tmp_path / "partners.pem").write_text(contents)
    text = "trust:\n  partners: {ca: partners.pem, principal: san-uri}\n" + listener("off")
    (found,) = problems(tmp_path, text)
    assert "trust.partners.ca" in found


def issuer_with(keys: str, tmp_path: Path) -> str:
    (tmp_path / "jwks.json").write_text(keys)
    return listener("off") + (
        "identity:\n  issuers:\n"
        "    - {issuer: https://iss.example, audience: a, algorithms: [RS256], jwks: jwks.json}\n"
    )


def test_a_key_set_that_is_none(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, issuer_with("[]", tmp_path))
    assert "identity.issuers[0].jwks" in found


def test_a_good_and_an_empty_key_set(tmp_path: Path) -> None:
    assert problems(tmp_path, issuer_with(Issuer().jwks(), tmp_path)) == []
    assert problems(tmp_path, issuer_with(json.dumps({"keys": []}), tmp_path)) == []
    _, warnings = check_file(tmp_path / "interlock.yaml")
    assert any("no key that verifies" in str(warning) for warning in warnings)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "partners.pem").write_text("nothing")
    text = "trust:\n  partners: {ca: partners.pem, principal: san-uri}\n" + issuer_with("[]", tmp_path)
    text = text.replace("allow: public", "authenticate: [jwt], allow: {when: 'a +'}")
    assert len(problems(tmp_path, text)) == 3


def test_checking_writes_nothing(tmp_path: Path) -> None:
    problems(tmp_path, listener("auto"))
    assert [path.name for path in tmp_path.iterdir()] == ["interlock.yaml"]
