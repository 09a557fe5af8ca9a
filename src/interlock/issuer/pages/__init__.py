"""The pages for people, as HTML: everything that is shown is escaped, and nothing is loaded from anywhere else.

Each page brings a content security policy that allows its one style sheet by its hash, its one script (passkeys only)
from this origin, and forms to this origin and to where the sign-in may lead. All of them work without JavaScript but
for passkeys, which browsers do not offer without.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from interlock.config import OwnIssuer
from interlock.issuer.http import Response, html_response

_FOLDER: Final = Path(__file__).parent
SCRIPT: Final = "/oauth/passkey.js"
HSTS: Final = (("strict-transport-security", "max-age=31536000"),)  # RFC 6797; a year


class Pages:
    """Renders for one issuer."""

    def __init__(self, settings: OwnIssuer) -> None:
        self._host = settings.host
        self._root = settings.path
        # Not for `localhost`, which browsers would keep to https for whatever else runs there, too.
        self._transport = HSTS if settings.secure and settings.host != "localhost" else ()

    def show(
        self,
        template: str,
        title: str,
        *,
        status: int = 200,
        targets: Iterable[str] = (),
        script: bool = False,
        wide: bool = False,
        error: str = "",
        saying: str = "",
        fields: tuple[tuple[str, str], ...] = (),
        **values: Any,
    ) -> Response:
        """A page. `targets`: sources that a form's redirects may lead to; `error` is said first, `saying` otherwise."""
        page = (
            _environment()
            .get_template(f"{template}.html")
            .render(
                title=title,
                host=self._host,
                root=self._root,
                style=_style()[0],
                script=script,
                wide=wide,
                error=error,
                saying=saying,
                **values,
            )
        )
        return html_response(page, status, (*security(targets, script=script), *self._transport, *fields))


def security(targets: Iterable[str] = (), *, script: bool = False) -> tuple[tuple[str, str], ...]:
    """The header fields of a page."""
    policy = [
        "default-src 'none'",
        f"style-src 'sha256-{_style()[1]}'",
        *(["script-src 'self'", "require-trusted-types-for 'script'"] if script else []),
        " ".join(["form-action 'self'", *dict.fromkeys(target for target in targets if target)]),
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    return (
        ("content-security-policy", "; ".join(policy)),
        # Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "publickey-credentials-get=(self), publickey-credentials-create=(self)"),
    )


def script_response() -> Response:
    """The one script."""
    fields = (
        ("content-type", "text/javascript; charset=utf-8"),
        ("cache-control", "public, max-age=3600"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    )
    return Response(200, fields, _script())


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def _style() -> tuple[Markup, str]:
    """The style sheet, and its hash."""
    text = (_FOLDER / "style.css").read_text(encoding="utf-8")
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")  # noqa: S704


@cache
def _script() -> bytes:
    return (_FOLDER / "passkey.js").read_bytes()
