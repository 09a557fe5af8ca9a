"""`cnf`: what binds a token, and that an unknown binding is not taken for none."""

from __future__ import annotations

from typing import Any

import pytest

from interlock.jose import Confirmation, TokenRefused, confirmation
from interlock.model import Reason
from tests.unit.jose.material import b64


def test_unbound() -> None:
    assert confirmation({}).certificate == b""


def test_bound_to_a_certificate() -> None:
    assert confirmation({"cnf": {"x5t#S256": b64(b"f" * 32)}}) == Confirmation(certificate=b"f" * 32)


def test_bound_to_a_key() -> None:
    assert confirmation({"cnf": {"jkt": b64(b"k" * 32)}}) == Confirmation(key=b"k" * 32)


def test_bound_to_both() -> None:
    both = {"cnf": {"jkt": b64(b"k" * 32), "x5t#S256": b64(b"f" * 32)}}
    assert confirmation(both) == Confirmation(b"f" * 32, b"k" * 32)


@pytest.mark.parametrize(
    "cnf",
    [
        None,
        {},
        "x",
        [],
        False,
        {"jkt": "abc"},
        {"jwk": {}},
        {"x5t#S256": b64(b"f" * 32), "jkt": "abc"},
        {"x5t#S256": "abc", "jkt": b64(b"k" * 32)},
        {"x5t#S256": b64(b"f" * 32), "jkt": None},
        {"jkt": b64(b"k" * 32), "jwk": {}},
        {"jkt": b64(b"k" * 33)},
        {"jkt": ""},
        {"x5t#S256": ""},
        {"x5t#S256": b64(b"f" * 31)},
        {"x5t#S256": b64(b"f" * 32) + "="},
        {"x5t#S256": None},
        {"x5t#S256": "\u00e9" * 43},
        {"x5t": b64(b"f" * 20)},
    ],
)
def test_what_is_not_understood_is_refused(cnf: Any) -> None:
    with pytest.raises(TokenRefused) as caught:
        confirmation({"cnf": cnf})
    assert caught.value.reason is Reason.TOKEN_BINDING
