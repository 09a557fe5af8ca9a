"""The node's keys: the KEK, what is sealed under it, the record's recipient, API key material."""

from interlock.keys.apikey import lookup_hash, mint, well_formed
from interlock.keys.cache_key import CACHE, cache_key, turn_cache
from interlock.keys.factors_key import FACTORS, FactorKey, factor_key
from interlock.keys.handover import Handed, Handover, handover_key
from interlock.keys.intake import INTAKE, intake, intake_keys, keep_intake, turn_intake
from interlock.keys.kek import ensure_folder, load_kek, parse_kek
from interlock.keys.keyring import ASSERTION, LOOKUP, Keyring, open_keyring
from interlock.keys.log_key import LOG, LogKey, ensure_log_key, log_names, open_log_key, rotate_log_key
from interlock.keys.recipient import PresentRecipient, Recipient, RecipientKey, recipient
from interlock.keys.record_keys import RECORD, DayRecipient, RecordDays
from interlock.keys.sealing import read_private, write_private
from interlock.keys.store_key import STORE, StoreKey, StoreKeys, drop_old_store, store_keys, turn_store
from interlock.keys.wrapping import Kek, KekUnavailable, LocalKek

__all__ = [
    "ASSERTION",
    "CACHE",
    "FACTORS",
    "INTAKE",
    "LOG",
    "LOOKUP",
    "RECORD",
    "STORE",
    "DayRecipient",
    "FactorKey",
    "Handed",
    "Handover",
    "Kek",
    "KekUnavailable",
    "Keyring",
    "LocalKek",
    "LogKey",
    "PresentRecipient",
    "Recipient",
    "RecipientKey",
    "RecordDays",
    "StoreKey",
    "StoreKeys",
    "cache_key",
    "drop_old_store",
    "ensure_folder",
    "ensure_log_key",
    "factor_key",
    "handover_key",
    "intake",
    "intake_keys",
    "keep_intake",
    "load_kek",
    "log_names",
    "lookup_hash",
    "mint",
    "open_keyring",
    "open_log_key",
    "parse_kek",
    "read_private",
    "recipient",
    "rotate_log_key",
    "store_keys",
    "turn_cache",
    "turn_intake",
    "turn_store",
    "well_formed",
    "write_private",
]
