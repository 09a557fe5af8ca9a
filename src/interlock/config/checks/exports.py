"""Where the record is sent to."""

from __future__ import annotations

from collections.abc import Iterator

from interlock.config.buses import BUSES, NEEDED, installed
from interlock.config.checks.view import Finding, View, unknown
from interlock.config.tree import Where


def check(view: View) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for number, export in enumerate(view.config.exports):
        where: Where = ("exports", number)
        to = export.to
        if export.name in seen:
            yield Finding((*where, "name"), f"`{export.name}` is also {{other}}", other=("exports", seen[export.name]))
        seen.setdefault(export.name, number)
        if to.scheme in ("http", "https") and export.format in ("cef", "syslog"):
            yield Finding((*where, "format"), f"{export.format} does not go over HTTP", "use ocsf or jsonl")
        if export.headers and to.scheme not in ("http", "https"):
            yield Finding((*where, "headers"), f"have no meaning for {to.scheme}:")
        if "confirm" in export.model_fields_set and to.scheme not in ("tls", "tcp"):
            yield Finding((*where, "confirm"), f"has no meaning for {to.scheme}:")
        if export.login is not None:
            if to.scheme not in BUSES:
                yield Finding((*where, "login"), f"has no meaning for {to.scheme}:")
            elif export.login.only_nats and not to.scheme.startswith("nats"):
                yield Finding((*where, "login"), "is a way that Kafka does not know", "say `user` and `password`")
        if export.tls is not None:
            if not to.encrypted:
                yield Finding((*where, "tls"), f"has no meaning for {to.scheme}:")
            if (export.tls.certificate is None) != (export.tls.key is None):
                yield Finding((*where, "tls"), "needs `certificate` and `key` together")
        for service in export.only.service:
            if "*" not in service:
                yield from unknown(view, (*where, "only", "service"), "services", service, "a service")


def check_files(view: View) -> Iterator[Finding]:
    for number, export in enumerate(view.config.exports):
        if export.to.scheme == "file" and not export.to.path.parent.is_dir():
            yield Finding(("exports", number, "to"), f"the folder {export.to.path.parent} does not exist", warning=True)
        for name, value in export.headers.items():
            for secret in value.references:
                if secret.path is not None and not secret.path.is_file():
                    place = ("exports", number, "headers", name)
                    yield Finding(place, f"{secret.path} does not exist", warning=True)
        needed = NEEDED.get(export.to.scheme.partition("+")[0], "")
        if needed and not installed(needed):
            extra = export.to.scheme.partition("+")[0]
            yield Finding(("exports", number, "to"), f"needs interlock[{extra}], which is not installed", warning=True)
        login = export.login
        if login is None:
            continue
        for kind in ("password", "token", "nkey", "credentials"):
            secret = getattr(login, kind)
            if secret is not None and secret.path is not None and not secret.path.is_file():
                yield Finding(("exports", number, "login", kind), f"{secret.path} does not exist", warning=True)
