"""A KEK in a PKCS#11 token: an AES key that wraps there and is never seen here (AES-GCM, PKCS#11 v2.40, 2.10.3).

The library is `python-pkcs11` (the extra `interlock[pkcs11]`). A session is opened for each operation and closed
after it, so that a token that was away is simply there again. MUST NOT be used before a fork: PKCS#11 libraries
do not survive one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from interlock.errors import KeyMaterialError
from interlock.keys.wrapping import NONCE, TAG, KekUnavailable

if TYPE_CHECKING:
    from interlock.config import Pkcs11Source

_ONE_AT_A_TIME = threading.Lock()  # logging in is per process, whatever the session


class Pkcs11Kek:
    """One AES key of one token. Holds where it is, and a reference to the PIN."""

    algorithm = "AES-GCM in a PKCS#11 token"
    kind = "pkcs11"

    def __init__(self, source: Pkcs11Source) -> None:
        self._at = source.pkcs11
        self.id = str(source)

    def __repr__(self) -> str:
        return f"Pkcs11Kek({self.id!r})"

    def wrap(self, secret: bytes, associated: bytes) -> bytes:
        def encrypt(session: Any, key: Any, params: Any, mechanism: Any) -> bytes:
            nonce = bytes(session.generate_random(8 * NONCE))
            return nonce + bytes(key.encrypt(secret, mechanism=mechanism, mechanism_param=params(nonce, associated)))

        return self._with_key(encrypt)

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        def decrypt(_session: Any, key: Any, params: Any, mechanism: Any) -> bytes:
            nonce, rest = wrapped[:NONCE], wrapped[NONCE:]
            return bytes(key.decrypt(rest, mechanism=mechanism, mechanism_param=params(nonce, associated)))

        if len(wrapped) < NONCE + TAG:
            raise KeyMaterialError("what was wrapped is cut short")
        return self._with_key(decrypt)

    def _with_key(self, work: Callable[[Any, Any, Any, Any], bytes]) -> bytes:
        try:
            import pkcs11
            from pkcs11 import exceptions as faults
        except ImportError:
            raise KekUnavailable(
                f"{self.id}: python-pkcs11 is not installed: pip install 'interlock[pkcs11]'"
            ) from None
        pin = self._at.pin.resolve().decode("utf-8", "replace").strip()
        # SoftHSM says "general error" of a tag that does not match.
        damaged = (faults.EncryptedDataInvalid, faults.EncryptedDataLenRange, faults.GeneralError)
        with _ONE_AT_A_TIME:
            try:
                token = pkcs11.lib(str(self._at.module)).get_token(token_label=self._at.token)
                with token.open(user_pin=pin) as session:
                    key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=self._at.key)
                    try:
                        return work(session, key, pkcs11.GCMParams, pkcs11.Mechanism.AES_GCM)
                    except damaged as error:
                        raise KeyMaterialError(f"{self.id}: the token refused it ({_named(error)})") from error
            except (faults.PinIncorrect, faults.PinInvalid, faults.PinLenRange):
                raise KekUnavailable(f"{self.id}: the PIN in {self._at.pin} is wrong") from None
            except faults.PinLocked:
                raise KekUnavailable(f"{self.id}: the PIN is locked") from None
            except faults.NoSuchToken:
                raise KekUnavailable(f"{self.id}: {self._at.module} shows no token of that label") from None
            except faults.NoSuchKey:
                raise KekUnavailable(f"{self.id}: there is no AES key of that label in the token") from None
            except faults.MultipleObjectsReturned:
                raise KekUnavailable(f"{self.id}: several keys of the token have that label") from None
            except (faults.PKCS11Error, RuntimeError, OSError) as error:
                raise KekUnavailable(f"{self.id}: {self._at.module}: {_named(error)}") from None


def _named(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
