"""That the files are there which are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from interlock.config.checks.view import Finding, View
from interlock.config.keys import Pkcs11Source
from interlock.config.listeners import CertificateFiles
from interlock.config.secrets import SecretRef
from interlock.config.tree import Where


def check(view: View) -> Iterator[Finding]:
    for where, path in _named_files(view):
        if path is not None and not path.is_file():
            message = f"{path} is not a file" if path.exists() else f"{path} does not exist"
            yield Finding(where, message)
    yield from _keks(view)


def _keks(view: View) -> Iterator[Finding]:
    """Not seeing a KEK is no fault here: whoever checks a file need not be who may open keys."""
    keys = view.config.keys
    secrets: list[tuple[Where, SecretRef]]
    for name, source in (("kek", keys.kek), ("former_kek", keys.former_kek)):
        if isinstance(source, SecretRef):
            secrets = [(("keys", name), source)]
        elif isinstance(source, Pkcs11Source):
            secrets = [(("keys", name, "pkcs11", "pin"), source.pkcs11.pin)]
            if not source.pkcs11.module.is_file():
                yield Finding(
                    ("keys", name, "pkcs11", "module"), f"{source.pkcs11.module} does not exist", warning=True
                )
        elif source is not None:
            secrets = [(("keys", name, "transit", "token"), source.transit.token)]
            if source.transit.ca is not None and not source.transit.ca.is_file():
                yield Finding(("keys", name, "transit", "ca"), f"{source.transit.ca} does not exist")
        else:
            secrets = []
        for where, secret in secrets:
            if secret.path is not None and not secret.path.is_file():
                yield Finding(where, f"{secret.path} does not exist", warning=True)
    if keys.former_kek is not None and keys.former_kek == keys.kek:
        yield Finding(("keys", "former_kek"), "is the same as `kek`")


def _named_files(view: View) -> Iterable[tuple[Where, Path | None]]:
    for number, listener in view.listeners:
        if isinstance(listener.tls, CertificateFiles):
            yield ("listeners", number, "tls", "certificate"), listener.tls.certificate
            yield ("listeners", number, "tls", "key"), listener.tls.key
        for index, further in enumerate(listener.certificates):
            yield ("listeners", number, "certificates", index, "certificate"), further.certificate
            yield ("listeners", number, "certificates", index, "key"), further.key
    for name, bundle in view.config.trust.items():
        yield ("trust", name, "ca"), bundle.ca
    for name, service in view.config.services.items():
        yield ("services", name, "openapi"), service.openapi
        if service.tls is not None:
            yield ("services", name, "tls", "ca"), service.tls.ca
            yield ("services", name, "tls", "certificate"), service.tls.certificate
            yield ("services", name, "tls", "key"), service.tls.key
    for number, export in enumerate(view.config.exports):
        if export.tls is not None:
            yield ("exports", number, "tls", "ca"), export.tls.ca
            yield ("exports", number, "tls", "certificate"), export.tls.certificate
            yield ("exports", number, "tls", "key"), export.tls.key
