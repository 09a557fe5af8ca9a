"""What the issuer refuses with: the error codes of OAuth 2.0 and of what extends it."""

from __future__ import annotations

from collections.abc import Mapping

from interlock.errors import InterlockError


class OAuthError(InterlockError):
    """`error` is a code of RFC 6749 section 5.2 or a registered one; `description` is for the client's developer.

    `note` is for the record alone. A description MUST NOT tell what the client could not know anyway.
    """

    def __init__(
        self,
        error: str,
        description: str = "",
        *,
        status: int = 400,
        fields: tuple[tuple[str, str], ...] = (),
        note: str = "",
    ) -> None:
        super().__init__(f"{error}: {description}" if description else error)
        self.error = error
        self.description = description
        self.status = status
        self.fields = fields  # header fields of the answer
        self.note = note


class Repeated(OAuthError):
    """A parameter is given more than once. `once` are the others."""

    def __init__(self, once: Mapping[str, str], note: str) -> None:
        super().__init__("invalid_request", "a parameter is given more than once", note=note)
        self.once = once


class NotYet(Exception):
    """A credential cannot be dated yet: what was issued in this second for the same was revoked. Ask again then."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"in {wait} s")
        self.wait = wait  # seconds, at most one
