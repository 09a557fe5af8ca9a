"""Connects to one NATS server. Imported only where `nats-py` is installed.

A NATS server says in the clear whether it wants TLS, before anything is protected. So who is in between could say
that it does not: where TLS was asked for, nothing MUST be sent, no credential above all, before it is there.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client, RawCredentials

from interlock.analyst.sink import SinkError

if TYPE_CHECKING:
    from interlock.config import Login, SecretRef

_OPENING = "_connect_command"  # what makes the first bytes that a client sends
if not callable(getattr(Client, _OPENING, None)):
    raise ImportError(  # noqa: TRY004 - as if it were not installed
        "this version of nats-py cannot be kept from sending credentials in the clear"
    )


class _Encrypted(Client):
    """A client that says nothing before TLS is there."""

    def _connect_command(self) -> bytes:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or not isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject):
            raise SinkError("the server offers no TLS")
        opening: bytes = super()._connect_command()
        return opening


async def connect(server: str, context: ssl.SSLContext | None, login: Login | None, timeout: float) -> Client:
    """A client that is connected and will not connect again. Raises `SinkError`, and what the library raises."""
    client = Client() if context is None else _Encrypted()
    options: dict[str, Any] = {}
    if context is not None:
        options |= {"tls": context, "tls_hostname": server.rpartition(":")[0].strip("[]")}
    await client.connect(
        f"{'nats' if context is None else 'tls'}://{server}",
        name="interlock",
        allow_reconnect=False,
        connect_timeout=max(1, int(timeout)),
        error_cb=_quiet,
        **options,
        **_credentials(login),
    )
    return client


async def _quiet(_error: Exception) -> None:
    """What is wrong is told by whoever waits for a confirmation."""


def _credentials(login: Login | None) -> dict[str, Any]:
    """Read now. Raises `KeyMaterialError`, which names the place of a secret only."""
    if login is None:
        return {}
    if login.user is not None and login.password is not None:
        return {"user": login.user, "password": _text(login.password)}
    if login.token is not None:
        return {"token": _text(login.token)}
    if login.nkey is not None:
        return {"nkeys_seed_str": _text(login.nkey)}
    assert login.credentials is not None
    return {"user_credentials": RawCredentials(_text(login.credentials))}


def _text(secret: SecretRef) -> str:
    return secret.resolve().decode("latin-1").strip()
