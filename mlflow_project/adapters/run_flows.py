"""What each job reads and writes, for lineage: one function per job.

In: the addresses that the job was given, and its result (None when it starts). Out: a `Flow`. A result gives versions,
columns and counts. Without one only the names are known, and no table is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow_project.adapters import run_datasets as datasets
from mlflow_project.adapters.run_datasets import made_from, place, table
from mlflow_project.domain.run import Dataset

Result = Mapping[str, Any] | None


@dataclass(frozen=True)
class Flow:
    """Inputs and outputs of a run, and the scores or metrics that it gave."""

    inputs: Sequence[Dataset] = ()
    outputs: Sequence[Dataset] = ()
    evaluation: dict[str, Any] | None = None


def prepared(source: str, output: str, fields: Mapping[str, str], result: Result) -> Flow:
    """A text preparation. `fields`: column of a document -> field of a raw row."""
    said = result or {}
    raw = place(source, rows=said.get("read"))
    version = said.get("delta_version")
    chunks = table(output, version, rows=said.get("chunks"))
    if result is None or version is None:
        return Flow((raw,), (chunks,))
    documents = _newest(f"{output}_documents", rows=said.get("documents"))
    rejected = sum(said.get("quarantined", {}).values())
    quarantine = _newest(f"{output}_quarantine", rows=rejected)
    raw = replace(raw, checks=[_check("rows can be read as documents", not rejected, f"{rejected} rows were rejected")])
    chunks = made_from(chunks, documents, _CHUNK_COLUMNS)
    documents = made_from(documents, raw, {column: [name] for column, name in fields.items()})
    return Flow((raw,), (chunks, documents, quarantine))


_CHUNK_COLUMNS = {
    "source_document_id": ["document_id"],
    "text_content": ["text"],
    "start": ["text"],
    "end": ["text"],
    "title": ["title"],
    "heading_path": ["text"],
    "language": ["language"],
    "metadata": ["metadata"],
    "document_hash": ["document_hash"],
}


def indexed(chunk_table: str, result: Result) -> Flow:
    """The build of a search index."""
    said = result or {}
    read = table(chunk_table, said.get("delta_version"), rows=said.get("chunks"))
    return Flow((read,), (datasets.index(chunk_table, said.get("index"), rows=said.get("chunks")),))


def exported(source: str, folder: str, result: Result) -> Flow:
    """The export of a fine-tuning set."""
    said = result or {}
    rejected = said.get("rejected")
    checks = [] if rejected is None else [_check("rows are examples", not rejected, f"{rejected} rows were left out")]
    read = place(source, rows=said.get("read"), checks=checks)
    files = [
        place(f"{folder.rstrip('/')}/{name}.jsonl", version=said.get("digest"), rows=said.get(name))
        for name in ("train", "validation", "test")
    ]
    return Flow((read,), files)


def featured(sources: Mapping[str, Mapping[str, Sequence[str]]], output: str, result: Result) -> Flow:
    """The build of features and of a training set.

    Args:
        sources: the raw tables, and which columns are made of which of theirs.
        output: the table of features.
    """
    said = result or {}
    failed = said.get("failed_expectations", ())
    checks = [_check("expectations of features.yaml", False, each) for each in failed]
    if result is not None and not failed:
        checks = [_check("expectations of features.yaml", True, "all hold")]
    read = [place(source, checks=checks) for source in sources]
    training_set, _, version = str(said.get("training_set", "")).rpartition("@")
    if not training_set:
        return Flow(read, (table(output), table(f"{output}_training")))
    rows = table(training_set, int(version), rows=said["training_rows"])
    for source, made in zip(read, sources.values(), strict=True):
        rows = made_from(rows, source, made)
    return Flow(read, (_newest(output), rows))


def trained(name: str, data: str | None, result: Result) -> Flow:
    """A training. The version of the model and its test set are outputs."""
    if result is None:
        return Flow([place(data.rpartition("@")[0] or data)] if data else [], (datasets.release("model", name, None),))
    scores = {"run": result["run"], "candidate": f"{name}/{result['version']}", "metrics": dict(result["metrics"])}
    model = datasets.release("model", name, result["version"])
    return Flow((_at(result["data"]),), (model, _at(result["test_set"])), scores)


def predicted(source: str, output: str, release: str, result: Result, *, is_prompt: bool = False) -> Flow:
    """Batch or streaming inference. `release`: what was asked for, as in fraud@Production."""
    said = result or {}
    label = str(said.get("release") or said.get("releases") or "").rpartition(", ")[2]
    name, _, version = label.rpartition("/")
    kind = "prompt" if is_prompt or "questions_asked" in said else "model"
    number = int(version) if version.isdigit() else None
    asked = datasets.release(kind, name or release.partition("@")[0].partition("/")[0], number, said.get("digest"))
    read = _at(said.get("input", source)) if result else place(source.rpartition("@")[0] or source)
    if result is None or output.startswith("kafka:"):
        return Flow((read, asked), (place(output),))
    written = _newest(output, rows=said.get("new_rows"))
    known = {column for column, _ in read.columns}
    same = {column: [column] for column, _ in written.columns if column in known}
    return Flow((read, asked), (made_from(written, read, same),))


def ingested(topics: Sequence[str], place_of_tables: str, result: Result) -> Flow:
    """The writer of raw tables: from topics to tables."""
    said = result or {}
    read, written = [], []
    for topic in said or topics:
        counts = said.get(topic, {})
        number = counts.get("written")
        dead = counts.get("dead_letters", 0)
        checks = [_check("records fit their schema", not dead, f"{dead} dead letters")] if counts else []
        read.append(Dataset(*datasets.topic_address(topic), rows=number, checks=checks))
        written.append(table(f"{place_of_tables}/{topic}", counts.get("delta_version"), rows=number))
    return Flow(read, written)


def profiled(chunk_table: str, result: Result) -> Flow:
    """A profile of a chunk table."""
    if result is None:
        return Flow((table(chunk_table),), (table(f"{chunk_table}_profiles"),))
    return Flow((table(chunk_table, result["corpus_version"]),), (table(result["profiles"], result["delta_version"]),))


def evaluated(kind: str, name: str, version: int | None, source: str, result: Result) -> Flow:
    """An evaluation of a version against the live one."""
    if result is None:
        return Flow((datasets.release(kind, name, version), datasets.cases(name)), (datasets.evaluation(name),))
    asked, items = result["cases"], result["releases"]
    versions = [datasets.release(kind, each["name"], each["version"], each["digest"]) for each in items]
    scores = {
        "run": items[0]["run"],
        "candidate": f"{name}/{items[0]['version']}",
        "champion": f"{items[1]['name']}/{items[1]['version']}" if len(items) > 1 else None,
        "cases": {**asked, "source": source},
        "metrics": dict(items[0]["metrics"]),
    }
    read = [*versions, datasets.cases(name, asked["digest"], asked["count"])]
    return Flow(read, (datasets.evaluation(name, items[0]["run"]),), {k: v for k, v in scores.items() if v is not None})


def _at(address: str) -> Dataset:
    """A table as `address@version`, or a place."""
    where, mark, version = address.rpartition("@")
    return table(where, int(version)) if mark and version.isdigit() else place(address)


def _newest(address: str, **more: Any) -> Dataset:
    """A table at its newest version; without one if there is no such table."""
    from mlflow_project.adapters.delta_tables import open_table
    from mlflow_project.errors import NotFound

    try:
        return table(address, open_table(address).version(), **more)
    except NotFound:
        return table(address)


def _check(assertion: str, success: bool, description: str) -> dict[str, Any]:
    return {"assertion": assertion, "success": success, "description": description}
