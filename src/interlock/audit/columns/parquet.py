"""Files of rows: Parquet with modular encryption, footer and all, AES-256-GCM.

Each file has data keys of its own, wrapped under the cache key. Everything in a file is bound to its footer, and
`footer` says which that is, so that one file cannot stand in for another. Rows are in the order of time, so that
a reader who asks for a time skips the row groups of others.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.audit.columns.schema import schema, words

GROUP = 131_072  # rows
_NONCE = 12
_WRAPPED = b"interlock parquet key 1 "


def write(path: Path, kind: str, table: Any, key: bytes) -> None:
    """A new file under its name whole, on disk when this returns."""
    import pyarrow.parquet as pq
    from pyarrow.parquet.encryption import EncryptionConfiguration

    factory, connection = _factory(key)
    encryption = EncryptionConfiguration(
        footer_key=path.name, uniform_encryption=True, data_key_length_bits=256, double_wrapping=False
    )
    aside = path.with_name(f".{path.name}.new")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        with pq.ParquetWriter(
            file,
            table.schema,
            encryption_properties=factory.file_encryption_properties(connection, encryption),
            compression="zstd",
            use_dictionary=[name for name in table.schema.names if name not in ("time", "id", "trace_id")],
        ) as writer:
            writer.write_table(table.sort_by([("time", "ascending"), ("id", "ascending")]), row_group_size=GROUP)
        file.flush()
        os.fsync(fd)
    os.rename(aside, path)


def footer(path: Path) -> bytes:
    """The hash of a file's sealed end. Raises `OSError`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(0, size - length))
        return sha256(file.read(length)).digest()


def dataset(paths: Sequence[Path], kind: str, key: bytes) -> Any:
    """An Arrow dataset of these files, opened as it is read. Raises what pyarrow raises."""
    import pyarrow.dataset as ds
    from pyarrow.parquet.encryption import DecryptionConfiguration

    factory, connection = _factory(key)
    decryption = ds.ParquetDecryptionConfig(factory, connection, DecryptionConfiguration())
    shape = schema(kind)
    if not paths:
        return ds.dataset(shape.empty_table())
    format_ = ds.ParquetFileFormat(
        dictionary_columns=words(kind),
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_config=decryption, pre_buffer=False),
    )
    return ds.dataset([str(path.absolute()) for path in paths], format=format_, schema=_read_as(kind))


def read(path: Path, kind: str, key: bytes) -> Any:
    """A file as a table."""
    return dataset([path], kind, key).to_table().cast(schema(kind))


def _read_as(kind: str) -> Any:
    """What a dataset gives: few values as numbers into a dictionary, which is what DuckDB groups fastest."""
    import pyarrow as pa

    few = set(words(kind))
    coded = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([(field.name, coded if field.name in few else field.type) for field in schema(kind)])


def _factory(key: bytes) -> tuple[Any, Any]:
    from pyarrow.parquet.encryption import CryptoFactory, KmsClient, KmsConnectionConfig

    sealed = AESGCM(key)

    class Wrapping(KmsClient):  # type: ignore[misc,unused-ignore]
        """Wraps data keys under the cache key; the file's name goes with them."""

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
            nonce = os.urandom(_NONCE)
            wrapped = sealed.encrypt(nonce, key_bytes, _WRAPPED + master_key_identifier.encode())
            return base64.b64encode(nonce + wrapped).decode()

        def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
            data = base64.b64decode(wrapped_key)
            try:
                return sealed.decrypt(data[:_NONCE], data[_NONCE:], _WRAPPED + master_key_identifier.encode())
            except InvalidTag:
                raise ValueError("the file is under another key") from None

    return CryptoFactory(lambda _: Wrapping()), KmsConnectionConfig()
