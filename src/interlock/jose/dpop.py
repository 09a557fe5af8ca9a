"""Proofs of possession of a key, one for each request (DPoP, RFC 9449): whether one is good, and for what.

The only place where a key that came with a signature is used, and only to show that the sender holds it: whose
key that is says the token that is bound to its thumbprint. The checks of section 4.3 (its numbers in brackets),
in this order; each raises `ProofRefused`, with a note of its own:

 1. one field (1), of at most 8 KiB
 2. three segments of canonical base64url, header and claims one JSON object each (2)
 3. `typ` is `dpop+jwt` (4)
 4. `alg` is one of `PROOF_ALGORITHMS`: asymmetric, never `none` (5); of `FAPI2_ALGORITHMS` where only those are taken
 5. the header asks for nothing that is not done here, and brings no second key
 6. `jwk` is one public key, in its one form and for that algorithm; nothing private is in it (7)
 7. the claims that are required are there: `jti`, `htm`, `htu`, `iat` (3)
 8. the key is the one that the token is bound to (12)
 9. the signature (6)
10. `htm` is this request's method (8)
11. `htu` is its URL, without query and fragment (9)
12. `nonce` is one of ours, where there is one or one is required (10)
13. `iat` is not older than the window, nor ahead of us by more than `AHEAD` (11)
14. `ath` is the hash of the token that came with it (12)

That a proof was not used before is no property of the proof: `interlock.identity.dpop` asks for it.
A note MUST NOT tell of a URL, which may name a person, or of a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, RSAKey

from interlock.clock import SECOND
from interlock.jose.encoding import Malformed, decode_base64url, decode_json_object
from interlock.jose.errors import ProofRefused
from interlock.jose.jwk import VerificationKey, verification_key
from interlock.jose.jws import signature_holds
from interlock.jose.thumbprint import thumbprint
from interlock.model import Reason

PROOF_ALGORITHMS = (
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
    *("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
)
FAPI2_ALGORITHMS = ("PS256", "ES256", "EdDSA", "Ed25519")  # FAPI 2.0 Security Profile section 5.4.1: no Ed448
MAX_PROOF = 8 * 1024  # bytes
WINDOW = 60  # seconds for which a proof may be used
AHEAD = 10  # seconds that its maker's clock may be ahead of ours
MAX_RSA = 4096  # bits: anybody may bring a key, and a longer one costs whoever verifies it

_TYPE = "dpop+jwt"
_LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z
_SECOND_KEY = ("crit", "b64", "jku", "x5u", "x5c")
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_NUMBERS = {"EC": ("x", "y"), "OKP": ("x",), "RSA": ("n", "e")}  # what a public key of each type consists of
_SENDERS = 4096  # whose header is remembered
_HEADER = 2048  # bytes of the longest of these

_URL = re.compile(r"(?i:(https?)://)([^/?#]*)([^?#]*)(?:\?[^#]*)?(?:#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_PATH = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORT = {"http": 80, "https": 443}


class Proof(msgspec.Struct, frozen=True):
    """A good proof, as far as it can be judged alone."""

    key: bytes  # thumbprint of the key whose possession it shows, 32 bytes
    jti: str
    iat_ns: int  # wall
    nonce: str  # "": none

    @property
    def jkt(self) -> str:
        """The thumbprint as `cnf.jkt` has it."""
        return base64.urlsafe_b64encode(self.key).rstrip(b"=").decode("ascii")


class _Sender:
    """What a proof's header says, checked: a client sends the same one with each of its proofs."""

    __slots__ = ("algorithm", "key", "thumbprint")

    def __init__(self, algorithm: str, key: VerificationKey, thumbprint: bytes) -> None:
        self.algorithm = algorithm
        self.key = key
        self.thumbprint = thumbprint


_senders: dict[bytes, _Sender] = {}  # by the header as it came


def verify_proof(
    proof: bytes,
    *,
    method: str,
    url: str,
    now: int,
    access_token: bytes = b"",
    key: bytes = b"",
    nonce_holds: Callable[[str], bool] | None = None,
    nonce_required: bool = False,
    fapi2: bool = False,
    window: int = WINDOW,
) -> Proof:
    """Check one proof for a request of `method` to `url`; `now` in wall ns, `window` in seconds.

    `proof` is the value of the `DPoP` field; of several fields, all values joined by commas, which is refused.
    `access_token`: the token beside it, whose hash it must then carry; empty at a token endpoint. `key`: the
    thumbprint (32 bytes) that the token is bound to; empty where nothing is bound yet. `nonce_holds` says whether a
    nonce is ours and still good; without it no nonce is. `fapi2`: of the algorithms only `FAPI2_ALGORITHMS` are taken.
    """
    # 1.
    if not proof or b"," in proof or b" " in proof:
        raise _invalid("not one proof" if proof else "empty")
    if len(proof) > MAX_PROOF:
        raise _invalid("longer than 8 KiB")
    # 2. to 6.
    segments = proof.split(b".")
    if len(segments) != 3:
        raise _invalid("not three segments")
    try:
        sender = _senders.get(segments[0])
        if sender is None:
            sender = _sender(decode_json_object(decode_base64url(segments[0])))
        if fapi2 and (sender.algorithm not in FAPI2_ALGORITHMS or "Ed448" in sender.key.algorithms):
            raise _invalid(f"alg {sender.algorithm} is none of FAPI 2.0")
        claims = decode_json_object(decode_base64url(segments[1]))
        signature = decode_base64url(segments[2])
    except Malformed as error:
        raise _invalid(str(error)) from None
    # 7.
    jti, htm, htu = (_text(claims, name) for name in ("jti", "htm", "htu"))
    iat = _date(claims)
    # 8.
    if key and not hmac.compare_digest(key, sender.thumbprint):
        raise ProofRefused(Reason.TOKEN_BINDING, "the proof is by another key than the token is bound to")
    # 9.
    if not signature_holds(proof[: proof.rindex(b".")], signature, sender.key, sender.algorithm):
        raise _invalid("signature")
    # 10.
    if htm != method:
        raise _invalid(f"htm is {htm!r:.20}, the method {method}")
    # 11.
    if htu != url:
        _compare(htu, url)
    # 12.
    nonce = claims.get("nonce", "")
    if not isinstance(nonce, str):
        raise _invalid("nonce is not a string")
    if nonce and (nonce_holds is None or not nonce_holds(nonce)):
        raise ProofRefused(Reason.DPOP_NONCE_NEEDED, "the nonce is old, or not ours")
    if nonce_required and not nonce:
        raise ProofRefused(Reason.DPOP_NONCE_NEEDED, "without a nonce")
    # 13.
    if iat < now - window * SECOND:
        raise _invalid("iat is too old")
    if iat > now + AHEAD * SECOND:
        raise _invalid("iat is in the future")
    # 14.
    if access_token and not _is_hash(claims.get("ath"), access_token):
        raise _invalid("ath is not the hash of this token" if "ath" in claims else "ath is missing")
    if segments[0] not in _senders and len(segments[0]) <= _HEADER:
        if len(_senders) >= _SENDERS:
            _senders.clear()
        _senders[segments[0]] = sender
    return Proof(sender.thumbprint, jti, iat, nonce)


