"""A refused caller learns a title and a reference, and no more."""

from __future__ import annotations

import json

import pytest

from interlock.gateway.problems import problem
from interlock.model import Reason, Refusal


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason(reason: Reason) -> None:
    refusal = Refusal(reason, ((b"www-authenticate", b"Bearer"),), "inner detail")
    fields, body = problem(refusal, "abc-7")
    document = json.loads(body)
    assert set(document) == {"type", "title", "status", "instance"}
    assert document["title"] == reason.title
    assert document["status"] == reason.status
    assert document["instance"] == "urn:interlock:call:abc-7"
    assert document["type"].startswith("urn:interlock:problem:")
    assert b"inner detail" not in body
    assert b"content-type: application/problem+json\r\n" in fields
    assert b"www-authenticate: Bearer\r\n" in fields


def test_reasons_that_share_a_title_cannot_be_told_apart() -> None:
    told: dict[tuple[int, str], set[bytes]] = {}
    for reason in Reason:
        told.setdefault((reason.status, reason.title), set()).add(problem(Refusal(reason), "")[1])
    assert all(len(bodies) == 1 for bodies in told.values())


def test_without_a_record() -> None:
    assert "instance" not in json.loads(problem(Refusal(Reason.INTERNAL), "")[1])


def test_a_reference_is_encoded() -> None:
    assert json.loads(problem(Refusal(Reason.INTERNAL), 'a"b')[1])["instance"] == 'urn:interlock:call:a"b'


def test_answers_do_not_share_their_fields() -> None:
    first, _ = problem(Refusal(Reason.INTERNAL), "")
    first.append(b"x: y\r\n")
    assert b"x: y\r\n" not in problem(Refusal(Reason.INTERNAL), "")[0]
