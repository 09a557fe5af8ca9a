"""The command line. `main` is the program `interlock`.

Exit status: 0 done; 1 failed, or something was found; 2 used wrongly. Modules of this package import
what is heavy inside the commands that need it, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from interlock.errors import InterlockError, UsageError

__all__ = ["main", "run"]

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command that the process was started with."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command; gives the exit status."""
    from interlock.cli.app import app
    from interlock.cli.output import tell

    try:
        app(args=words, prog_name="interlock")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UsageError as problem:
        tell(f"interlock: {problem}")
        return 2
    except InterlockError as problem:
        tell(f"interlock: {problem}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
