"""Passwords: what may be one, that trying takes as long for nobody, and that nobody fills the queue alone."""

from __future__ import annotations

import threading

import pytest

from interlock.issuer.passwords import Busy, Hasher, PasswordUnfit, Pool, check, prepared

GOOD = "wet paper lanterns"


@pytest.fixture(scope="module")
def hasher() -> Hasher:
    return Hasher(memory_kib=64, passes=1)


# -- what may be one


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("e\u0301t\u00e9 \u00e0 la montagne", "\u00e9t\u00e9 \u00e0 la montagne"),  # NFC
        ("a\u00a0b\u3000c", "a b c"),
        (" spaces count ", " spaces count "),
        ("\uff21", "\uff21"),  # no compatibility mapping: OpaqueString keeps what was typed
        ("\U0001f431\U0001f989", "\U0001f431\U0001f989"),
    ],
)
def test_how_a_password_is_prepared(typed: str, kept: str) -> None:
    assert prepared(typed) == kept


@pytest.mark.parametrize("typed", ["", "a\0b", "a\nb", "a\x7fb", "\ud800", "x" * 257, "x" * 100_000])
def test_what_is_no_password(typed: str) -> None:
    assert prepared(typed) is None
    with pytest.raises(PasswordUnfit):
        check(typed, "alice", alone=False)


def test_lengths() -> None:
    assert check("lantern-moss", "alice", alone=False) == "lantern-moss"
    with pytest.raises(PasswordUnfit, match="at least 12"):
        check("lantern-mos", "alice", alone=False)
    with pytest.raises(PasswordUnfit, match="at least 15"):
        check("lantern-mosses", "alice", alone=True)
    assert check("lantern-mosses!", "alice", alone=True)
    assert check(GOOD * 10, "alice", alone=True)
    # Characters, not bytes; and after normalisation.
    with pytest.raises(PasswordUnfit, match="short"):
        check("e\u0301" * 11, "alice", alone=False)


@pytest.mark.parametrize(
    "typed", ["alice-alice-alice", "Alice.Winters1", "alice.winters@example.com", "ALICE.winters!!"]
)
def test_the_own_name_is_no_password(typed: str) -> None:
    with pytest.raises(PasswordUnfit, match="your name"):
        check(typed, "alice.winters@example.com" if "winters" in typed.casefold() else "alice", alone=False)


@pytest.mark.parametrize(
    "typed",
    [
        "password1234", "P@ssw0rd1234", "Passwort2024!", "passwordpassword", "123456789012", "111111111111",
        "abcabcabcabc", "qwertyuiop123", "asdfghjkl;'12", "Welcome2024!!", "Summer2024!!!", "letmein12345",
        "1q2w3e4r5t6y", "1qaz2wsx3edc", "zyxwvutsrqpo", "correct horse battery staple", "interlock2025",
    ],
)  # fmt: skip
def test_what_others_try_first_is_refused(typed: str) -> None:
    with pytest.raises(PasswordUnfit, match="first"):
        check(typed, "alice", alone=False)


@pytest.mark.parametrize(
    "typed",
    [
        GOOD,
        "tr0ub4dor&3zebra",
        "violet-otter-7-canoe",
        "8fjw0vnq83hv",
        "my cat sleeps on monday mornings",
        "3.14159265358979",
    ],
)
def test_no_rule_of_composition(typed: str) -> None:
    assert check(typed, "alice", alone=False) == typed


# -- hashing


def test_hashes(hasher: Hasher) -> None:
    encoded = hasher.hash(GOOD)
    assert encoded.startswith("$argon2id$")
    assert encoded != hasher.hash(GOOD)
    assert hasher.verify(encoded, GOOD)
    assert not hasher.verify(encoded, GOOD + " ")
    assert not hasher.verify("$argon2id$v=19$damaged", GOOD)
    assert not hasher.verify("not a hash", GOOD)


def test_a_hash_is_outdated_when_the_parameters_were_raised(hasher: Hasher) -> None:
    encoded = hasher.hash(GOOD)
    assert not hasher.outdated(encoded)
    stronger = Hasher(memory_kib=128, passes=1)
    assert stronger.outdated(encoded)
    assert stronger.verify(encoded, GOOD)


def test_the_parameters_are_at_least_those_of_owasp() -> None:
    encoded = Hasher().hash(GOOD)
    assert "m=47104,t=2,p=1" in encoded  # OWASP: m=47104, t=1, p=1 or m=19456, t=2, p=1


def test_nobody_has_a_password_and_it_is_tried_all_the_same(monkeypatch: pytest.MonkeyPatch, hasher: Hasher) -> None:
    tried: list[str] = []
    verify = hasher._argon2.verify
    monkeypatch.setattr(
        hasher, "_argon2", type("Spy", (), {"verify": lambda _, e, p: tried.append(e) or verify(e, p)})()
    )
    assert not hasher.verify("", GOOD)
    (encoded,) = tried
    assert encoded.startswith("$argon2id$v=19$m=64,t=1,p=1$")  # the same work as for somebody


# -- the queue


class Held:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(10)
        with self._lock:
            self.running -= 1
        return True


def test_not_more_at_once_and_not_more_waiting() -> None:
    pool, work = Pool(at_once=2, queue=3, queue_of_one=9), Held()
    try:
        futures = [pool.submit(f"net{number}", work) for number in range(5)]
        with pytest.raises(Busy):
            pool.submit("net9", work)
        work.go.set()
        assert all(future.result(10) for future in futures)
        assert work.most <= 2
        assert pool.submit("net9", work).result(10)  # there is room again
    finally:
        work.go.set()
        pool.close()


def test_one_network_does_not_fill_the_queue() -> None:
    pool, work = Pool(at_once=1, queue=10, queue_of_one=2), Held()
    try:
        futures = [pool.submit("attacker", work), pool.submit("attacker", work)]
        for _ in range(20):
            with pytest.raises(Busy):
                pool.submit("attacker", work)
        futures.append(pool.submit("somebody else", work))
        work.go.set()
        assert all(future.result(10) for future in futures)
        assert not pool._waiting  # nothing is remembered of who waited
    finally:
        work.go.set()
        pool.close()


def test_work_that_fails_gives_its_place_back() -> None:
    pool = Pool(at_once=1, queue=0, queue_of_one=1)

    def fail() -> bool:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            pool.submit("net", fail).result(10)
    pool.close()
    with pytest.raises(Busy):
        pool.submit("net", fail)
    assert not pool._waiting
