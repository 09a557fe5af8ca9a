"""What no part of the file can know alone: that names refer to something, and that the parts agree.

A check yields findings; a warning is allowed and probably not meant. Nothing is opened or changed: of the
files that are named, only their presence is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from interlock.config.checks import exports, files, issuers, parts, paths, routes
from interlock.config.checks.view import NAMED, Finding, View

__all__ = ["NAMED", "Finding", "View", "check"]


def check(view: View, *, look_at_files: bool = True) -> Iterator[Finding]:
    """Everything that is wrong between the parts of the file, and with the presence of what it names."""
    yield from parts.listeners(view)
    yield from parts.trust(view)
    yield from parts.services(view)
    yield from parts.retention(view)
    yield from routes.check(view)
    yield from paths.conflicts(view)
    if view.whole:
        yield from paths.fall_throughs(view)
    yield from issuers.check(view)
    yield from exports.check(view)
    yield from parts.readers(view)
    if look_at_files:
        yield from files.check(view)
        yield from exports.check_files(view)
    if view.whole:
        yield from parts.unused(view)
