"""The PEM files of `tls: auto`: ca.pem, server.pem and server.key in one folder.

Written aside and renamed, mode 0600. The key goes first: a crash in between leaves a pair that does not
match, which is noticed and made anew, never a certificate whose key is lost.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from interlock.errors import KeyMaterialError
from interlock.keys import ensure_folder, read_private, write_private
from interlock.pki.authority import LocalAuthority
from interlock.pki.profile import hosts
from interlock.pki.renewal import renew_due


def ensure_server_files(authority: LocalAuthority, folder: Path, names: list[str], now: int) -> bool:
    """Make or renew the files so that they serve `names`; says whether anything was issued. `now` in wall ns."""
    ensure_folder(folder)
    if _present(folder / "ca.pem") != authority.pem:
        write_private(folder / "ca.pem", authority.pem)
    if _usable(authority, folder, names, now):
        return False
    issued = authority.issue_server(names)
    write_private(folder / "server.key", issued.key)
    write_private(folder / "server.pem", issued.certificate)
    return True


def _usable(authority: LocalAuthority, folder: Path, names: list[str], now: int) -> bool:
    certificate, key = _present(folder / "server.pem"), _present(folder / "server.key")
    if certificate is None or key is None:
        return False
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        leaf.verify_directly_issued_by(authority.certificate)
        if load_pem_private_key(key, None).public_key() != leaf.public_key():
            return False
        stated = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with them, a new pair is right
        return False
    return set(hosts(names)) <= set(stated) and not renew_due(leaf, now)


def _present(path: Path) -> bytes | None:
    """The contents of a file that is ours alone; None if it is missing or was opened to others."""
    try:
        return read_private(path)
    except KeyMaterialError:
        return None
