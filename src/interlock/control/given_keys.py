"""The node's signing keys where they are used: what upstreams verify with, and what workers sign with."""

from __future__ import annotations

from typing import Any

from interlock.control.desks import Desks
from interlock.control.keyring import hand_over, jwks
from interlock.keys import Handover


class GivenKeys:
    """Follows the keyring. `jwks` is what the admin listener shows."""

    def __init__(self, desks: Desks, handover: Handover) -> None:
        self._desks = desks
        self._handover = handover
        self.jwks: dict[str, Any] = {"keys": []}

    def publish(self) -> None:
        """What upstreams verify with."""
        self.jwks = jwks(self._desks.keyring)

    def hand_over(self) -> None:
        """What workers sign with, and the certificate that they serve by; the next snapshot has them look."""
        hand_over(self._handover, self._desks.keyring, self._desks.config)

    def turned(self) -> None:
        """They are others now: what upstreams verify with first."""
        self.publish()
        self.hand_over()

    def drop_former(self) -> None:
        """To be called now and then: the overlap may be over."""
        if len(self.jwks["keys"]) > 1:
            self.publish()
