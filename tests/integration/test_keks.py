"""Key-encryption keys that never come here: in a PKCS#11 token, and behind a transit engine (see `vault.py`)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.config import Pkcs11Source, TransitSource
from interlock.errors import KeyMaterialError
from interlock.keys import KekUnavailable, Keyring
from interlock.keys.pkcs11 import Pkcs11Kek
from interlock.keys.transit import TransitKek
from tests.integration.tokens import PIN, Token
from tests.integration.vault import Vault

pytestmark = pytest.mark.integration
SECRET, ABOUT = b"d" * 32, b"what it is for"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    token = Token(tmp_path_factory.mktemp("token"))
    token.make_key("kek-1")
    token.make_key("kek-2")
    former = os.environ.get("SOFTHSM2_CONF")
    os.environ.update(token.environment)
    yield token
    if former is None:
        del os.environ["SOFTHSM2_CONF"]


def in_token(at_hand: Token, **other: object) -> Pkcs11Kek:
    at = {
        "module": str(at_hand.module),
        "token": at_hand.label,
        "key": "kek-1",
        "pin": f"${{file:{at_hand.pin}}}",
        **other,
    }
    return Pkcs11Kek(Pkcs11Source.model_validate({"pkcs11": at}))


def test_a_token_wraps_and_opens(token: Token) -> None:
    kek = in_token(token)
    assert kek.id == "pkcs11:interlock/kek-1"
    wrapped = kek.wrap(SECRET, ABOUT)
    assert SECRET not in wrapped
    assert wrapped != kek.wrap(SECRET, ABOUT)
    assert kek.unwrap(wrapped, ABOUT) == SECRET
    others = [
        (kek, wrapped, b"something else"),
        (kek, wrapped[:-1], ABOUT),
        (kek, wrapped[:20], ABOUT),
        (kek, b"", ABOUT),
        (kek, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), ABOUT),
        (in_token(token, key="kek-2"), wrapped, ABOUT),
    ]
    for other, altered, about in others:
        with pytest.raises(KeyMaterialError) as caught:
            other.unwrap(altered, about)
        assert not isinstance(caught.value, KekUnavailable)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"token": "another"}, "no token of that label"),
        ({"key": "another"}, "no AES key of that label"),
        ({"module": "/nowhere.so"}, "/nowhere.so"),
    ],
)
def test_what_is_wrong_with_a_token_is_said(token: Token, other: dict[str, object], message: str) -> None:
    with pytest.raises(KekUnavailable, match=message):
        in_token(token, **other).wrap(SECRET, ABOUT)


def test_a_wrong_pin_is_said_and_never_shown(token: Token, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("555123")
    kek = in_token(token, pin=f"${{file:{tmp_path / 'pin'}}}")
    with pytest.raises(KekUnavailable, match=r"the PIN in .*pin.* is wrong") as caught:
        kek.wrap(SECRET, ABOUT)
    assert "555123" not in f"{caught.value!r} {kek!r} {kek.__dict__}"
    assert PIN not in repr(in_token(token).__dict__)


def test_a_keyring_in_a_token(token: Token, tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys", in_token(token))
    ring.ensure()
    lookup = ring.lookup_key
    ring.rewrap(in_token(token, key="kek-2"))
    assert Keyring(tmp_path / "keys", in_token(token, key="kek-2")).lookup_key == lookup
    with pytest.raises(KeyMaterialError, match=r"another KEK \(pkcs11:interlock/kek-2\)"):
        Keyring(tmp_path / "keys", in_token(token)).open("lookup")


def test_without_the_library_the_extra_is_named(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(KekUnavailable, match=r"interlock\[pkcs11\]"):
        in_token(token).wrap(SECRET, ABOUT)


def test_the_supervisor_never_loads_it() -> None:
    """PKCS#11 does not survive a fork: what is imported before it must not have it."""
    code = "import sys, interlock.supervisor, interlock.keys, interlock.config; sys.exit('pkcs11' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "vault")
    vault.make_key("interlock")
    yield vault
    vault.close()


