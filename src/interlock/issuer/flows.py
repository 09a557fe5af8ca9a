"""Where somebody is in signing in, held by the browser itself, sealed.

Nothing is kept here for who has not signed in, so nobody can fill it or push anybody out. What a page carries along
(`t`) is bound to the cookie of the sign-in: the same text in another browser is nothing, and with another cookie,
which is set when the sign-in is completed, all texts of before are nothing.

A text can be sent again within its time. Whatever must happen once is kept elsewhere: passwords and codes are counted,
steps of TOTP and recovery codes are used up, and so is a challenge (`SignIns.spend`).
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import Final
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.clock import SECOND
from interlock.issuer.outside import Attempt
from interlock.keys import FactorKey

FIELD: Final = "t"
LONGEST: Final = 6000  # characters
WHOLE: Final = 30 * 60 * SECOND  # from the beginning to the end
HALF: Final = 10 * 60 * SECOND  # from the first factor to the end
CHALLENGE: Final = 5 * 60 * SECOND
_NONCE: Final = 12
_ABOUT: Final = b"interlock flow 1"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")

# Where a sign-in may lead. A flow names one of these, never a URL.
GOES: Final = {
    "authorize": "/oauth/authorize/continue",
    "device": "/oauth/device/continue",
    "account": "/oauth/account",
}


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sign-in is for, and what it must reach."""

    flow: str = ""  # the id that whoever asked finds its own things under: appended to the path as `?flow=`
    go: str = "authorize"  # of `GOES`
    client: str = ""  # the name of who asked, to be shown
    acr_values: tuple[str, ...] = ()  # any of them (OpenID Connect Core section 3.1.2.1)
    max_age: int | None = None  # seconds
    login: bool = False  # whoever is signed in is asked again (`prompt=login`)
    since: int = 0  # wall ns: when it was asked for, so that a sign-in after it is one for it
    hint: str = ""  # a name to begin with
    targets: tuple[str, ...] = ()  # where the last redirect may lead, as sources of CSP's `form-action`
    enrol: str = ""  # of the account's own page: a factor to be added
    password: bool = False  # of the account's own page: another password is to be chosen


class Flow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where somebody is."""

    asked: Asked
    begun: int  # wall ns
    account: str = ""
    changed: int = 0  # of the account's password when it was proved
    proved: tuple[str, ...] = ()  # see `levels.py`
    at: int = 0  # when the first was
    invitation: bytes = b""  # keyed hash of the code somebody came with
    seed: bytes = b""  # of TOTP, until it is confirmed
    challenge: bytes = b""
    challenged: int = 0
    enrolled: bool = False  # what `asked.enrol` wants was done
    chosen: bool = False  # what `asked.password` wants was done
    saying: str = ""  # what the next page says first
    attempt: Attempt | None = None  # at an outside provider
    session: str = ""  # the `sid` of the session that stands for what was proved: it is good no longer than that
    link: str = ""  # the account that is signed in and is to be linked to it

    def over(self, now: int) -> bool:
        """Whether it took too long."""
        return not 0 <= now - self.begun < WHOLE or bool(self.at and not 0 <= now - self.at < HALF)

    def __repr__(self) -> str:
        return f"Flow(account={self.account!r}, proved={self.proved!r})"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Flow).decode


class Flows:
    """Seals and opens them."""

    def __init__(self, key: FactorKey) -> None:
        self._key = key.derive("flows")

    def seal(self, flow: Flow, cookie: str) -> str:
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._aead(cookie).encrypt(nonce, _encode(flow), _ABOUT)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def open(self, text: str, cookie: str) -> Flow | None:
        """None for what was not sealed for this cookie. Its time is for the caller to look at."""
        if not cookie or not text or len(text) > LONGEST or not text.isascii():
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return _decode(self._aead(cookie).decrypt(sealed[:_NONCE], sealed[_NONCE:], _ABOUT))
        except (ValueError, InvalidTag, msgspec.MsgspecError):
            return None

    def _aead(self, cookie: str) -> AESGCM:
        """A key for each cookie, so that nonces need not differ among all browsers there are."""
        return AESGCM(hmac.digest(self._key, cookie.encode(), "sha256"))


def form_target(uri: str) -> str:
    """A redirect URI as a source of `form-action` (CSP 3 section 2.3.1): its origin, or its scheme where it has none.

    Chromium applies `form-action` to the redirects that follow a form. Empty for what cannot stand there.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if not _SCHEME.fullmatch(parts.scheme):
        return ""
    if parts.scheme not in ("http", "https") or ":" in host:  # an app's own; an IPv6 address, which CSP cannot name
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "") if _HOST.fullmatch(host) else ""
