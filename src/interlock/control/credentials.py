"""What can be revoked, as an operator names it, and what is known of it from its name alone.

A name that could match nothing is refused where that can be told (an issuer the file does not have, a token that was
cut short), since a revocation that misses is worse than none: somebody believes in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from interlock.clock import SECOND
from interlock.control.presented import Tokens
from interlock.errors import UsageError
from interlock.identity import (
    certificate_handle,
    client_handle,
    family_handle,
    issuer_handle,
    principal_handle,
    session_handle,
    token_handle,
)
from interlock.identity.marks import FARTHEST, LONGEST
from interlock.issuer.ids import REFRESH_TOKEN
from interlock.model import Principal
from interlock.model.principal import OWN_AUTHORITY as OWN

if TYPE_CHECKING:
    from interlock.config import Config

UNNAMED = re.compile(r"sha256:[0-9a-f]{64}")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
LONGEST_NAME = 1024
LATEST = 2**63  # wall ns, in 2262: the state and the change log know no later time
OWN_LIFE = (LONGEST + FARTHEST) * SECOND  # ns after which no token that our own issuer has issued is alive


class OfToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token: itself, or its `jti`, or `sha256:` and the digest of what is signed."""

    id: str = ""
    issuer: str = ""
    token: str = ""
    until_ns: int = 0  # wall: when it has expired by itself

    def __repr__(self) -> str:
        return f"OfToken(id={self.id!r}, issuer={self.issuer!r})"


class OfIssuer(msgspec.Struct, forbid_unknown_fields=True):
    """What an issuer names: a client, a session."""

    id: str
    issuer: str = ""
    until_ns: int = 0
    ahead_s: int = 0


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    """What needs no other name: a principal, a user, an issuer."""

    id: str
    until_ns: int = 0
    ahead_s: int = 0


class OfCertificate(msgspec.Struct, forbid_unknown_fields=True):
    """A client certificate: its SHA-256 fingerprint, or itself in PEM."""

    id: str = ""
    pem: str = ""
    until_ns: int = 0


