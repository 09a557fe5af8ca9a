"""Browsers in which somebody signed in before, so that others cannot lock that person out of them.

    cookie   base64url of 16 random bytes | 16 bytes of a keyed hash over them, the account and its password's date

Nothing is kept here: who has the cookie has it because a sign-in was completed. It proves nothing and opens nothing;
failures with it are counted apart from those of strangers. With another password all of them are void.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Final

from interlock.keys import FactorKey
from interlock.store.accounts import Account

SECONDS: Final = 180 * 86_400
_HALF: Final = 16


def make(key: FactorKey, account: Account) -> str:
    """The cookie's value."""
    number = secrets.token_bytes(_HALF)
    return base64.urlsafe_b64encode(number + _seal(key, account, number)).rstrip(b"=").decode("ascii")


def known(key: FactorKey, account: Account, cookie: str) -> bytes:
    """What the browser is counted under; empty if this account did not sign in there."""
    try:
        value = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
    except ValueError:
        return b""
    number, seal = value[:_HALF], value[_HALF:]
    return number if hmac.compare_digest(_seal(key, account, number), seal) else b""


def _seal(key: FactorKey, account: Account, number: bytes) -> bytes:
    return key.hash("device", f"{account.id}\0{account.changed}\0".encode() + number)[:_HALF]
