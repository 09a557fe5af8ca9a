"""The local certificate authority: server certificates for `tls: auto`, client certificates for partners.

Its key is sealed in the keyring and opened only to issue. It MUST NOT be handed to a worker.
"""

from interlock.pki.authority import Issued, LocalAuthority
from interlock.pki.files import SERVER, ensure_server_certificate
from interlock.pki.renewal import renew_due

__all__ = ["SERVER", "Issued", "LocalAuthority", "ensure_server_certificate", "renew_due"]
