"""Whether an identity may make a call: step 3 of a call, usable without the gateway.

Default deny: what no rule allows is refused, and a rule that cannot be evaluated refuses. CEL is loaded only
where a route has a condition.
"""

from interlock.policy.allow import Allow, compile_allow, needs_facts
from interlock.policy.condition import ConditionInvalid, check_condition
from interlock.policy.facts import CallFacts

__all__ = ["Allow", "CallFacts", "ConditionInvalid", "check_condition", "compile_allow", "needs_facts"]
