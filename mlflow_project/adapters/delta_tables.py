"""Reading Delta tables without Spark: delta-rs answers SQL over tables written as delta.`address`.

In: a query. Out: column names and rows. Never writes: one Spark driver writes a table, everybody else reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from mlflow_project.errors import InvalidData, NotFound, Unavailable, WorkspaceError
from mlflow_project.rules.reading_sql import refuse_writing
from mlflow_project.settings import StoreSettings, load

_OUTAGE = (
    "error sending request",
    "Connection refused",
    "client error",
    "connection closed",
    "timed out",
    "status: 503",
)
_TABLE = re.compile(r"\bdelta\.`([^`]+)`", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_READ_AS_ANOTHER = re.compile(r"%[0-9A-Fa-f]{2}|\\")


def open_table(address: str, version: int | None = None, options: Mapping[str, str] | None = None) -> DeltaTable:
    """A table for reading, at its newest version unless one is named. `options`: how delta-rs reaches an object store
    that is not this stack's.

    Raises:
        NotFound: there is no such table. Unavailable: the store does not answer. InvalidData: delta-rs cannot read it.
    """
    at = _for_delta_rs(address)
    if options is None and address.startswith(("s3://", "s3a://")):
        options = storage_options()
    try:
        return DeltaTable(at, version=version, storage_options=dict(options) if options else None)
    except TableNotFoundError as error:
        raise NotFound(f"There is no Delta table at {address}.") from error
    except (DeltaError, OSError) as error:
        raise translated(f"{address} cannot be read", error) from error


def ask(query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a query; returns the column names and the rows.

    Raises:
        InvalidData: the query is wrong. NotFound: a table that it names does not exist. Refused: it may write.
    """
    refuse_writing(query)
    names = {address: f"table_{number}" for number, address in enumerate(dict.fromkeys(_TABLE.findall(query)))}
    found = read(_TABLE.sub(lambda match: names[match[1]], query), {name: open_table(at) for at, name in names.items()})
    names_of_columns = list(found.schema.names)
    rows = [
        tuple(plain(row[name]) for name in names_of_columns)
        for batch in found.to_batches()
        for row in batch.to_pylist()
    ]
    return [re.sub(r"\btable_\d+\.", "", name) for name in names_of_columns], rows


def read(query: str, tables: Mapping[str, DeltaTable]) -> pa.Table:
    """Run a query over opened tables; the whole answer.

    Raises:
        InvalidData: the query is wrong, or a table cannot be read. Unavailable: the store does not answer.
    """
    found = batches(query, tables)
    try:
        return found.read_all()
    except (pa.ArrowException, OSError) as error:  # some mistakes show only in the rows: a division by zero
        raise translated("The query cannot be read", error) from error


def batches(query: str, tables: Mapping[str, DeltaTable]) -> pa.RecordBatchReader:
    """Run a query over opened tables; the answer as a stream of Arrow batches.

    Raises:
        InvalidData: the query is wrong, or a table has features that delta-rs does not know.
    """
    builder = QueryBuilder()
    try:
        for name, opened in tables.items():
            builder.register(name, opened)
        return pa.RecordBatchReader.from_stream(builder.execute(query))
    except Exception as error:  # DataFusion's errors have no class of their own
        raise translated("The query cannot be read", error) from error


def storage_options() -> dict[str, str]:
    """How delta-rs reaches the object store."""
    settings = load(StoreSettings)
    return {
        "AWS_ENDPOINT_URL": settings.s3_endpoint,
        "AWS_REGION": settings.s3_region,
        "AWS_ACCESS_KEY_ID": settings.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
        "AWS_ALLOW_HTTP": str(settings.s3_endpoint.startswith("http://")).lower(),
        "aws_conditional_put": "etag",
    }


def has_plain_address(address: str) -> bool:
    """Whether delta-rs reads this address as it is written. It decodes `%20` and takes a backslash for a slash, even in
    paths, and so would open another table."""
    return not _READ_AS_ANOTHER.search(address)


def _for_delta_rs(address: str) -> str:
    """The address as delta-rs wants it. A URL is quoted: of `s3://bucket/docs#2` delta-rs would read `docs`."""
    if not has_plain_address(address):
        raise InvalidData(f"{address} is for Spark alone: delta-rs reads `%20`, and a backslash, as another address.")
    scheme, mark, place = address.partition("://")
    return f"{scheme}://{quote(place)}" if mark else address


def plain(value: Any) -> Any:
    """A value as JSON can say it. Bytes are read as UTF-8; dates, decimals, and numbers that JSON does not know (`nan`)
    become text."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    known = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if known else str(value)


def translated(failure: str, error: Exception) -> WorkspaceError:
    """An error of delta-rs as one of ours. `failure` begins the message, such as "The query cannot be read"."""
    said = _COLOUR.sub("", str(error))
    if "NoSuchBucket" in said:
        return NotFound(f"{failure}: the bucket does not exist.")
    if any(sign in said for sign in _OUTAGE):
        return Unavailable(f"{failure}: the object store does not answer. `make status` says whether it is up.")
    return InvalidData(f"{failure}: {' '.join(said.split())[:400] or type(error).__name__}")
