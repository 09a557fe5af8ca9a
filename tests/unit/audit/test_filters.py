"""Filters: each alone, several together, what is no filter."""

from __future__ import annotations

import pytest

from interlock.audit.filters import Filters
from interlock.errors import UsageError

CALL = {
    "principal": "service:interlock/billing",
    "decision": "deny",
    "reason": "permission-missing",
    "route": "GET /accounts/{id}",
    "service": "ledger",
    "source": "10.1.2.3",
    "action": "GET",
    "status": 403,
}
ACT = {"actor": "os:host/root", "event": "key:create", "details": {}}
FLOOD = {"decision": "deny", "reason": "no-route", "reasons": {"no-route": 9, "token-expired": 1}, "source": "fe80::1"}


@pytest.mark.parametrize(
    ("filters", "call", "act", "flood"),
    [
        (Filters(), True, True, True),
        (Filters(principal=("service:interlock/billing",)), True, False, False),
        (Filters(principal=("service:*",)), True, False, False),
        (Filters(principal=("nobody", "os:*/root")), False, True, False),
        (Filters(principal=("service:interlock/[b]illing",)), False, False, False),
        (Filters(decision="deny"), True, False, True),
        (Filters(decision="allow"), False, False, False),
        (Filters(reason=("token-expired",)), False, False, True),
        (Filters(reason=("permission-*",)), True, False, False),
        (Filters(route=("GET /accounts/{id}",)), True, False, False),
        (Filters(route=("*/accounts/*",)), True, False, False),
        (Filters(service=("ledger", "other")), True, False, False),
        (Filters(source=("10.0.0.0/8",)), True, False, False),
        (Filters(source=("10.1.2.3",)), True, False, False),
        (Filters(source=("fe80::/10",)), False, False, True),
        (Filters(method=("get",)), True, False, False),
        (Filters(method=("POST",)), False, False, False),
        (Filters(status=("4xx",)), True, False, False),
        (Filters(status=("400-402", "403")), True, False, False),
        (Filters(status=("400-402",)), False, False, False),
        (Filters(status=("4xx",), service=("other",)), False, False, False),
        (Filters(status=("4xx",), service=("ledger",), source=("10.0.0.0/8",)), True, False, False),
    ],
)
def test_a_filter_takes_what_it_names(filters: Filters, call: bool, act: bool, flood: bool) -> None:
    wanted = filters.compile()
    assert (wanted(CALL), wanted(ACT), wanted(FLOOD)) == (call, act, flood)


@pytest.mark.parametrize("filters", [Filters(source=("ten",)), Filters(status=("six",)), Filters(status=("4x",))])
def test_what_is_no_filter_is_refused(filters: Filters) -> None:
    with pytest.raises(UsageError):
        filters.compile()
