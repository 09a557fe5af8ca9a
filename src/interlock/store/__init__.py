"""State that outlives snapshots: API keys, revocations, and who is who on the record, in SQLite."""

from interlock.store.model import ApiKeyRow, Erasure, Hold, Mark, Person, Revocation, SubjectRow, TakenIn
from interlock.store.persons import Persons
from interlock.store.revocations import Revocations
from interlock.store.state import State

__all__ = [
    "ApiKeyRow",
    "Erasure",
    "Hold",
    "Mark",
    "Person",
    "Persons",
    "Revocation",
    "Revocations",
    "State",
    "SubjectRow",
    "TakenIn",
]
