"""What ends credentials, or says how far they are to be trusted.

None of it opens a key, but to read an opaque token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from interlock.control.credentials import Named, OfCertificate, OfIssuer, OfToken, Plain
from interlock.control.desks import Desks
from interlock.control.keys import Named as NamedKey
from interlock.control.operations import keys
from interlock.control.operations.operation import Asker, Lane, Nothing, Operation, Operations, Result, operation
from interlock.control.revocation import RevocationDesk
from interlock.control.risk import Found
from interlock.model import Recorder

T = TypeVar("T")


def _list(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.revocations.live()


def _risk(desks: Desks, wanted: Found, asker: Asker) -> Result:
    return desks.risks.set(wanted, desks.named_credentials(), desks.acts(asker.actor))


def _risks(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.risks.live()


def _revoking(wanted: type[T], revoke: Callable[[RevocationDesk, T, Named, Recorder], Result]) -> Operation:
    def work(desks: Desks, wanted: T, asker: Asker) -> Result:
        return revoke(desks.revocations, wanted, desks.named_credentials(), desks.acts(asker.actor))

    return operation(wanted, work, lane=Lane.REVOKING)


REVOKING: Final[Operations] = {
    "revoke.token": _revoking(OfToken, RevocationDesk.token),
    "revoke.client": _revoking(OfIssuer, RevocationDesk.client),
    "revoke.session": _revoking(OfIssuer, RevocationDesk.session),
    "revoke.principal": _revoking(Plain, RevocationDesk.principal),
    "revoke.user": _revoking(Plain, RevocationDesk.user),
    "revoke.issuer": _revoking(Plain, RevocationDesk.issuer),
    "revoke.certificate": _revoking(OfCertificate, RevocationDesk.certificate),
    "revoke.key": operation(NamedKey, keys.revoke, lane=Lane.REVOKING),
    "revoke.list": operation(Nothing, _list, lane=Lane.QUESTIONS),
    "risk.set": operation(Found, _risk),
    "risk.list": operation(Nothing, _risks, lane=Lane.QUESTIONS),
}
