"""The section `record`: who else sees the record's checkpoints, and where they are kept."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, model_validator

from interlock.clock import SECOND
from interlock.config.exports import Destination
from interlock.config.fields import Duration, FilePath, HttpsUrl, Secret, Section, duration, fault, folder_of, words
from interlock.config.hosts import parse_https
from interlock.config.retention import Kept

_VKEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+([A-Za-z0-9+/]+={0,2})")
_READER = re.compile(r"os:@?[A-Za-z0-9_.][A-Za-z0-9_.@$+-]{0,127}")
_COSIGNATURE = b"\x04"  # the signature type of C2SP tlog-cosignature


def _witness_key(value: Any) -> str:
    """The form only: whether the key ID is that of the key is looked at by `interlock check`."""
    found = _VKEY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise fault("is not the key of a witness", "`interlock witness --print-key` prints it")
    try:
        material = b64decode(found[1], validate=True)
    except ValueError:
        material = b""
    if len(material) != 33 or not material.startswith(_COSIGNATURE):
        raise fault("is a key, but not one for cosignatures", "`interlock witness --print-key` prints it")
    return str(value).strip()


def _destination(value: Any, info: ValidationInfo) -> Destination:
    if isinstance(value, Destination):
        return value
    hint = "write it as in file:/mnt/elsewhere/, https://keep.example.com/node1 or git:/srv/checkpoints"
    if not isinstance(value, str) or not value.isprintable():
        raise fault("is no place to keep checkpoints", hint)
    scheme, _, rest = value.partition(":")
    if scheme in ("file", "git"):
        if rest.startswith("//") or not rest or "${" in rest:
            raise fault("does not name a folder", hint)
        return Destination(f"{scheme}:{os.path.normpath(folder_of(info) / rest)}")
    if scheme not in ("https", "http"):
        raise fault("is no place to keep checkpoints", hint)
    try:
        return Destination(parse_https(value))
    except ValueError as error:
        raise fault(str(error)) from None


def _as_mapping(value: Any) -> Any:
    """`file:/mnt/elsewhere/` alone is short for `{to: ...}`."""
    return {"to": value} if isinstance(value, str) else value


class WitnessAt(Section):
    """One witness."""

    key: Annotated[str, PlainValidator(_witness_key, json_schema_input_type=str)]
    """Its public key (vkey)."""
    url: HttpsUrl
    """Its submission prefix, as in `https://witness.example.com`: `/add-checkpoint` is below."""
    ca: FilePath | None = None
    """Who may vouch for the server, in PEM; left out: the system's roots."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.key.partition("+")[0]


class Witnesses(Section):
    """Who cosigns the checkpoints, and how many must have."""

    require: Annotated[int, Field(ge=1)] = 1
    """How many must have cosigned a checkpoint before it is published."""
    of: Annotated[tuple[WitnessAt, ...], Field(min_length=1, max_length=32)]
    timeout: Annotated[Duration, duration("100ms", "1m")] = 10 * SECOND
    """How long one may take for an answer."""

    @model_validator(mode="after")
    def _possible(self) -> Witnesses:
        if self.require > len(self.of):
            raise fault(f"asks for {self.require} of {len(self.of)} witnesses")
        if len({one.key.partition("+")[2].partition("+")[2] for one in self.of}) < len(self.of):
            raise fault("names one key twice: one key cannot be two witnesses")
        if len({one.name for one in self.of}) < len(self.of):
            raise fault("names two witnesses alike")
        return self


class Publish(Section):
    """One place where published checkpoints are kept."""

    to: Annotated[Destination, PlainValidator(_destination, json_schema_input_type=str)]
    """A folder (`file:`), a URL (`https:`, on this machine `http:`) or a clone (`git:`)."""
    every: Annotated[Duration, duration("1s", "1d")] = 60 * SECOND
    """How often at most; one that covers nothing new goes there once an hour."""
    timeout: Annotated[Duration, duration("100ms", "5m")] = 30 * SECOND
    """How long it may take."""
    method: Literal["PUT", "POST"] = "PUT"
    """Of an HTTP request."""
    token: Secret | None = None
    """A reference to a bearer token for an HTTP request; read anew for each."""
    ca: FilePath | None = None
    """Who may vouch for the server, in PEM; left out: the system's roots."""

    @property
    def folder(self) -> Path:
        """Of `file:` and `git:`."""
        return self.to.path

    @model_validator(mode="after")
    def _fitting(self) -> Publish:
        if self.to.scheme not in ("https", "http"):
            for name in ("method", "token", "ca"):
                if name in self.model_fields_set:
                    raise fault(f"`{name}` has no meaning for {self.to.scheme}:")
        return self


def _reader(value: Any) -> str:
    if not isinstance(value, str) or not _READER.fullmatch(value):
        hint = 'write it as in os:alice, or "os:@auditors" for a group'
        raise fault("is not a user or a group of the operating system", hint)
    return value


def _all_different(value: tuple[Publish, ...]) -> tuple[Publish, ...]:
    if len({one.to for one in value}) < len(value):
        raise fault("names one place twice")
    return value


class Record(Section):
    """What is done with the record's checkpoints beyond this machine, and how long the record is kept."""

    witnesses: Witnesses | None = None
    """Left out: nobody cosigns."""
    publish: Annotated[
        tuple[Annotated[Publish, BeforeValidator(_as_mapping, json_schema_input_type=str | Publish)], ...],
        Field(max_length=16),
        AfterValidator(_all_different),
    ] = ()
    """Where published checkpoints are kept."""
    every: Annotated[Duration, duration("1s", "1h")] = 5 * SECOND
    """How often at most a checkpoint is cosigned and published."""
    max_age: Annotated[Duration, duration("2m", "30d")] = 300 * SECOND
    """A published checkpoint that is older than this is a problem."""
    retention: Kept = None
    """How long records are kept: `{standard: 400d, phi: 2192d}`, or frameworks: `pci-dss-4.0.1`, `[pci-dss-4.0.1,
    hipaa]`; left out: for ever."""

    readers: (
        Annotated[
            tuple[Annotated[str, PlainValidator(_reader, json_schema_input_type=str)], ...],
            BeforeValidator(words, json_schema_input_type=str | list[str]),
            Field(max_length=64),
        ]
        | None
    ) = None
    """Who may read the record: `os:NAME`, `"os:@GROUP"`, and nobody else, root and the node's user included; `[]` is
    nobody. Left out: whoever may administer the node."""
    reader_socket: FilePath | None = None
    """Where readers ask who may not administer the node, as in `/run/interlock/reader.sock`."""

    @model_validator(mode="after")
    def _readable(self) -> Record:
        if self.reader_socket is not None and self.readers is None:
            raise fault("has a `reader_socket`, but no `readers` who could use it")
        return self

    @property
    def asked(self) -> bool:
        """Whether anything is to be done."""
        return self.witnesses is not None or bool(self.publish)
