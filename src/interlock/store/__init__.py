"""State that outlives snapshots: API keys, revocations, and who is who on the record, in SQLite."""

from interlock.store.model import ApiKeyRow, Erasure, Hold, Person, Revocation, SubjectRow, TakenIn
from interlock.store.persons import Persons
from interlock.store.state import State

__all__ = ["ApiKeyRow", "Erasure", "Hold", "Person", "Persons", "Revocation", "State", "SubjectRow", "TakenIn"]
