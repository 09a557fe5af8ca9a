"""The vocabulary: who calls, what was decided and why, and what goes on the record."""

from interlock.model.condition import LONGEST_CONDITION
from interlock.model.events import Event
from interlock.model.identity import ANONYMOUS, Identity, PeerCertificate
from interlock.model.principal import Principal
from interlock.model.reason import Reason
from interlock.model.recorder import Recorder
from interlock.model.refusal import Pending, Refusal

__all__ = [
    "ANONYMOUS",
    "LONGEST_CONDITION",
    "Event",
    "Identity",
    "PeerCertificate",
    "Pending",
    "Principal",
    "Reason",
    "Recorder",
    "Refusal",
]
