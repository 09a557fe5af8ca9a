"""Opens a recorder of acts for one process: control, a command, the supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from interlock.control.paths import Paths
from interlock.model import Event, Principal

if TYPE_CHECKING:
    from interlock.audit import ActRecorder

# Who acts where nobody asked for it.
NODE: Final = Principal("service", "interlock", "control")
ISSUER: Final = Principal("service", "interlock", "issuer")


def open_acts(paths: Paths, writer: str, actor: str) -> ActRecorder:
    """A recorder whose segment is begun with its first act. The record's public keys must be there."""
    from interlock.audit import ActRecorder, AttestPage, SegmentWriter
    from interlock.keys import DayRecipient, intake

    paths.make_run_dir()
    segments = SegmentWriter(
        paths.record,
        writer,
        DayRecipient(paths.keys),
        attest=AttestPage.open(paths.attest),
        intake=lambda: intake(paths.keys),
    )
    return ActRecorder(segments, actor)


class BriefActs:
    """A `Recorder` that opens a segment for each act and ends it with the act.

    For the supervisor, whose acts are few: a segment left open would be inherited by every process it
    forks, and its lock with it.
    """

    def __init__(self, paths: Paths, writer: str, actor: str) -> None:
        self._paths = paths
        self._writer = writer
        self._actor = actor

    def act(self, event: Event, details: Mapping[str, Any]) -> str:
        acts = open_acts(self._paths, self._writer, self._actor)
        try:
            return acts.act(event, details)
        finally:
            acts.close()

    def close(self) -> None:
        """Nothing is open."""
