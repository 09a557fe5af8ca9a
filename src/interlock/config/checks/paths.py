"""Routes beside each other: which paths two of them claim, and which calls fall through to a public one."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.config.checks.view import Finding, View
from interlock.config.conflicts import find_conflicts
from interlock.config.fallthrough import find_fall_throughs
from interlock.config.own_issuer import EVENTS
from interlock.config.patterns import Pattern, parse_pattern

MAX_CONFLICTS = 100  # reported; the rest is counted


def conflicts(view: View) -> Iterator[Finding]:
    patterns = [(number, index, pattern) for number, route in view.routes for index, pattern in enumerate(route.match)]
    told = [parse_pattern(f"POST {EVENTS}")] if view.config.identity.pushing else []
    own = told if view.config.issuer is None else view.config.issuer.patterns()
    folders = told if view.config.issuer is None else view.config.issuer.folders()
    left = []
    for number, index, pattern in patterns:
        folder = next((one for one in folders if _lies_within(pattern, one)), None)
        if folder is None:
            left.append((number, index, pattern))
            continue
        # It would win, being more specific, and be given what was meant for the issuer: secrets, passwords, codes.
        yield Finding(
            ("routes", number, "match", index),
            f"`{pattern.text}` lies within {folder.path}, which belongs to the `issuer`",
            "change it, or give the issuer's URL another path",
        )
    patterns = left
    conflicts = find_conflicts([*(pattern for _, _, pattern in patterns), *own])
    for conflict in conflicts[:MAX_CONFLICTS]:
        if conflict.second >= len(patterns):
            number, index, pattern = patterns[conflict.first]
            yield Finding(
                ("routes", number, "match", index),
                f"`{pattern.text}` matches {conflict.example}, which belongs to the `issuer`",
                "change it, or give the issuer's URL another path",
            )
            continue
        first, i, one = patterns[conflict.first]
        second, j, other = patterns[conflict.second]
        what = "match the same calls" if one.segments == other.segments else f"both match {conflict.example}"
        yield Finding(
            ("routes", second, "match", j),
            f"`{other.text}` and `{one.text}` of {{other}} {what}, and neither is more specific",
            "change one, name the methods of each, or add a route for what both match",
            other=("routes", first, "match", i),
        )
    if len(conflicts) > MAX_CONFLICTS:
        yield Finding(("routes",), f"{len(conflicts) - MAX_CONFLICTS} more conflicts between routes are not shown")


def _lies_within(pattern: Pattern, folder: Pattern) -> bool:
    return pattern.host == folder.host and pattern.segments[: len(folder.segments)] == folder.segments


def fall_throughs(view: View) -> Iterator[Finding]:
    patterns = [(number, index, pattern) for number, route in view.routes for index, pattern in enumerate(route.match)]
    public = [view.config.routes[number].allow.public for number, _, _ in patterns]
    found = find_fall_throughs([pattern for _, _, pattern in patterns], public)
    for one in found[:MAX_CONFLICTS]:
        number, index, guarded = patterns[one.guarded]
        open_, j, public_pattern = patterns[one.public]
        methods = ",".join(one.methods)
        rest = " ".join(part for part in (methods, guarded.host, guarded.path) if part)
        yield Finding(
            ("routes", number, "match", index),
            f"`{guarded.text}` is guarded, but {methods} of the same paths would pass as `{public_pattern.text}` "
            "of {other}, which is public",
            f"leave the methods out here, or name those of the public route, or add a route `{rest}`",
            other=("routes", open_, "match", j),
        )
    if len(found) > MAX_CONFLICTS:
        yield Finding(("routes",), f"{len(found) - MAX_CONFLICTS} more guarded routes beside public ones are not shown")