def normal_url(url: str) -> tuple[str, str, str]:
    """Scheme, authority and path of an http(s) URL in normal form (RFC 3986 sections 6.2.2 and 6.2.3).

    Query and fragment are left out. `Malformed` for what is no such URL, or names a user.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise Malformed("not an http URL")
    scheme = match[1].lower()
    authority = _AUTHORITY.fullmatch(match[2])
    if authority is None:
        raise Malformed("no authority")
    if not _PATH.fullmatch(match[3]):
        raise Malformed("characters in the path")
    host = authority[1].lower()
    if authority[2] and int(authority[2]) != _DEFAULT_PORT[scheme]:
        host = f"{host}:{int(authority[2])}"
    return scheme, host, _without_dots(_ENCODED.sub(_normal_octet, match[3])) or "/"


def _normal_octet(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4, of an absolute path."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _compare(htu: str, url: str) -> None:
    try:
        claimed = normal_url(htu)
    except Malformed as error:
        raise _invalid(f"htu: {error}") from None
    for name, one, other in zip(("scheme", "host", "path"), claimed, normal_url(url), strict=True):
        if one != other:
            raise _invalid(f"htu: another {name}")


def _sender(header: dict[str, Any]) -> _Sender:
    """Checks 3 to 6, of a header that is not known yet."""
    # 3.
    if header.get("typ") != _TYPE:
        raise _invalid(f"typ is {_shown(header.get('typ'))}")
    # 4.
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in PROOF_ALGORITHMS:
        raise _invalid(f"alg {_shown(algorithm)} is not among those accepted")
    # 5.
    for name in _SECOND_KEY:
        if name in header:
            raise _invalid(f"header parameter {name}")
    # 6.
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise _invalid("jwk is missing, or no object")
    for name in _PRIVATE:
        if name in jwk:
            raise _invalid("jwk holds a private or a shared key")
    try:
        key = verification_key(jwk)
        known = thumbprint(jwk)
        plain = _has_one_form(jwk, key.key)
    except (JoseError, Malformed, ValueError, KeyError, TypeError) as error:
        raise _invalid(f"jwk: {str(error) or type(error).__name__:.80}") from None
    if not plain:  # the same key would have several thumbprints
        raise _invalid("jwk is not in its one form")
    if algorithm not in key.algorithms:
        raise _invalid(f"jwk is not for {algorithm}")
    if isinstance(key.key, RSAKey) and key.key.public_key.key_size > MAX_RSA:
        raise _invalid(f"jwk is an RSA key of more than {MAX_RSA} bits")
    return _Sender(algorithm, key, known)


def _has_one_form(jwk: dict[str, Any], key: Key) -> bool:
    """Whether its numbers are written as RFC 7518 sections 6.2.1 and 6.3.1 want: coordinates whole, no zeros before.

    They are those of its own type and no others, which could be anything; its `thumbprint` saw that they are texts.
    """
    own = _NUMBERS[jwk["kty"]]
    if any(name in jwk and name not in own for names in _NUMBERS.values() for name in names):
        return False
    numbers = [decode_base64url(jwk[name].encode("ascii")) for name in own]
    if isinstance(key, RSAKey):
        return all(number[:1] > b"\0" for number in numbers)
    size = (key.curve_key_size + 7) // 8 if isinstance(key, ECKey) else len(numbers[0])
    return all(len(number) == size for number in numbers)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise _invalid(f"{name} is missing, or no string")
    return value


def _date(claims: dict[str, Any]) -> int:
    """`iat` in wall ns."""
    value = claims.get("iat")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise _invalid("iat is missing, or no date")
    if not 0 <= value <= _LATEST:
        raise _invalid("iat is out of range")
    return value * SECOND if isinstance(value, int) else int(value * SECOND)


def _is_hash(ath: object, token: bytes) -> bool:
    wanted = base64.urlsafe_b64encode(hashlib.sha256(token).digest()).rstrip(b"=")
    return isinstance(ath, str) and hmac.compare_digest(ath.encode("utf-8"), wanted)


def _invalid(note: str) -> ProofRefused:
    return ProofRefused(Reason.DPOP_INVALID, note)


def _shown(value: object) -> str:
    """A value out of an unverified proof, fit for the record."""
    return repr(value)[:80]
