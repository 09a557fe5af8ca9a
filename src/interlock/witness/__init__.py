"""A witness: sees the checkpoints of logs, and cosigns each only if it goes on from the one before (C2SP tlog-witness).

It MUST NOT cosign two trees of one log of which neither is the beginning of the other, whatever happens to it.
"""

from interlock.witness.key import open_cosigner
from interlock.witness.protocol import Answer, Known, Response, judge, read_submission
from interlock.witness.service import Witness, group_logs
from interlock.witness.store import Store

__all__ = [
    "Answer",
    "Known",
    "Response",
    "Store",
    "Witness",
    "group_logs",
    "judge",
    "open_cosigner",
    "read_submission",
]
