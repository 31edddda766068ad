"""Names tables, topics, files, releases and indexes as OpenLineage's naming rules do, with versions and columns.

In: addresses as the commands take them. Out: `Dataset`s. The columns of a Delta table are those of the named version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_project.domain.run import Dataset

REGISTRY = "mlflow"
"""The namespace of prompts, models and evaluation runs."""


def address_of(place: str) -> tuple[str, str]:
    """Namespace and name of an address: a bucket and a path, a broker and a topic, or `file` and an absolute path."""
    parts = urlsplit(place)
    if parts.scheme in ("s3", "s3a"):
        return f"s3://{parts.netloc}", parts.path.strip("/")
    if parts.scheme == "kafka":
        return topic_address(parts.netloc)
    if parts.scheme and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
    return "file", str(Path(parts.path if parts.scheme == "file" else place).absolute())


def topic_address(topic: str) -> tuple[str, str]:
    """Namespace and name of a topic of the configured Kafka cluster."""
    from mlflow_project.settings import KafkaSettings, load

    return f"kafka://{load(KafkaSettings).kafka_brokers.split(',')[0]}", topic


def place(address: str, **more: Any) -> Dataset:
    """A file, a folder or a topic."""
    return Dataset(*address_of(address), **more)


def table(address: str, version: int | None = None, **more: Any) -> Dataset:
    """A Delta table. With a version, its columns are read; a version below 0 says that there is none yet."""
    found = Dataset(*address_of(address), **more)
    if version is None or version < 0:
        return found
    from mlflow_project.adapters.delta_tables import open_table

    fields = open_table(address, version).schema().fields
    columns = tuple((each.name, _type_name(each.type)) for each in fields)
    return replace(found, version=str(version), columns=columns)


def release(kind: str, name: str, version: int | None, digest: str | None = None, **facets: Any) -> Dataset:
    """A version of a prompt or a model."""
    said = {"kind": kind, "name": name, "version": version, "digest": digest}
    own = {key: value for key, value in said.items() if value is not None}
    facets = {"promptVersion": own, **facets} if version is not None else facets
    return Dataset(REGISTRY, f"{kind}s/{name}", None if version is None else str(version), facets=facets)


def index(table_address: str, digest: str | None = None, **more: Any) -> Dataset:
    """The search index of a chunk table."""
    return Dataset("switchyard", f"indexes/{'/'.join(address_of(table_address)).removeprefix('s3://')}", digest, **more)


def cases(name: str, digest: str | None = None, rows: int | None = None) -> Dataset:
    """The cases that a prompt or a model is evaluated on."""
    return Dataset("switchyard", f"cases/{name}", digest, rows=rows)


def evaluation(name: str, run: str | None = None) -> Dataset:
    """The scores of a prompt or a model: an MLflow run."""
    return Dataset(REGISTRY, f"evaluations/{name}", run)


def alias(name: str, alias_name: str, version: int | None = None) -> Dataset:
    """What callers of a prompt or a model get under an alias."""
    return Dataset("switchyard", f"live/{name}@{alias_name}", None if version is None else str(version))


def made_from(output: Dataset, source: Dataset, columns: Mapping[str, Sequence[str]]) -> Dataset:
    """The output, whose columns were made from these columns of a source. Columns that it has from others stay."""
    found = {
        column: (*output.sources.get(column, ()), *((source.namespace, source.name, each) for each in origins))
        for column, origins in columns.items()
        if origins
    }
    return replace(output, sources={**output.sources, **found})


def _type_name(kind: Any) -> str:
    """A Delta type as text: `string`, or the word for a nested one."""
    return str(getattr(kind, "type", kind))
