"""The command `interlock tour`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from interlock.cli.tour.lines import Line


def tour(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the scratch directory, to look around in it.")] = False,
) -> None:
    """Show on a scratch directory what passes and what does not: each line is tried for real.

    Starts an upstream and a node on free loopback ports, makes an outside issuer's keys on the spot, and ends
    everything. Exit status 0 if every line holds, 1 if not. Takes less than a minute.

    Example:  interlock tour
    """
    import shutil
    import tempfile
    import time
    from pathlib import Path

    from interlock.cli.output import print_json, say, tell, working
    from interlock.cli.tour.lines import walk
    from interlock.cli.tour.scene import Scene
    from interlock.cli.tour.upstream import Upstream

    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="interlock-tour-"))
    lines: list[Line] = []
    try:
        with Upstream() as upstream:
            with working("starting a node"):
                scene = Scene(folder, upstream.url).__enter__()
            try:
                for line in walk(scene, upstream):
                    lines.append(line)
                    if not as_json:
                        say(_shown(line))
            finally:
                scene.stop()
    finally:
        if keep:
            tell(f"left in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    failed = [line for line in lines if not line.holds]
    if as_json:
        print_json(
            {
                "ok": bool(lines) and not failed,
                "seconds": round(time.monotonic() - began, 1),
                "lines": [
                    {
                        "claim": line.claim,
                        "expected": line.expected,
                        "seen": line.seen,
                        "holds": line.holds,
                        "seconds": round(line.seconds, 3),
                    }
                    for line in lines
                ],
            }
        )
    else:
        say(f"\n{len(lines) - len(failed)} of {len(lines)} lines hold, in {time.monotonic() - began:.0f} seconds")
    raise typer.Exit(1 if failed or not lines else 0)


def _shown(line: Line) -> str:
    if line.holds:
        return f"  holds  {line.claim:<48} {line.seen}"
    return f"  FAILS  {line.claim:<48} {line.seen}   (expected {line.expected})"
