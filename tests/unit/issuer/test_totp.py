"""Codes that change with the time: the vectors of the RFCs, each step once, nothing else accepted."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from interlock.clock import SECOND
from interlock.issuer.totp import STEP, code_at, digits, matching_step, new_seed, qr_svg, shown_seed, uri

SEED = b"12345678901234567890"  # of RFC 4226 appendix D and RFC 6238 appendix B
NOW = 1_700_000_000 * SECOND
PRESENT = 1_700_000_000 // STEP

# RFC 6238 appendix B: time, and the code of eight digits by SHA-1, SHA-256, SHA-512
VECTORS = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]
HOTP_VECTORS = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489".split()  # noqa: SIM905


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector[0]))
def test_the_vectors_of_rfc_6238(vector: tuple[int, str, str, str]) -> None:
    time, *expected = vector
    hashes: list[HashAlgorithm] = [SHA1(), SHA256(), SHA512()]
    for algorithm, size, code in zip(hashes, (20, 32, 64), expected, strict=True):
        seed = (SEED * 4)[:size]
        assert TOTP(seed, 8, algorithm, 30).generate(time).decode() == code
    # Six digits are the last six of eight.
    assert code_at(SEED, time // STEP) == expected[0][2:]
    assert matching_step(SEED, expected[0][2:], time * SECOND, 0) == time // STEP


def test_the_vectors_of_rfc_4226() -> None:
    for counter, code in enumerate(HOTP_VECTORS):
        assert HOTP(SEED, 6, SHA1()).generate(counter).decode() == code
        assert code_at(SEED, counter) == code


@pytest.mark.parametrize("away", [-1, 0, 1])
def test_the_step_before_and_the_one_after_count(away: int) -> None:
    assert matching_step(SEED, code_at(SEED, PRESENT + away), NOW, 0) == PRESENT + away


@pytest.mark.parametrize("away", [-3, -2, 2, 3])
def test_others_do_not(away: int) -> None:
    assert matching_step(SEED, code_at(SEED, PRESENT + away), NOW, 0) is None


def test_a_step_that_was_accepted_is_not_accepted_again() -> None:
    code = code_at(SEED, PRESENT)
    assert matching_step(SEED, code, NOW, PRESENT) is None
    # Nor one before it, which somebody may have looked at meanwhile.
    assert matching_step(SEED, code_at(SEED, PRESENT - 1), NOW, PRESENT) is None
    assert matching_step(SEED, code_at(SEED, PRESENT + 1), NOW, PRESENT) == PRESENT + 1


@pytest.mark.parametrize("typed", ["{}", " {} ", "{0[0]}{0[1]}{0[2]} {0[3]}{0[4]}{0[5]}", "{}\n"])
def test_how_a_code_may_be_typed(typed: str) -> None:
    code = code_at(SEED, PRESENT)
    assert matching_step(SEED, typed.format(code), NOW, 0) == PRESENT


def test_full_width_digits_are_digits() -> None:
    code = code_at(SEED, PRESENT)
    wide = "".join(chr(0xFF10 + int(digit)) for digit in code)
    assert digits(wide) == code


@pytest.mark.parametrize(
    "typed", ["", "000000"[:5], "1" * 7, "12345a", "\u0661\u0662\u0663\u0664\u0665\u0666", "1" * 10_000, "\0"]
)
def test_what_is_no_code_matches_nothing(typed: str) -> None:
    assert digits(typed) == ""
    assert matching_step(SEED, typed, NOW, 0) is None


def test_seeds() -> None:
    assert len(new_seed()) == 20
    assert new_seed() != new_seed()
    assert base64.b32decode(shown_seed(SEED).replace(" ", "")) == SEED


def test_the_uri_keeps_what_is_in_a_name_apart() -> None:
    made = urlsplit(uri(SEED, "id.example.com", "a@b.example?secret=AAAA&issuer=evil"))
    assert (made.scheme, made.netloc) == ("otpauth", "totp")
    fields = parse_qs(made.query)
    assert base64.b32decode(fields["secret"][0]) == SEED
    assert len(fields["secret"]) == 1
    assert fields["issuer"] == ["id.example.com"]
    assert (fields["algorithm"], fields["digits"], fields["period"]) == (["SHA1"], ["6"], ["30"])


def test_the_qr_code_is_one_picture_without_anything_active() -> None:
    svg = qr_svg(uri(SEED, "id.example.com", "alice"))
    root = ElementTree.fromstring(svg)
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds <= {"svg", "path"}
    assert not any(name.startswith("on") or name == "style" for element in root.iter() for name in element.attrib)
