"""Runs an `interlock` command as another user of the operating system; itself it is started as root.

    python -m tests.integration.as_user UID GID GROUP,GROUP... WORD...

What the command needs is loaded before root is given up: the interpreter may lie where the other user cannot read.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

BEGIN = "--- the command says:"


def main() -> int:
    uid, gid, groups, *words = sys.argv[1:]
    import interlock.cli
    import interlock.config
    import interlock.control.client
    import interlock.control.lock
    import interlock.control.readers
    import interlock.control.reload
    import interlock.control.service

    for found in pkgutil.iter_modules(interlock.cli.__path__, "interlock.cli."):
        importlib.import_module(found.name)
    interlock.cli.run(["audit", "query", "--help"])  # what typer loads late
    sys.stdout.flush()
    os.setgroups([int(one) for one in groups.split(",") if one])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))
    print(BEGIN, flush=True)
    return interlock.cli.run(words)


if __name__ == "__main__":
    sys.exit(main())
