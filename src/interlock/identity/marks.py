"""Not-before marks: everything of a principal, a client or an issuer, refused by when it was issued.

A revoked handle (`handles.py`) refuses one credential for good. A mark refuses whatever carries its handle and was
issued before a second, so that the same person or client can come back with what is issued afterwards:

- Times are compared in whole seconds, since that is what `iat` has (RFC 7519 allows fractions; they are cut).
- Revoking in second S sets the mark to S + 1. What was issued in second S or before is refused, whether in truth it
  came before the revocation or after it within the same second: nobody can tell, and this fails closed.
- What does not say when it was issued is refused under any mark.
- Our own issuer, and the desk that makes API keys, do not date anything before the mark (`earliest`), so whoever
  signs in again at once has a credential that holds, at most one second later. An outside issuer knows nothing
  of marks: what it issues within the second of the revocation is refused, what it issues from the next one on holds.
- An issuer whose clock is ahead dates its tokens later than they were issued. `ahead` moves the mark by as many
  seconds, for a revocation that must reach those too.
- A mark is never moved back, also when the clock is.
"""

from __future__ import annotations

from typing import Final

from interlock.clock import SECOND
from interlock.identity.directory import KeyDirectory
from interlock.model import Identity

FARTHEST: Final = 300  # seconds: no issuer's clock may differ by more (`leeway`)
LONGEST: Final = 3600  # seconds: no access token of our own issuer lives longer (`access_token`)


def mark(now: int, ahead: int = 0) -> int:
    """The mark of a revocation at `now` (wall ns), in seconds."""
    return now // SECOND + 1 + ahead


def earliest(now: int, since: int) -> int:
    """The wall ns from which a credential may be dated and given out, with `since` the mark over whom it is for.

    It is `now` but for the rest of a revocation's second. Whoever issues MUST read the mark first and date afterwards.
    """
    return max(now, since * SECOND)


def is_refused(directory: KeyDirectory, identity: Identity) -> bool:
    """Whether anything that the identity stands on was revoked, or was issued before a mark."""
    issued = identity.issued
    is_revoked, not_before = directory.is_revoked, directory.not_before
    return any(is_revoked(handle) or not_before(handle) > issued for handle in identity.handles)