def in_vault(vault: Vault, patience: float = 5, **other: object) -> TransitKek:
    at = {
        "url": vault.url,
        "key": "interlock",
        "token": f"${{file:{vault.token_file}}}",
        "ca": str(vault.ca),
        "timeout": "2s",
        **other,
    }
    return TransitKek(TransitSource.model_validate({"transit": at}), patience=patience, sleep=lambda _: None)


def test_a_transit_engine_wraps_and_opens(vault: Vault) -> None:
    kek = in_vault(vault)
    assert kek.id == "transit:transit/interlock"
    wrapped = kek.wrap(SECRET, ABOUT)
    assert wrapped.startswith(b"vault:v1:")
    assert kek.unwrap(wrapped, ABOUT) == SECRET
    vault.rotate("interlock")
    assert kek.wrap(SECRET, ABOUT).startswith(b"vault:v2:")
    assert kek.unwrap(wrapped, ABOUT) == SECRET
    for altered, about in [(wrapped, b"something else"), (wrapped[:-6], ABOUT), (b"", ABOUT), (b"\xff", ABOUT)]:
        with pytest.raises(KeyMaterialError) as caught:
            kek.unwrap(altered, about)
        assert not isinstance(caught.value, KekUnavailable)


def test_a_sealed_server_is_waited_for(vault: Vault) -> None:
    vault.sealed = 3
    assert in_vault(vault).wrap(SECRET, ABOUT)
    assert len(vault.asked) == 4
    vault.sealed = 10**6
    with pytest.raises(KekUnavailable, match=r"does not serve now.*sealed"):
        in_vault(vault, patience=0.3).wrap(SECRET, ABOUT)


def test_a_refused_token_is_not_tried_again_and_never_shown(vault: Vault) -> None:
    vault.token_file.write_text("hvs.not-the-right-one")
    kek = in_vault(vault)
    with pytest.raises(KekUnavailable, match=r"not accepted.*permission denied") as caught:
        kek.wrap(SECRET, ABOUT)
    assert len(vault.asked) == 1
    assert "hvs." not in f"{caught.value!r} {kek!r} {kek.__dict__}"
    vault.token_file.write_text("two\nlines")
    with pytest.raises(KekUnavailable, match="is no token"):
        kek.wrap(SECRET, ABOUT)


def test_a_token_that_was_renewed_is_taken(vault: Vault) -> None:
    kek = in_vault(vault, namespace="team")
    kek.wrap(SECRET, ABOUT)
    vault.token = "hvs.the-next"
    vault.token_file.write_text(vault.token)
    kek.wrap(SECRET, ABOUT)
    assert [fields["x-vault-token"] for _, fields in vault.asked][1] == "hvs.the-next"
    assert vault.asked[0][1]["x-vault-namespace"] == "team"


def test_what_is_wrong_with_a_server_is_said(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(KekUnavailable, match="status 404"):
        in_vault(vault, mount="elsewhere").wrap(SECRET, ABOUT)
    with pytest.raises(KekUnavailable, match="key not found"):
        in_vault(vault, key="another").wrap(SECRET, ABOUT)
    with pytest.raises(KekUnavailable, match="cannot be trusted"):
        in_vault(vault, ca=None).wrap(SECRET, ABOUT)
    vault.close()
    with pytest.raises(KekUnavailable, match="does not answer"):
        in_vault(vault, patience=0.3).wrap(SECRET, ABOUT)


def test_a_keyring_in_a_transit_engine(vault: Vault, tmp_path: Path) -> None:
    vault.make_key("next")
    ring = Keyring(tmp_path / "keys", in_vault(vault))
    ring.ensure()
    lookup = ring.lookup_key
    vault.rotate("interlock")
    assert ring.rewrap(in_vault(vault), again=True) == len(list(ring.folder.glob("*.sealed")))
    assert b"vault:v2" not in (tmp_path / "keys" / "lookup.sealed").read_bytes()  # base64 of it
    ring.rewrap(in_vault(vault, key="next"))
    del vault.keys["interlock"]
    assert Keyring(tmp_path / "keys", in_vault(vault, key="next")).lookup_key == lookup
