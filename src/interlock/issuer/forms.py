"""Forms come from pages of ours, shown in the same browser, or are not read.

Two things must hold, and each alone would do in today's browsers: a token that is bound to a cookie of that browser,
and what the browser itself says of where the form was sent from. A form without either of `Origin` and
`Sec-Fetch-Site` is refused: every browser that can sign in here sends one. Before anybody is signed in, the cookie is
the one of the sign-in, so that nobody can be signed in as somebody else by another site.
"""

from __future__ import annotations

import base64
import hmac

from interlock.issuer.errors import OAuthError
from interlock.issuer.http import Request
from interlock.keys import FactorKey

FIELD = "csrf"


class Forms:
    """For pages of one origin."""

    def __init__(self, key: FactorKey, origin: str) -> None:
        self._key = key.derive("forms")
        self._origin = origin

    def token(self, cookie: str, purpose: str) -> str:
        """What a form carries in `FIELD`. `cookie`: the value that it is bound to."""
        made = hmac.digest(self._key, f"{purpose}\0{cookie}".encode(), "sha256")
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode("ascii")

    def check(self, request: Request, cookie: str, purpose: str) -> dict[str, str]:
        """The form's fields; `OAuthError` if it is not one of ours."""
        if request.method != "POST":
            raise OAuthError("invalid_request", "this is asked with POST", status=405, fields=(("allow", "POST"),))
        self.check_origin(request)
        fields = request.form
        expected = self.token(cookie, purpose).encode()
        if not cookie or not hmac.compare_digest(expected, fields.get(FIELD, "").encode()):
            raise OAuthError(
                "access_denied",
                "this form was not made for this browser, or is from an earlier sign-in",
                status=403,
                note="form token",
            )
        return fields

    def check_link(self, request: Request, cookie: str, purpose: str) -> None:
        """The same for a link of a page of ours, whose token is in the query."""
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise OAuthError("access_denied", "this link is on another site", status=403, note="link site")
        given = request.parameters.get(FIELD, "").encode()
        if not cookie or not hmac.compare_digest(self.token(cookie, purpose).encode(), given):
            raise OAuthError("access_denied", "this link was not made for this browser", status=403, note="link token")

    def check_origin(self, request: Request) -> None:
        """What the browser says (Fetch, section 3.2; Fetch Metadata)."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        ours = origin == self._origin if origin is not None else site == "same-origin"
        if not ours or site not in (None, "same-origin"):
            raise OAuthError("access_denied", "this form was sent by another site", status=403, note="form origin")
