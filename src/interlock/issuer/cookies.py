"""The cookies of people's browsers.

Over https each has the prefix `__Host-` (RFC 6265bis section 4.1.3.2): no subdomain and no plain http can plant one.
Over http, which is taken on loopback only, browsers refuse that prefix and the plain name is used.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from interlock.issuer.http import Request

SESSION: Final = "session"  # who is signed in
SIGNIN: Final = "signin"  # who is about to sign in: what forms and flows are bound to
DEVICE: Final = "device"  # where an account signed in before
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


class Cookies:
    """How one issuer names and sets them."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure

    def name(self, kind: str) -> str:
        return f"__Host-interlock-{kind}" if self._secure else f"interlock-{kind}"

    def get(self, request: Request, kind: str) -> str:
        """Its value; empty if there is none, or none that we made."""
        value = request.cookies.get(self.name(kind), "")
        return value if _VALUE.fullmatch(value) else ""

    def set(self, kind: str, value: str, *, seconds: int = 0) -> tuple[str, str]:
        """The header field; 0 seconds: until the browser is closed."""
        age = f"; Max-Age={seconds}" if seconds else ""
        return ("set-cookie", f"{self.name(kind)}={value}; Path=/{age}; {self._attributes()}")

    def clear(self, kind: str) -> tuple[str, str]:
        return ("set-cookie", f"{self.name(kind)}=; Path=/; Max-Age=0; {self._attributes()}")

    def _attributes(self) -> str:
        return "Secure; HttpOnly; SameSite=Lax" if self._secure else "HttpOnly; SameSite=Lax"
