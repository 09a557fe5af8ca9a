"""State that outlives snapshots: API keys and revocations, in SQLite."""

from interlock.store.model import ApiKeyRow, Revocation
from interlock.store.state import State

__all__ = ["ApiKeyRow", "Revocation", "State"]
