"""The corpus against our reader: whole, byte by byte, and with a request behind it."""

from __future__ import annotations

import pytest

from tests.corpus.smuggling import ACCEPTED, CASES, REFUSED, SMUGGLED, Case
from tests.unit.gateway.reading import one_by_one, read


def test_is_a_corpus() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refuses_whole(case: Case) -> None:
    conversation = read([case.raw])
    assert conversation.problem is not None
    assert conversation.problem.reason is case.reason, conversation.problem


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refuses_byte_by_byte(case: Case) -> None:
    conversation = read(one_by_one(case.raw))
    assert conversation.problem is not None
    assert conversation.problem.reason is case.reason, conversation.problem


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_never_reaches_what_is_behind(case: Case) -> None:
    conversation = read([case.raw + SMUGGLED])
    assert conversation.problem is not None
    assert all(message.head.target != b"/admin" for message in conversation.messages)


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepts_whole(case: Case) -> None:
    conversation = read([case.raw])
    assert conversation.problem is None
    assert conversation.seen == case.messages
    assert all(message.complete for message in conversation.messages)


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepts_byte_by_byte(case: Case) -> None:
    conversation = read(one_by_one(case.raw))
    assert conversation.problem is None
    assert conversation.seen == case.messages


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepts_with_a_request_behind(case: Case) -> None:
    conversation = read([case.raw + SMUGGLED])
    assert conversation.problem is None
    assert conversation.seen == (*case.messages, ("GET", b"/admin", b""))


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_no_trailer_becomes_a_credential(case: Case) -> None:
    for message in read([case.raw + SMUGGLED]).messages:
        assert message.head.authorization is None
        assert message.head.api_key is None
        assert message.head.dpop is None
