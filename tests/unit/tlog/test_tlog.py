"""Hashes of the log, against published and independently computed values."""

from __future__ import annotations

import hashlib

from interlock.tlog import START, extend, leaf_hash


def test_leaf_hashes_of_certificate_transparency() -> None:
    # the leaf hashes of the reference implementation's test data (RFC 6962 section 2.1)
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"\x00").hex() == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    assert leaf_hash(b"\x10").hex() == "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7"


def test_a_leaf_is_not_the_plain_hash() -> None:
    assert leaf_hash(b"x") != hashlib.sha256(b"x").digest()


def test_running_hash_depends_on_order_and_content() -> None:
    ab = extend(extend(START, b"a"), b"b")
    assert ab == hashlib.sha256(hashlib.sha256(bytes(32) + b"a").digest() + b"b").digest()
    assert ab != extend(extend(START, b"b"), b"a")
    assert ab != extend(START, b"ab")
