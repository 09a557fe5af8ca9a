"""The node as a whole. A running one does these itself; here is what is left of them without one."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from interlock.control.desks import Desks
from interlock.control.operations.operation import Asker, Nothing, Operations, Result, operation
from interlock.control.status import read_status
from interlock.errors import NodeError


def _status(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return read_status(desks.paths.run, desks.clock)


def _not_running(_desks: Desks, _wanted: dict[str, Any], _asker: Asker) -> NoReturn:
    raise NodeError("the node does not run: start it with `interlock up`")


NODE: Final[Operations] = {
    "status": operation(Nothing, _status),
    "reload": operation(dict[str, Any], _not_running),
    "plan": operation(dict[str, Any], _not_running),
}
