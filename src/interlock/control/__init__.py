"""Administration of a node: the control process, and what it shares with offline commands.

Modules are imported by name: the command line needs few of them, and the control process all.
It MUST NOT be on the path of a call.
"""
