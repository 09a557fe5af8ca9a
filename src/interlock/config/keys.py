"""The section `keys`: where the key is that opens all others. What is secret about it is a reference."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from interlock.clock import SECOND
from interlock.config.fields import Duration, FilePath, HttpsUrl, Secret, Section, duration, fault
from interlock.config.secrets import SecretRef

_Label = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$")]
_PathPart = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*$")
]


class Pkcs11(Section):
    """An AES key in a PKCS#11 token: a hardware security module, a smart card, SoftHSM."""

    module: FilePath
    """The vendor's library, as in `/usr/lib/softhsm/libsofthsm2.so`."""
    token: _Label
    """The token's label."""
    key: _Label
    """The key's label; an AES key that may encrypt and decrypt, and should not be extractable."""
    pin: Secret
    """A reference to the user's PIN."""


class Transit(Section):
    """A key of the transit engine of Vault or OpenBao."""

    url: HttpsUrl
    """The server, as in `https://vault.example.com:8200`."""
    key: _PathPart
    """The key's name; of a type that takes associated data, such as `aes256-gcm96`."""
    mount: _PathPart = "transit"
    """Where the engine is mounted."""
    namespace: str = ""
    """The namespace, where the server has them."""
    token: Secret
    """A reference to a token that may encrypt and decrypt with the key; read anew for each request."""
    ca: FilePath | None = None
    """Who may vouch for the server, in PEM; left out: the system's roots."""
    timeout: Annotated[Duration, duration("100ms", "1m")] = 5 * SECOND
    """Until a request is given up and tried again."""


class Pkcs11Source(Section):
    """A KEK in a token."""

    kind: ClassVar[Literal["pkcs11"]] = "pkcs11"
    pkcs11: Pkcs11
    """The token and the key."""

    def __str__(self) -> str:
        return f"pkcs11:{self.pkcs11.token}/{self.pkcs11.key}"


class TransitSource(Section):
    """A KEK in Vault or OpenBao."""

    kind: ClassVar[Literal["transit"]] = "transit"
    transit: Transit
    """The server and the key."""

    def __str__(self) -> str:
        return f"transit:{self.transit.mount}/{self.transit.key}"


def _form(value: Any) -> str:
    if isinstance(value, Pkcs11Source) or (isinstance(value, dict) and "pkcs11" in value):
        return "pkcs11"
    if isinstance(value, TransitSource) or (isinstance(value, dict) and "transit" in value):
        return "transit"
    return "reference"


def _known_form(value: Any) -> Any:
    if isinstance(value, dict) and _form(value) == "reference":
        raise fault(
            "is neither a reference nor a token nor a server",
            'write "${file:/etc/interlock/kek}", {pkcs11: {...}} or {transit: {...}}',
        )
    return value


KekSource = Annotated[
    Annotated[Secret, Tag("reference")]
    | Annotated[Pkcs11Source, Tag("pkcs11")]
    | Annotated[TransitSource, Tag("transit")],
    Discriminator(_form),
    BeforeValidator(_known_form),
]
AnyKek = SecretRef | Pkcs11Source | TransitSource


class Keys(Section):
    """The key that all other keys are sealed with."""

    kek: KekSource | None = None
    """`${file:/etc/interlock/kek}`, `${env:NAME}`, a `pkcs11` token or a `transit` server; left out: made in the
    data directory."""
    former_kek: KekSource | None = None
    """The KEK before this one: it still opens what it sealed, until `interlock keyring rotate kek` is through."""
