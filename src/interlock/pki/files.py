"""The certificate of `tls: auto`: ca.pem and server.pem in one folder, for people; key and certificate sealed as one.

What serves is what is sealed, as `server` in the keyring: the two cannot come apart, and the private key lies
nowhere in the clear.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from interlock.errors import KeyMaterialError
from interlock.keys import Keyring, ensure_folder, read_private, write_private
from interlock.pki.authority import LocalAuthority
from interlock.pki.profile import hosts
from interlock.pki.renewal import renew_due

SERVER = "server"


def ensure_server_certificate(
    authority: LocalAuthority, keyring: Keyring, folder: Path, names: list[str], now: int
) -> bool:
    """Make or renew it so that it serves `names`; says whether one was issued. `now` in wall ns."""
    ensure_folder(folder)
    if _present(folder / "ca.pem") != authority.pem:
        write_private(folder / "ca.pem", authority.pem)
    (folder / "server.key").unlink(missing_ok=True)  # an older version left it in the clear, and it serves no more
    certificate = _usable(authority, keyring, names, now)
    issued = certificate is None
    if certificate is None:
        new = authority.issue_server(names)
        keyring.seal(SERVER, new.key + new.certificate)
        certificate = new.certificate
    if _present(folder / "server.pem") != certificate:
        write_private(folder / "server.pem", certificate)
    return issued


def _usable(authority: LocalAuthority, keyring: Keyring, names: list[str], now: int) -> bytes | None:
    """The certificate that is there, if it can go on serving."""
    if not keyring.exists(SERVER):
        return None
    pair = keyring.open(SERVER)
    try:
        leaf = x509.load_pem_x509_certificate(pair)
        leaf.verify_directly_issued_by(authority.certificate)
        if load_pem_private_key(pair, None).public_key() != leaf.public_key():
            return None
        stated = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with them, a new pair is right
        return None
    if not set(hosts(names)) <= set(stated) or renew_due(leaf, now):
        return None
    return pair[pair.index(b"-----BEGIN CERTIFICATE") :]


def _present(path: Path) -> bytes | None:
    """The contents of a file that is ours alone; None if it is missing or was opened to others."""
    try:
        return read_private(path)
    except KeyMaterialError:
        return None