class Doomed(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be refused. A mark refuses what was issued until now, anything else the one credential for good."""

    kind: str  # token, client, session, family, principal, issuer, certificate
    id: str
    handle: bytes
    issuer: str = ""
    own: bool = False  # of our own issuer, or a principal that the node itself vouches for
    home: str = ""  # the URL of our own issuer, if there is one
    marked: bool = False
    ahead: int = 0  # seconds
    expires: int = 0  # wall ns after which nothing it could match is alive; 0: not known
    hangs_on: tuple[tuple[str, str], ...] = ()  # kind and id of what goes with it: the family of a token
    since: int = 0  # seconds: the mark, where it is not now that it happened
    signal: str = ""  # `jti` of the token by which an outside issuer has said so
    cause: str = ""  # `txn` of it: what others are told of it is of the same

    @property
    def what(self) -> str:
        """For people."""
        return f"{self.kind} {self.id} of {self.issuer}" if self.issuer else f"{self.kind} {self.id}"


class Dead(NamedTuple):
    """What hung on it and is dead as well."""

    kind: str
    id: str


class Named:
    """Reads names against one configuration."""

    def __init__(self, config: Config, tokens: Tokens) -> None:
        self._tokens = tokens
        self._own = config.issuer.url if config.issuer is not None else ""
        outside = [issuer.issuer for issuer in config.identity.issuers]
        self._issuers = [self._own, *outside] if self._own else outside
        self._outside = {issuer.authority for issuer in config.identity.issuers}
        self._bundles = set(config.trust)
        self._mapped = {principal for trust in config.trust.values() for principal in trust.principals.values()}

    def token(self, wanted: OfToken, now: int) -> tuple[Doomed, bool]:
        """A token, and whether its signature holds: only then does its family go with it. Raises `UsageError`."""
        if bool(wanted.token) == bool(wanted.id):
            raise UsageError("say either the token itself or its `jti`")
        if wanted.token:
            return self._whole_token(wanted, now)
        if wanted.id.count(".") == 2 and wanted.id.startswith("ey"):
            raise UsageError("this is a token, not its `jti`: hand it over by --file or standard input")
        issuer = self._issuer(wanted.issuer)
        token_id = _name(wanted.id, "a token")
        if token_id.lower().startswith("sha256:") and not UNNAMED.fullmatch(token_id):
            raise UsageError("`sha256:` is followed by 64 hexadecimal digits, in small letters")
        handle = token_handle(issuer, token_id)
        own = issuer == self._own
        expires = self._until(now, wanted.until_ns, own)
        return Doomed(
            kind="token", id=token_id, handle=handle, issuer=issuer, own=own, home=self._own, expires=expires
        ), True

    def client(self, wanted: OfIssuer, now: int) -> Doomed:
        issuer = self._issuer(wanted.issuer)
        own = issuer == self._own
        return Doomed(
            kind="client",
            id=_name(wanted.id, "a client"),
            handle=client_handle(issuer, wanted.id),
            issuer=issuer,
            own=own,
            home=self._own,
            marked=True,
            ahead=_ahead(wanted.ahead_s),
            expires=self._until(now, wanted.until_ns, own),
        )

    def session(self, wanted: OfIssuer, now: int) -> Doomed:
        if wanted.ahead_s:
            raise UsageError("a session is refused as a whole, whenever its tokens were issued")
        issuer = self._issuer(wanted.issuer)
        own = issuer == self._own
        return Doomed(
            kind="session",
            id=_name(wanted.id, "a session"),
            handle=session_handle(issuer, wanted.id),
            issuer=issuer,
            own=own,
            home=self._own,
            expires=self._until(now, wanted.until_ns, own),
        )

    def principal(self, wanted: Plain, now: int) -> Doomed:
        """A principal by its text form. Raises `UsageError` for an authority that nobody here speaks for."""
        try:
            principal = Principal.parse(wanted.id)
        except ValueError as problem:
            raise UsageError(f"a principal is written user:login.example.com/alice: {problem}") from None
        known = {OWN, *self._outside, *self._bundles}
        if principal.authority not in known and str(principal) not in self._mapped:
            raise UsageError(
                f"nobody vouches for {principal.authority!r} here, so this would refuse nothing "
                f"(authorities: {', '.join(sorted(known))})"
            )
        # A certificate may be of any age, and an outside token of any life; our own tokens are not.
        own = principal.authority == OWN and OWN not in self._outside | self._bundles
        own = own and str(principal) not in self._mapped
        return Doomed(
            kind="principal",
            id=str(principal),
            handle=principal_handle(principal),
            own=principal.authority == OWN,
            home=self._own,
            marked=True,
            ahead=_ahead(wanted.ahead_s),
            expires=self._until(now, wanted.until_ns, own),
        )

    def user(self, wanted: Plain, now: int) -> Doomed:
        """A user: of our own by the bare name, of others as `user:AUTHORITY/name`."""
        text = wanted.id if ":" in wanted.id else f"user:{OWN}/{wanted.id}"
        doomed = self.principal(msgspec.structs.replace(wanted, id=text), now)
        if not doomed.id.startswith("user:"):
            raise UsageError(f"{doomed.id} is no user: `revoke principal` takes any")
        return doomed

    def issuer(self, wanted: Plain, now: int) -> Doomed:
        """All tokens of an issuer."""
        issuer = self._issuer(wanted.id)
        own = issuer == self._own
        return Doomed(
            kind="issuer",
            id=issuer,
            handle=issuer_handle(issuer),
            own=own,
            home=self._own,
            marked=True,
            ahead=_ahead(wanted.ahead_s),
            expires=self._until(now, wanted.until_ns, own),
        )

    def certificate(self, wanted: OfCertificate, now: int) -> Doomed:
        """A client certificate. Raises `UsageError` for what is none."""
        if bool(wanted.id) == bool(wanted.pem):
            raise UsageError("say either the certificate's SHA-256 fingerprint or its file")
        until = self._until(now, wanted.until_ns, own=False)
        if wanted.pem:
            try:
                (certificate,) = x509.load_pem_x509_certificates(wanted.pem.encode("ascii"))
            except ValueError:  # of the library, or because there are several
                raise UsageError("the file holds not one certificate in PEM") from None
            fingerprint = certificate.fingerprint(SHA256())
            # The last second counts (RFC 5280 section 4.1.2.5).
            until = _known(int(certificate.not_valid_after_utc.timestamp() + 1) * SECOND)
        else:
            text = wanted.id.lower().removeprefix("sha256:").removeprefix("sha256 fingerprint=").replace(":", "")
            if not FINGERPRINT.fullmatch(text):
                raise UsageError("a fingerprint is SHA-256: 64 hexadecimal digits, with or without colons")
            fingerprint = bytes.fromhex(text)
        handle = certificate_handle(fingerprint)
        return Doomed(kind="certificate", id=fingerprint.hex(), handle=handle, expires=until)

    # -- parts

    def _issuer(self, name: str) -> str:
        """An issuer of the file; left out, the node's own, or the only one."""
        if name:
            if name not in self._issuers:
                known = ", ".join(self._issuers) or "none"
                raise UsageError(f"there is no issuer {name!r} in the file (issuers: {known})")
            return name
        if self._own:
            return self._own
        if len(self._issuers) != 1:
            raise UsageError(f"say with --issuer whose it is: {', '.join(self._issuers) or 'the file has none'}")
        return self._issuers[0]

    def _until(self, now: int, wanted: int, own: bool) -> int:
        if wanted and not now < wanted < LATEST:
            raise UsageError("what is refused is refused until some time to come")
        return max(now + OWN_LIFE, wanted) if own else wanted

    def _whole_token(self, wanted: OfToken, now: int) -> tuple[Doomed, bool]:
        text = wanted.token.strip()
        if found := REFRESH_TOKEN.fullmatch(text):
            return self._family(found[1], now), True
        shown = self._tokens.read(text, self._issuers, self._own, now)
        if wanted.issuer and wanted.issuer != shown.issuer:
            raise UsageError(f"it was issued by {shown.issuer}, not by {wanted.issuer}")
        own = shown.issuer == self._own
        family = shown.claims.get("fid")
        doomed = Doomed(
            kind="token",
            id=shown.id,
            handle=token_handle(shown.issuer, shown.id),
            issuer=shown.issuer,
            own=own,
            home=self._own,
            expires=_end(shown.claims),
            hangs_on=(("family", family),) if own and shown.holds and isinstance(family, str) and family else (),
        )
        return doomed, shown.holds

    def _family(self, grant: str, now: int) -> Doomed:
        """A refresh token, present or former: whoever used a former one would end its family as well."""
        if not self._own:
            raise UsageError("the file names no issuer of our own, whose refresh token this could be")
        return Doomed(
            kind="family",
            id=grant,
            handle=family_handle(self._own, grant),
            issuer=self._own,
            own=True,
            home=self._own,
            expires=now + OWN_LIFE,
            hangs_on=(("family", grant),),
        )


def dead_handle(dead: Dead, issuer: str) -> bytes | None:
    """The handle of what hung on something of our own issuer; None for what no token carries."""
    match dead.kind:
        case "session":
            return session_handle(issuer, dead.id)
        case "family":
            return family_handle(issuer, dead.id)
        case _:
            return None


def _end(claims: Mapping[str, Any]) -> int:
    """When every worker has come to refuse it, whatever leeway its issuer is given later; 0 if it does not say."""
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not 0 < expires < LATEST:
        return 0
    return _known((int(expires) + 1 + FARTHEST) * SECOND)


def _known(until: int) -> int:
    """An end that can be kept; 0 for one so late that it is none: for never, 9999-12-31 is written."""
    return until if until < LATEST else 0


def _name(text: str, what: str) -> str:
    if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
        raise UsageError(f"{what} is named by 1 to {LONGEST_NAME} printable characters")
    return text


def _ahead(seconds: int) -> int:
    if not 0 <= seconds <= FARTHEST:
        raise UsageError(f"no clock may be ahead by more than {FARTHEST} seconds")
    return seconds
