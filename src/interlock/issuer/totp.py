"""Codes that change with the time (RFC 6238 over RFC 4226), as authenticator apps make them.

Six digits of HMAC-SHA-1, every 30 seconds: what all apps know; the strength is in the seed of 160 bits and in how
few tries there are. A step is accepted once (section 5.2), and one step before or after the present one, for clocks
that differ.
"""

from __future__ import annotations

import base64
import hmac
import io
import secrets
import unicodedata
from typing import Final
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from interlock.clock import SECOND

SEED: Final = 20  # bytes: RFC 4226 section 4, R6
DIGITS: Final = 6
STEP: Final = 30  # seconds
WINDOW: Final = 1  # steps to either side


def new_seed() -> bytes:
    return secrets.token_bytes(SEED)


def code_at(seed: bytes, step: int) -> str:
    """The code of one step."""
    return TOTP(seed, DIGITS, SHA1(), STEP).generate(step * STEP).decode("ascii")  # noqa: S303  # see above


def matching_step(seed: bytes, typed: str, now: int, last: int) -> int | None:
    """The step that this is the code of, if it is one of the present ones and later than `last`; `now` in wall ns.

    MUST be followed by taking the step (`Accounts.take_step`), which only one of several at once can.
    """
    code = digits(typed)
    present = now // SECOND // STEP
    found: int | None = None
    for step in range(present - WINDOW, present + WINDOW + 1):  # all of them, whichever it is
        same = hmac.compare_digest(code_at(seed, step).encode(), code.encode())
        if same and step > last and found is None:
            found = step
    return found


def digits(typed: str) -> str:
    """A code as somebody types it: in groups, perhaps with other digits than ASCII; anything else matches nothing."""
    text = "".join(unicodedata.normalize("NFKC", typed[:64]).replace("-", " ").split())
    return text if len(text) == DIGITS and text.isascii() and text.isdigit() else ""


def shown_seed(seed: bytes) -> str:
    """For who types it in: base32 in groups of four."""
    text = base64.b32encode(seed).decode("ascii").rstrip("=")
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def uri(seed: bytes, issuer: str, name: str) -> str:
    """The `otpauth` URI that apps read."""
    secret = base64.b32encode(seed).decode("ascii").rstrip("=")
    label = f"{quote(issuer, safe='')}:{quote(name, safe='@')}"
    return (
        f"otpauth://totp/{label}?secret={secret}&issuer={quote(issuer, safe='')}"
        f"&algorithm=SHA1&digits={DIGITS}&period={STEP}"
    )


def qr_svg(text: str) -> str:
    """A QR code as inline SVG: no picture to load, no script. Dark on light whatever the page's colours are."""
    import segno

    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=True,
        nl=False,
        border=4,
        omitsize=True,
        svgclass="qr",
        lineclass=None,
        dark="#000",
        light="#fff",
    )
    return out.getvalue().decode("utf-8")
