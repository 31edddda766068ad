"""Reading Delta tables without Spark: delta-rs answers SQL over tables written as delta.`address`.

In: a query. Out: column names and rows. Never writes: one Spark driver writes a table, everybody else reads.
"""

from __future__ import annotations

import re
from typing import Any

from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.settings import StoreSettings, load

_TABLE = re.compile(r"\bdelta\.`([^`]+)`", re.IGNORECASE)


def open_table(address: str, version: int | None = None) -> DeltaTable:
    """A table for reading, at its newest version unless one is named.

    Raises:
        NotFound: there is no such table. Unavailable: the store does not answer.
    """
    remote = address.startswith(("s3://", "s3a://"))
    try:
        return DeltaTable(address, version=version, storage_options=storage_options() if remote else None)
    except TableNotFoundError as error:
        raise NotFound(f"There is no Delta table at {address}.") from error
    except (DeltaError, OSError) as error:
        raise _translated(address, error) from error


def ask(query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a query.

    Raises:
        InvalidData: the query is wrong. NotFound: a table that it names does not exist.
    """
    builder = QueryBuilder()
    names: dict[str, str] = {}
    for address in _TABLE.findall(query):
        if address not in names:
            names[address] = f"table_{len(names)}"
            builder.register(names[address], open_table(address))
    try:
        found = builder.execute(_TABLE.sub(lambda match: names[match[1]], query)).read_all()
    except (DeltaError, OSError, ValueError) as error:
        raise _translated("The query", error) from error
    columns = [list(found.column(number)) for number in range(found.num_columns)]
    rows = [tuple(_value(cell) for cell in row) for row in zip(*columns, strict=True)]
    return list(found.schema.names), rows


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


def _value(cell: Any) -> Any:
    plain = cell.as_py()
    return plain.decode("utf-8", "replace") if isinstance(plain, bytes) else plain


def _translated(what: str, error: Exception) -> Exception:
    said = str(error)
    if "error sending request" in said or "Connection refused" in said:
        return Unavailable(f"{what}: the object store does not answer: is it up? `make status` tells.")
    return InvalidData(f"{what} cannot be read: {said.splitlines()[0][:400] if said else type(error).__name__}")
