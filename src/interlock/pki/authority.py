"""The local authority: one P-256 key, sealed in the keyring as `ca`, and what it issues."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from interlock.clock import Clock, SystemClock
from interlock.errors import KeyMaterialError
from interlock.keys import Keyring
from interlock.model import Event, Recorder
from interlock.pki import profile

CA = "ca"
SERVER_DAYS = 30
CLIENT_DAYS = 30


class Issued(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM. The repr does not show the key."""

    certificate: bytes
    key: bytes
    serial: str  # hexadecimal
    not_after: int  # seconds since the epoch

    def __repr__(self) -> str:
        return f"Issued(serial={self.serial!r}, not_after={self.not_after})"


class LocalAuthority:
    """Issues certificates. Every one is on the record before it exists, when a recorder is given."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        *,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._key = key
        self.certificate = certificate
        self._clock = clock or SystemClock()
        self._recorder = recorder

    @classmethod
    def create(
        cls, keyring: Keyring, *, clock: Clock | None = None, recorder: Recorder | None = None
    ) -> LocalAuthority:
        """Make the authority and seal its key; `KeyMaterialError` if there is one already."""
        if keyring.exists(CA):
            raise KeyMaterialError("there is a certificate authority already")
        clock = clock or SystemClock()
        key = ec.generate_private_key(ec.SECP256R1())
        number = x509.random_serial_number() & 0xFFFFFFFF
        name = f"Interlock local authority {number:08x}"
        certificate = profile.authority(name, key.public_key(), clock.wall()).sign(key, SHA256())
        keyring.seal(CA, _private_pem(key) + certificate.public_bytes(Encoding.PEM))
        return cls(key, certificate, clock=clock, recorder=recorder)

    @classmethod
    def open(cls, keyring: Keyring, *, clock: Clock | None = None, recorder: Recorder | None = None) -> LocalAuthority:
        """Open the authority; `KeyMaterialError` if there is none, or its key and certificate do not match."""
        pem = keyring.open(CA)
        try:
            key = load_pem_private_key(pem, None)
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise KeyMaterialError("the certificate authority's key is damaged") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise KeyMaterialError("the certificate authority's key and certificate do not match")
        return cls(key, certificate, clock=clock, recorder=recorder)

    @classmethod
    def ensure(
        cls, keyring: Keyring, *, clock: Clock | None = None, recorder: Recorder | None = None
    ) -> LocalAuthority:
        """Open the authority, or make it where there is none."""
        how = cls.open if keyring.exists(CA) else cls.create
        return how(keyring, clock=clock, recorder=recorder)

    @property
    def pem(self) -> bytes:
        """The authority's certificate: what peers are to trust."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue_server(self, names: list[str], days: float = SERVER_DAYS) -> Issued:
        """A server certificate for host names and addresses; `UsageError` for what is neither."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = profile.server(self.certificate, key.public_key(), names, self._clock.wall(), timedelta(days=days))
        return self._issue(builder, key, {"use": "server", "names": names})

    def issue_client(self, uri: str, days: float = CLIENT_DAYS) -> Issued:
        """A client certificate for one URI (a SPIFFE ID, as a rule); `UsageError` if it is none."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = profile.client(self.certificate, key.public_key(), uri, self._clock.wall(), timedelta(days=days))
        return self._issue(builder, key, {"use": "client", "names": [uri]})

    def _issue(
        self, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, details: dict[str, object]
    ) -> Issued:
        certificate = builder.sign(self._key, SHA256())
        issued = Issued(
            certificate=certificate.public_bytes(Encoding.PEM),
            key=_private_pem(key),
            serial=f"{certificate.serial_number:x}",
            not_after=int(certificate.not_valid_after_utc.timestamp()),
        )
        if self._recorder is not None:
            self._recorder.act(
                Event.CERTIFICATE_ISSUE, {**details, "serial": issued.serial, "not_after": issued.not_after}
            )
        return issued


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
