"""Clients of the authorization server: made, listed, given new secrets, disabled. On the record first, as every act.

A secret is shown once; what is kept is a keyed hash.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from interlock.clock import SECOND, Clock
from interlock.control.anchors import anchors
from interlock.control.credentials import OWN_LIFE
from interlock.control.publish import Publisher
from interlock.control.status import rfc3339
from interlock.errors import NotFound, StateError, UsageError
from interlock.identity.handles import client_handle
from interlock.identity.marks import mark
from interlock.issuer.registration import check, self_signed
from interlock.issuer.registration_endpoint import INITIAL
from interlock.keys import Keyring, lookup_hash
from interlock.model import Event, Principal, Recorder
from interlock.model.principal import OWN_AUTHORITY
from interlock.snapshot import NotBefore, Revoked, TrustSpec
from interlock.store import State
from interlock.store.clients import Client, Clients, Secret
from interlock.store.model import Mark, Revocation
from interlock.store.registrations import InitialToken, Registrations
from interlock.store.revocations import Revocations

LONGEST = 400 * 86_400 * SECOND
OURS = frozenset({"control", "issuer", "supervisor", "recorder", "analyst", "cli"})  # actors: service:interlock/...
MOST_USES = 1000
PREFIX = "ils_"  # what a client secret begins with, so that scanners and people know one


class CreateClient(msgspec.Struct, forbid_unknown_fields=True):
    """What is said of a new client, in the words of RFC 7591."""

    name: str
    roles: list[str] = []
    grants: list[str] = []
    scopes: list[str] = []
    resources: list[str] = []
    redirect_uris: list[str] = []
    post_logout_redirect_uris: list[str] = []
    method: str = "client_secret_basic"
    jwks: dict[str, Any] | None = None
    certificates: list[str] = []  # self-signed ones, PEM
    san_uri: str = ""
    san_dns: str = ""
    subject_dn: str = ""
    bound: str = ""  # "dpop" or "certificate"
    opaque: bool = False
    first_party: bool = False
    backchannel_logout_uri: str = ""
    assertion_issuer: str = ""
    assertion_subjects: list[str] = []
    details: list[str] = []  # types of authorization_details


class RotateClient(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    overlap_ns: int


class ClientRoles(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    add: list[str] = []
    remove: list[str] = []


class InitialTokenWanted(msgspec.Struct, forbid_unknown_fields=True):
    uses: int
    expires_ns: int  # from now


class NamedClient(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class ClientDesk:
    """The clients of one node. `changed` is told of each client that is new or other than before."""

    def __init__(
        self,
        state: State,
        publisher: Publisher,
        clock: Clock,
        url: Callable[[], str],
        changed: Callable[[Client], None] = lambda _client: None,
    ) -> None:
        self._state = state
        self._clients = Clients(state)
        self._publisher = publisher
        self._clock = clock
        self._url = url
        self._changed = changed

    def create(
        self,
        wanted: CreateClient,
        roles: frozenset[str],
        keyring: Keyring,
        acts: Recorder,
        trust: Sequence[TrustSpec] = (),
        *,
        fapi2: bool = False,
    ) -> dict[str, Any]:
        """Make a client; `roles` and `trust`: those the file knows; `fapi2`: its profile."""
        self._url()
        if wanted.bound not in ("", "dpop", "certificate"):
            raise UsageError("tokens are bound by `dpop` or by `certificate`")
        if wanted.name in OURS:
            raise UsageError(f"{wanted.name!r} is what a part of the product is called on the record")
        for role in wanted.roles:
            if role not in roles:
                known = ", ".join(sorted(roles)) or "none"
                raise UsageError(f"there is no role {role!r} in the file (roles: {known})")
        now = self._clock.wall()
        try:
            principal = Principal("service", OWN_AUTHORITY, wanted.name)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        text = ""
        client = Client(
            client_id=f"{_slug(wanted.name)}-{secrets.token_hex(4)}",
            client_name=wanted.name,
            principal=str(principal),
            created=now,
            token_endpoint_auth_method=wanted.method,
            grant_types=tuple(wanted.grants) or ("client_credentials",),
            redirect_uris=tuple(wanted.redirect_uris),
            post_logout_redirect_uris=tuple(wanted.post_logout_redirect_uris),
            roles=tuple(dict.fromkeys(wanted.roles)),
            scopes=tuple(dict.fromkeys(wanted.scopes)),
            resources=tuple(dict.fromkeys(wanted.resources)),
            jwks=wanted.jwks,
            tls_client_auth_san_uri=wanted.san_uri,
            tls_client_auth_san_dns=wanted.san_dns,
            tls_client_auth_subject_dn=wanted.subject_dn,
            certificates=tuple(self_signed(pem) for pem in wanted.certificates),
            dpop_bound_access_tokens=wanted.bound == "dpop",
            tls_client_certificate_bound_access_tokens=wanted.bound == "certificate",
            opaque=wanted.opaque,
            first_party=wanted.first_party,
            backchannel_logout_uri=wanted.backchannel_logout_uri,
            assertion_issuer=wanted.assertion_issuer,
            assertion_subjects=tuple(dict.fromkeys(wanted.assertion_subjects)),
            authorization_details_types=tuple(dict.fromkeys(wanted.details)),
        )
        check(client, fapi2=fapi2)
        if client.certificates and not set(client.certificates) <= set(anchors([*self._clients.all(), client], trust)):
            raise UsageError(
                "the certificate has the name of another client's or of an authority: give it one of its own"
            )
        if wanted.method.startswith("client_secret"):
            text, secret = _secret(keyring, now)
            client = msgspec.structs.replace(client, secrets=(secret,))
        act = acts.act(
            Event.CLIENT_CREATE,
            {
                "client": client.client_id,
                "principal": client.principal,
                "roles": list(client.roles),
                "grants": list(client.grant_types),
                "method": client.method,
            },
        )
        client = msgspec.structs.replace(client, acts=(act,))
        self._clients.add(client)
        self._changed(client)
        return {**describe(client), **({"client_secret": text} if text else {})}

    def list(self) -> dict[str, Any]:
        """All clients, without anything secret."""
        return {"clients": [describe(client) for client in self._clients.all()]}

    def rotate(self, wanted: RotateClient, keyring: Keyring, acts: Recorder) -> dict[str, Any]:
        """A new secret; the old one works on until the overlap is over."""
        if not 0 <= wanted.overlap_ns <= LONGEST:
            raise UsageError("the overlap is a duration such as 24h")
        client = self._clients.get(wanted.id)
        if not client.secrets:
            raise UsageError(f"client {wanted.id} authenticates by {client.method}: it has no secret of ours")
        now = self._clock.wall()
        text, secret = _secret(keyring, now)
        until = now + wanted.overlap_ns
        act = acts.act(
            Event.CLIENT_CHANGE,
            {"client": client.client_id, "what": "secret", "principal": client.principal, "until": rfc3339(until)},
        )

        def turn(client: Client) -> Client:
            former = [
                msgspec.structs.replace(one, until=min(one.until or until, until))
                for one in client.secrets
                if (not one.until or one.until > now) and wanted.overlap_ns
            ]
            return msgspec.structs.replace(client, secrets=(secret, *former[:1]), acts=(*client.acts, act))

        client = self._clients.modify(client.client_id, turn)
        self._changed(client)
        return {**describe(client), "client_secret": text, "former_until": rfc3339(until)}

    def roles(self, wanted: ClientRoles, roles: frozenset[str], acts: Recorder) -> dict[str, Any]:
        """Other roles for a client's own tokens. Where one is taken away, no token that was issued with it goes on."""
        client = self._clients.get(wanted.id)
        unknown = [role for role in wanted.add if role not in roles]
        if unknown:
            known = ", ".join(sorted(roles)) or "none"
            raise UsageError(f"there is no role {unknown[0]!r} in the file (roles: {known})")
        missing = [role for role in wanted.remove if role not in client.roles]
        if missing:
            raise UsageError(f"the client has no role {missing[0]!r} (it has: {', '.join(client.roles) or 'none'})")
        if not wanted.add and not wanted.remove:
            raise UsageError("say which roles with --add and --remove")
        act = acts.act(
            Event.CLIENT_CHANGE,
            {
                "client": client.client_id,
                "principal": client.principal,
                "what": "roles",
                "added": wanted.add,
                "removed": wanted.remove,
            },
        )

        def change(current: Client) -> Client:
            kept = [role for role in (*current.roles, *wanted.add) if role not in wanted.remove]
            return msgspec.structs.replace(current, roles=tuple(dict.fromkeys(kept)), acts=(*current.acts, act))

        client = self._clients.modify(client.client_id, change)
        self._changed(client)
        killed: list[int] = []
        if wanted.remove:
            now = self._clock.wall()  # after which nothing is issued with it any more
            handle, since, until = client_handle(self._url(), client.client_id), mark(now), now + OWN_LIFE
            marks = [Mark(handle, f"client {client.client_id}", since, now, until, act)]
            try:
                Revocations(self._state).keep(now=now, act=act, marks=marks)
            finally:
                killed = self._publisher.publish([NotBefore(handle, since, until)])
        return {**describe(client), "workers_killed": killed}

    # -- clients that register themselves (RFC 7591)

    def initial_token(self, wanted: InitialTokenWanted, keyring: Keyring, acts: Recorder) -> dict[str, Any]:
        """A token with which clients register themselves, shown once."""
        if not 0 < wanted.uses <= MOST_USES:
            raise UsageError(f"an initial access token is good for 1 to {MOST_USES} clients")
        if not 0 < wanted.expires_ns <= LONGEST:
            raise UsageError("an initial access token expires after a duration such as 1h")
        self._url()
        now = self._clock.wall()
        text, token_id = INITIAL + secrets.token_urlsafe(32), secrets.token_hex(4)
        expires = now + wanted.expires_ns
        act = acts.act(
            Event.REGISTRATION_TOKEN, {"initial": token_id, "uses": wanted.uses, "expires": rfc3339(expires)}
        )
        hashed = lookup_hash(keyring.lookup_key, text.encode("ascii"))
        registrations = Registrations(self._state)
        registrations.sweep(now)
        registrations.add(InitialToken(token_id, wanted.uses, now, expires, hashed, act))
        return {"id": token_id, "uses": wanted.uses, "expires": rfc3339(expires), "initial_access_token": text}

    def initial_tokens(self) -> dict[str, Any]:
        """Those that can still be used, without anything secret."""
        found = Registrations(self._state).all(self._clock.wall())
        return {"initial_tokens": [{"id": one.id, "uses": one.uses, "expires": rfc3339(one.expires)} for one in found]}

    def withdraw(self, wanted: NamedClient, acts: Recorder) -> dict[str, Any]:
        """No client registers itself with this token any more."""
        acts.act(Event.REGISTRATION_TOKEN, {"initial": wanted.id, "what": "withdrawn"})
        if not Registrations(self._state).withdraw(wanted.id):
            raise NotFound(f"there is no initial access token {wanted.id!r}")
        return {"id": wanted.id, "state": "withdrawn"}

    def disable(self, wanted: NamedClient, acts: Recorder) -> dict[str, Any]:
        """Refuse a client, its tokens and whatever people allowed it, from now on and for good."""
        client = self._clients.get(wanted.id)
        now = self._clock.wall()
        handle = client_handle(self._url(), client.client_id)
        act = acts.act(Event.CLIENT_DISABLE, {"client": client.client_id, "principal": client.principal})
        killed: list[int] = []
        try:
            if not client.disabled:
                client = self._clients.modify(
                    client.client_id,
                    lambda one: msgspec.structs.replace(one, disabled=now, acts=(*one.acts, act)),
                )
            self._clients.revoke_grants(now, "the client was disabled", client_id=client.client_id)
            what = f"client {client.client_id}"
            Revocations(self._state).keep(now=now, act=act, revocations=[Revocation(handle, what, now, 0, act)])
        except StateError as problem:
            raise StateError(
                f"{problem}; the running node refuses the client's tokens, but the database still calls it valid: "
                "repeat the command"
            ) from problem
        finally:
            self._changed(msgspec.structs.replace(client, disabled=now))
            killed = self._publisher.publish([Revoked(handle)])
        return {**describe(client), "workers_killed": killed}


def describe(client: Client) -> dict[str, Any]:
    """A client for people and programs."""
    return {
        "client_id": client.client_id,
        "name": client.client_name,
        "principal": client.principal,
        "grants": list(client.grant_types),
        "method": client.method,
        "roles": list(client.roles),
        "scopes": list(client.scopes),
        "redirect_uris": list(client.redirect_uris),
        "self_registered": client.self_registered,
        "resources": list(client.resources),
        "bound": [
            how
            for how, is_bound in (
                ("dpop", client.dpop_bound_access_tokens),
                ("certificate", client.tls_client_certificate_bound_access_tokens),
            )
            if is_bound
        ],
        "state": "disabled" if client.disabled else "active",
        "created": rfc3339(client.created),
    }


def _secret(keyring: Keyring, now: int) -> tuple[str, Secret]:
    text = PREFIX + secrets.token_urlsafe(32)
    return text, Secret(lookup_hash(keyring.lookup_key, text.encode("ascii")), now)


def _slug(name: str) -> str:
    """The readable half of a client's id."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in kept.split("-") if part)[:40] or "client"
