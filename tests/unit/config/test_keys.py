"""The section `keys`: the forms of a KEK, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.config import Pkcs11Source, SecretRef, TransitSource, parse, plan, schema
from interlock.errors import ConfigError
from tests.unit.config.files import SMALL

TOKEN = '{pkcs11: {module: soft.so, token: interlock, key: kek, pin: "${file:pin}"}}'
SERVER = '{transit: {url: "https://vault.example.com:8200", key: interlock, token: "${env:VAULT_TOKEN}"}}'


def text(kek: str, former: str = "") -> str:
    return SMALL.replace(
        "version: 1\n", f"version: 1\nkeys:\n  kek: {kek}\n" + (former and f"  former_kek: {former}\n")
    )


def test_a_token(tmp_path: Path) -> None:
    config = parse(text(TOKEN).encode(), tmp_path / "interlock.yaml")
    kek = config.keys.kek
    assert isinstance(kek, Pkcs11Source)
    assert kek.pkcs11.module == tmp_path / "soft.so"
    assert kek.pkcs11.pin == SecretRef("file", str(tmp_path / "pin"))
    assert str(kek) == "pkcs11:interlock/kek"
    assert {warning.where for warning in config.warnings} == {"keys.kek.pkcs11.module", "keys.kek.pkcs11.pin"} | {
        "identity.issuers[0].jwks"
    }


def test_a_server_beside_the_former_file(tmp_path: Path) -> None:
    keys = parse(text(SERVER, '"${file:kek}"').encode(), tmp_path / "interlock.yaml").keys
    assert isinstance(keys.kek, TransitSource)
    assert (keys.kek.transit.mount, keys.kek.transit.timeout) == ("transit", 5 * 10**9)
    assert str(keys.kek) == "transit:transit/interlock"
    assert keys.former_kek == SecretRef("file", str(tmp_path / "kek"))


@pytest.mark.parametrize(
    ("kek", "line", "where", "message"),
    [
        ("{vault: x}", 3, "keys.kek", "neither a reference nor a token nor a server"),
        ("{}", 3, "keys.kek", "neither a reference nor a token nor a server"),
        ("[a]", 3, "keys.kek", "must be a reference"),
        (TOKEN.replace("token: interlock, ", ""), 3, "keys.kek.pkcs11.token", "is missing"),
        (TOKEN.replace('"${file:pin}"', '"83021746"'), 3, "keys.kek.pkcs11.pin", "must be a reference"),
        (TOKEN.replace("key: kek", "kye: kek"), 3, "keys.kek.pkcs11.kye", "not a key that belongs here"),
        (SERVER.replace('"${env:VAULT_TOKEN}"', "hvs.83021746"), 3, "keys.kek.transit.token", "must be a reference"),
        (SERVER.replace("https:", "http:"), 3, "keys.kek.transit.url", "https"),
        (SERVER.replace("key: interlock", "key: ../sys"), 3, "keys.kek.transit.key", "characters"),
        (SERVER[:-2] + ", timeout: 1h}}", 3, "keys.kek.transit.timeout", "from 100ms to 1m"),
    ],
)
def test_faults_have_their_place_and_show_no_secret(
    kek: str, line: int, where: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text(kek).encode(), tmp_path / "interlock.yaml")
    found = {problem.where: problem for problem in caught.value.problems}
    assert found[where].line == line
    assert message in found[where].message
    assert "83021746" not in str(caught.value)


def test_the_former_one_is_another_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same as `kek`"):
        parse(text(SERVER, SERVER).encode(), tmp_path / "interlock.yaml")


def test_a_change_is_said_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "interlock.yaml"
    (change,) = plan(parse(text('"${file:kek}"').encode(), file), parse(text(TOKEN, '"${file:kek}"').encode(), file))
    assert change.where == "keys"
    assert "${file:" in change.summary
    assert "interlock" in change.summary


def test_the_schema_knows_the_forms() -> None:
    forms = schema()["$defs"]
    assert set(forms["Pkcs11"]["required"]) == {"module", "token", "key", "pin"}
    assert set(forms["Transit"]["required"]) == {"url", "key", "token"}
