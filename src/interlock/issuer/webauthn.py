"""Passkeys (W3C Web Authentication, Level 3), verified by py_webauthn.

Origin and RP ID come from `issuer.url` and never from a request. User verification is required both when a passkey
is made and when it is used: with it a passkey is two factors, the device and what unlocks it. Passkeys are
discoverable, so that one is enough to sign in with and no name has to be typed.

No attestation is asked for: who made the device is not known, and `hwk` is therefore not claimed.
"""

from __future__ import annotations

import base64
import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from interlock.errors import InterlockError, KeyMaterialError

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

CHALLENGE: Final = 32  # bytes
TIMEOUT_MS: Final = 300_000
LONGEST: Final = 16 * 1024  # characters of a browser's answer
LONGEST_ID: Final = 1023  # bytes of a credential id: section 5.8.3
_FORMATS: Final = frozenset(
    {"none", "packed"}
)  # nothing else is what was asked for; the others would bring their parsers


class PasskeyRefused(InterlockError):
    """What the browser brought does not verify. The message is for the record."""


class Passkey(msgspec.Struct, frozen=True):
    """What is kept of one, sealed."""

    credential: bytes
    public_key: bytes  # COSE
    transports: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Passkey()"

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Passkey:
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise KeyMaterialError("a passkey in the state database is damaged") from error


class Presented(msgspec.Struct, frozen=True):
    """An assertion, taken apart and not verified: nothing in it is true yet."""

    credential: bytes
    user: bytes | None  # the user handle: the account's id
    text: str


class RelyingParty:
    """The issuer as browsers know it."""

    def __init__(self, url: str) -> None:
        """`url`: of the issuer."""
        parts = urlsplit(url)
        self.id = (parts.hostname or "").lower()
        port = f":{parts.port}" if parts.port not in (None, {"https": 443, "http": 80}[parts.scheme]) else ""
        host = f"[{self.id}]" if ":" in self.id else self.id
        self.origin = f"{parts.scheme}://{host}{port}"

    @property
    def usable(self) -> bool:
        """Browsers take names only, and http for localhost only."""
        try:
            ip_address(self.id)
        except ValueError:
            return self.origin.startswith("https:") or self.id == "localhost"
        return False

    # -- making one

    def creation(self, account_id: str, name: str, challenge: bytes, known: list[Passkey]) -> str:
        """The options of `navigator.credentials.create`, as JSON."""
        from webauthn import generate_registration_options, options_to_json
        from webauthn.helpers.structs import (
            AttestationConveyancePreference,
            AuthenticatorSelectionCriteria,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        return options_to_json(
            generate_registration_options(
                rp_id=self.id,
                rp_name=self.id,
                user_name=name,
                user_id=account_id.encode(),
                challenge=challenge,
                timeout=TIMEOUT_MS,
                attestation=AttestationConveyancePreference.NONE,
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.REQUIRED,
                    user_verification=UserVerificationRequirement.REQUIRED,
                ),
                exclude_credentials=_descriptors(known),
            )
        )

    def created(self, text: str, challenge: bytes) -> tuple[Passkey, int]:
        """The new passkey and its counter; `PasskeyRefused`."""
        from webauthn import verify_registration_response
        from webauthn.helpers import parse_attestation_object, parse_registration_credential_json

        answer = _object(text)
        try:
            credential = parse_registration_credential_json(answer)
            form = parse_attestation_object(credential.response.attestation_object).fmt
            _require(form in _FORMATS, f"an attestation was not asked for ({form})")
            _check_frame(credential.response.client_data_json)
            verified = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except PasskeyRefused:
            raise
        except Exception as error:  # the library's, and what its parsers let through of others
            raise PasskeyRefused(_said(error)) from error
        if not 16 <= len(verified.credential_id) <= LONGEST_ID:
            raise PasskeyRefused("the credential's id has a length that none should have")
        transports = tuple(transport.value for transport in credential.response.transports or ())
        return Passkey(verified.credential_id, verified.credential_public_key, transports), verified.sign_count

    # -- using one

    def request(self, challenge: bytes, allowed: list[Passkey]) -> str:
        """The options of `navigator.credentials.get`, as JSON; none allowed: any that the browser finds."""
        from webauthn import generate_authentication_options, options_to_json
        from webauthn.helpers.structs import UserVerificationRequirement

        return options_to_json(
            generate_authentication_options(
                rp_id=self.id,
                challenge=challenge,
                timeout=TIMEOUT_MS,
                allow_credentials=_descriptors(allowed),
                user_verification=UserVerificationRequirement.REQUIRED,
            )
        )

    def presented(self, text: str) -> Presented:
        """Whose it says it is; `PasskeyRefused` if it cannot be read."""
        answer = _object(text)
        response = answer.get("response")
        user = response.get("userHandle") if isinstance(response, dict) else None
        return Presented(_bytes(answer.get("id")), _bytes(user) if user else None, text)

    def asserted(self, presented: Presented, challenge: bytes, passkey: Passkey) -> int:
        """Its counter now; `PasskeyRefused`.

        The counter is for the caller to compare with the last one: going back is a sign, no proof.
        """
        from webauthn import verify_authentication_response
        from webauthn.helpers import parse_authentication_credential_json

        try:
            credential = parse_authentication_credential_json(_object(presented.text))
            _check_frame(credential.response.client_data_json)
            _require(credential.raw_id == passkey.credential, "another credential was presented")
            verified = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,
                require_user_verification=True,
            )
        except PasskeyRefused:
            raise
        except Exception as error:  # the library's, and what its parsers let through of others
            raise PasskeyRefused(_said(error)) from error
        return verified.new_sign_count


def _descriptors(passkeys: list[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    known = {transport.value for transport in AuthenticatorTransport}
    return [
        PublicKeyCredentialDescriptor(
            id=one.credential,
            transports=[AuthenticatorTransport(name) for name in one.transports if name in known] or None,
        )
        for one in passkeys
    ]


def _object(text: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise PasskeyRefused("the browser's answer is too long")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise PasskeyRefused("the browser's answer is not JSON") from None
    if not isinstance(found, dict):
        raise PasskeyRefused("the browser's answer is not an object")
    return found


def _bytes(value: object) -> bytes:
    if not isinstance(value, str) or not value.isascii() or len(value) > 2 * LONGEST_ID:
        raise PasskeyRefused("the browser's answer names no credential")
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except ValueError:
        raise PasskeyRefused("the browser's answer names no credential") from None


def _check_frame(client_data: bytes) -> None:
    """No page of ours is framed, so nothing that was made in a frame is ours (section 7.2, step 10)."""
    data = json.loads(client_data)
    if not isinstance(data, dict) or data.get("crossOrigin") not in (None, False) or "topOrigin" in data:
        raise PasskeyRefused("it was made within another site's page")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise PasskeyRefused(otherwise)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
