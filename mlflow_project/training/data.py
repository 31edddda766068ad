"""Tables of training and test rows: read at a Delta version, written so that equal rows stay one version.

In: an address as `s3a://bucket/table` or `s3a://bucket/table@7`. Out: Arrow tables with the version and the digest of
their rows. Delta promises no order of rows, so rows are sorted before they are written, hashed or returned. The digest
is the SHA-256 of the sorted rows as an Arrow stream: it depends on values and types alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from mlflow_project.adapters import delta_tables
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.rules.canonical import canonical, digest_of

RECIPE_FILE = "training_set.json"
"""The file of a training's MLflow run that names its table, version and digest, and the recipe of its rows."""

_DIGEST, _RECIPE = "switchyard.digest", "switchyard.recipe"


@dataclass(frozen=True)
class Origin:
    """A table at one version, with the number and the digest of its rows. `recipe` as in `Rows`."""

    table: str
    version: int
    digest: str
    rows: int
    recipe: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.table}@{self.version}"


@dataclass(frozen=True)
class Rows:
    """The sorted rows of a table at one version. `recipe`: what they were made from, where their writer noted it."""

    table: str
    version: int
    digest: str
    data: pa.Table
    recipe: Mapping[str, Any] | None = None

    @property
    def origin(self) -> Origin:
        """Where the rows come from."""
        return Origin(self.table, self.version, self.digest, self.data.num_rows, self.recipe)

    def __str__(self) -> str:
        return f"{self.table}@{self.version}"


def split_address(text: str) -> tuple[str, int | None]:
    """A table's address and the version that is written behind it, as in `s3a://bucket/table@7`."""
    match = re.fullmatch(r"(.+)@(\d{1,18})", text)
    table, version = (match[1], int(match[2])) if match else (text, None)
    return ("s3a://" + table[5:] if table.startswith("s3://") else table).rstrip("/"), version


def read_rows(address: str) -> Rows:
    """Read a table at the version that the address names, or at its newest.

    Raises:
        NotFound: no such table or version. InvalidData: it cannot be read. Unavailable: the store does not answer.
    """
    table, version = split_address(address)
    opened = delta_tables.open_table(table, version)
    try:
        data = in_order(opened.to_pyarrow_table())
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise delta_tables.translated(f"{address} cannot be read", error) from error
    noted = _noted(opened)
    return Rows(table, int(opened.version()), rows_digest(data), data, noted)


def files_origin(address: str, rows: int) -> Origin:
    """A table that is too large to read here. Its digest is that of its files' names, which are never used twice, and
    sizes; so equal rows in other files have another digest.

    Raises:
        NotFound: no such table or version. Unavailable: the store does not answer.
    """
    table, version = split_address(address)
    opened = delta_tables.open_table(table, version)
    files = pa.table(opened.get_add_actions()).select(["path", "size_bytes"]).sort_by("path")
    return Origin(table, int(opened.version()), digest_of(files.to_pylist()), rows, _noted(opened))


def write_rows(table: str, data: pa.Table, recipe: Mapping[str, Any]) -> Rows:
    """Make these rows the newest version of a table. Commits nothing where they are that already, with this recipe.

    Raises:
        Refused: somebody else wrote the table at the same moment. Unavailable: the store does not answer.
    """
    table, version = split_address(table)
    if version is not None:
        raise InvalidData(
            f"{table}@{version} names a version, and only new versions are written: leave out @{version}."
        )
    data = in_order(data)
    digest, noted = rows_digest(data), canonical(dict(recipe)).decode()
    try:
        there = delta_tables.open_table(table)
    except NotFound:
        there = None
    if there is not None and (newest := there.history(1)[0]).get(_DIGEST) == digest and newest.get(_RECIPE) == noted:
        return Rows(table, int(there.version()), digest, data, recipe)
    options = delta_tables.storage_options() if table.startswith("s3a://") else None
    try:
        write_deltalake(
            table,
            data,
            mode="overwrite",
            schema_mode="overwrite",
            storage_options=options,
            configuration={"delta.enableDeletionVectors": "false"},
            commit_properties=CommitProperties({_DIGEST: digest, _RECIPE: noted}, max_commit_retries=0),
        )
    except (DeltaError, OSError) as error:
        if "already exists" in str(error) or "concurrent" in str(error).lower():
            raise Refused(f"Somebody else wrote to {table} at the same moment; run the same command again.") from error
        raise delta_tables.translated(f"Writing to {table} failed", error) from error
    return Rows(table, int(delta_tables.open_table(table).version()), digest, data, recipe)


def in_order(data: pa.Table) -> pa.Table:
    """Sort rows by `event_time` and `id` where they have them, then by all other columns that can be compared.

    Equal rows in any order become the same table, in one chunk per column.
    """
    first = [name for name in ("event_time", "id") if name in data.column_names]
    keys = [*first, *(name for name in data.column_names if name not in first)]
    sortable = [(name, "ascending") for name in keys if _is_sortable(data.schema.field(name).type)]
    return (data.sort_by(sortable) if sortable else data).combine_chunks()


def _is_sortable(kind: pa.DataType) -> bool:
    known = (pa.types.is_primitive, pa.types.is_decimal, pa.types.is_string, pa.types.is_large_string)
    return any(is_one(kind) for is_one in (*known, pa.types.is_binary, pa.types.is_large_binary))


def rows_digest(data: pa.Table) -> str:
    """`sha256:` and the SHA-256 of the rows as one Arrow batch: the values with nulls filled, and where nulls were.

    What lies under a null, metadata, and whether a schema allows nulls does not matter. The order of the rows does:
    `in_order` first.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in zip(data.column_names, data.columns, strict=True):
        kind = (
            pa.string()
            if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
            else column.type
        )
        columns[name] = _filled(column.cast(kind))
        columns[f"{name} is null"] = pc.is_null(column)
    plain = pa.table(columns).combine_chunks()
    sink = _Hash()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), plain.schema) as stream:
        stream.write_table(plain)
    return "sha256:" + sink.sha.hexdigest()


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.null_count == 0:
        return column
    kind = column.type
    nothing = "" if pa.types.is_string(kind) else b"" if pa.types.is_binary(kind) else 0
    return pc.fill_null(column, pa.scalar(nothing).cast(kind))


class _Hash:
    """A file that keeps nothing but the SHA-256 of what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.sha = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _noted(opened: DeltaTable) -> Mapping[str, Any] | None:
    text = opened.history(1)[0].get(_RECIPE)
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
