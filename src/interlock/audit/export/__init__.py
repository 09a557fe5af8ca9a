"""The sealed record in forms that others take: OCSF, CEF, syslog, JSON lines. Pure: rows in, bytes out.

Nothing here may leave a record out: what fits no class of a standard becomes its most general one.
"""

from interlock.audit.export.forms import Form, form

__all__ = ["Form", "form"]
