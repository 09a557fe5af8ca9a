"""Interlock: a call passes only when every layer agrees, and it is on the record before it passes."""

__version__ = "0.1.0"
