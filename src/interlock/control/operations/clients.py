"""Clients of the node's own issuer.

After each of these, also after a list, the workers hear of clients that were changed meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from interlock.control.clients import ClientRoles, CreateClient, InitialTokenWanted, NamedClient, RotateClient
from interlock.control.desks import Desks
from interlock.control.operations.operation import Asker, Nothing, Operations, Result, operation
from interlock.errors import UsageError
from interlock.snapshot import TrustSpec

if TYPE_CHECKING:
    from interlock.config import Config


def _create(desks: Desks, wanted: CreateClient, asker: Asker) -> Result:
    config, own = desks.config, desks.config.issuer
    if wanted.method == "tls_client_auth" and own is not None and not own.trust:
        raise UsageError("tls_client_auth needs a bundle that vouches for certificates: `issuer: {trust: NAME}`")
    fapi2 = own is not None and own.profile is not None
    roles, acts = frozenset(config.roles), desks.acts(asker.actor)
    return desks.client_desk.create(wanted, roles, desks.keyring, acts, _bundles(config), fapi2=fapi2)


def _bundles(config: Config) -> list[TrustSpec]:
    """The trust bundles of the file, as far as they can be read."""
    found = []
    for name, one in config.trust.items():
        try:
            found.append(TrustSpec(name, one.ca.read_text(encoding="ascii"), one.principal))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _list(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.client_desk.list()


def _rotate(desks: Desks, wanted: RotateClient, asker: Asker) -> Result:
    return desks.client_desk.rotate(wanted, desks.keyring, desks.acts(asker.actor))


def _roles(desks: Desks, wanted: ClientRoles, asker: Asker) -> Result:
    return desks.client_desk.roles(wanted, frozenset(desks.config.roles), desks.acts(asker.actor))


def _initial_token(desks: Desks, wanted: InitialTokenWanted, asker: Asker) -> Result:
    return desks.client_desk.initial_token(wanted, desks.keyring, desks.acts(asker.actor))


def _initial_tokens(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.client_desk.initial_tokens()


def _withdraw(desks: Desks, wanted: NamedClient, asker: Asker) -> Result:
    return desks.client_desk.withdraw(wanted, desks.acts(asker.actor))


def _disable(desks: Desks, wanted: NamedClient, asker: Asker) -> Result:
    done = desks.client_desk.disable(wanted, desks.acts(asker.actor))
    desks.outbox.disabled(wanted.id)
    return done


CLIENTS: Final[Operations] = {
    "client.create": operation(CreateClient, _create, changes_clients=True),
    "client.list": operation(Nothing, _list, changes_clients=True),
    "client.rotate": operation(RotateClient, _rotate, changes_clients=True),
    "client.roles": operation(ClientRoles, _roles, changes_clients=True),
    "client.initial-token": operation(InitialTokenWanted, _initial_token, changes_clients=True),
    "client.initial-tokens": operation(Nothing, _initial_tokens, changes_clients=True),
    "client.withdraw": operation(NamedClient, _withdraw, changes_clients=True),
    "client.disable": operation(NamedClient, _disable, changes_clients=True),
}
