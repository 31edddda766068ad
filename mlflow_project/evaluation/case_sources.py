"""Reads cases from a Delta table at a version, or from an MLflow dataset, as rows for `cases_from`.

`s3a://bucket/table@7` is version 7 of a Delta table, and without `@7` its newest version. Its columns are the fields of
a case. A local folder with a Delta log works too.
`dataset:NAME` is an MLflow evaluation dataset. Its `inputs` give the question, id and context, its `expectations` the
rest. `expected_response`, MLflow's own name, means `expected`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.settings import RegistrySettings, load

DATASET = "dataset:"


def is_delta(source: str) -> bool:
    """Whether a source names a Delta table."""
    return source.startswith(("s3a://", "s3://")) or Path(source.partition("@")[0], "_delta_log").is_dir()


def delta_rows(address: str) -> Iterator[tuple[int, Any]]:
    """The rows of a Delta table in the order of their ids, numbered from 1. Delta keeps no order.

    Raises:
        NotFound: there is no such table or version. InvalidData: the version is not a number.
    """
    from mlflow_project.adapters.delta_tables import open_table

    path, _, version = address.partition("@")
    if version and not version.isdigit():
        raise InvalidData(f"{address}: @ must be followed by the number of a Delta version, not {version!r}.")
    table = open_table(path, int(version) if version else None)
    rows = sorted(table.to_pyarrow_table().to_pylist(), key=lambda row: str(row.get("id")))
    for number, row in enumerate(rows, start=1):
        yield number, {key: _unmapped(key, value) for key, value in row.items() if value is not None}


def dataset_rows(name: str) -> Iterator[tuple[int, Any]]:
    """The records of an MLflow dataset, numbered from 1.

    Raises:
        NotFound: there is no such dataset. Unavailable: MLflow does not answer.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = load(RegistrySettings).mlflow_uri
    mlflow.set_tracking_uri(uri)
    try:
        records = mlflow.genai.datasets.get_dataset(name=name).to_df().to_dict("records")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(f"MLflow at {uri} has no dataset {name!r}.") from error
        raise Unavailable(f"MLflow at {uri} did not give dataset {name!r}: {error}") from error
    rows = sorted(
        map(_row, records), key=lambda row: str(row["id"])
    )  # as in a Delta table, the order of records is not fixed
    yield from enumerate(rows, start=1)


def _unmapped(key: str, value: Any) -> Any:
    """A value as a case has it: Arrow returns a column of type map as pairs."""
    return dict(value) if key == "variables" and isinstance(value, list) else value


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    inputs, expectations = dict(record.get("inputs") or {}), dict(record.get("expectations") or {})
    response = expectations.pop("expected_response", None)
    if response is not None:
        expectations.setdefault("expected", [response] if isinstance(response, str) else response)
    return {"id": record.get("dataset_record_id"), **expectations, **inputs}
