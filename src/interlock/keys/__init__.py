"""The node's keys: the KEK, what is sealed under it, the record's recipient, API key material."""

from interlock.keys.apikey import lookup_hash, mint, well_formed
from interlock.keys.kek import Secret, ensure_folder, load_kek, parse_kek
from interlock.keys.keyring import ASSERTION, LOOKUP, RECORD, Keyring
from interlock.keys.recipient import Recipient, RecipientKey, recipient
from interlock.keys.sealing import read_private, write_private

__all__ = [
    "ASSERTION",
    "LOOKUP",
    "RECORD",
    "Keyring",
    "Recipient",
    "RecipientKey",
    "Secret",
    "ensure_folder",
    "load_kek",
    "lookup_hash",
    "mint",
    "parse_kek",
    "read_private",
    "recipient",
    "well_formed",
    "write_private",
]
