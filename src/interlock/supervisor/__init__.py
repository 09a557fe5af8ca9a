"""Starts the processes of a node, watches them, starts them again, and drains them.

`run` is a node's whole life in the foreground. The supervisor MUST NOT hold the key-encryption key, serve
a call or keep anything in memory that a restart could not find again.
"""

from interlock.supervisor.run import run

__all__ = ["run"]
