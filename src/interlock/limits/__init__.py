"""Rate limits: GCRA, exact over all workers of the node."""

from interlock.limits.gcra import Rate
from interlock.limits.limiter import Limit, Verdict, compile_limits

__all__ = ["Limit", "Rate", "Verdict", "compile_limits"]
