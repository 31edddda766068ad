"""What an OpenMetadata server is to know, read from records of runs, the ledger, the registry and the tables.

In: the parts of a command. Out: `Facts`. Of each table the newest version that a run wrote or read counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.adapters.schema_folder import TopicPlan, read_topics
from mlflow_project.domain.release import Release
from mlflow_project.domain.run import Dataset, RunRecord
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import KafkaSettings, load

_ROWS_SEARCHED = 500
_SCORES = ("COMPLETE", "FAIL", "ABORT")


@dataclass(frozen=True)
class TableFacts:
    """A Delta table: its newest known state, and what its log and a search for personal data say.

    Attributes:
        checked: the expectations that were checked when it was read or written last, with the time.
        nulls: how many nulls each column has, by Delta's own statistics.
        personal: kinds of personal data that masking finds, by column. The values are not kept.
    """

    dataset: Dataset
    at: str
    rows: int | None = None
    bytes: int | None = None
    nulls: Mapping[str, int] = field(default_factory=dict)
    personal: Mapping[str, Sequence[str]] = field(default_factory=dict)
    checked: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class DagFacts:
    """A DAG of Airflow, by the runs that its tasks started: tasks, and how the newest run of each job ended."""

    name: str
    tasks: Sequence[str]
    ended_at: str
    is_well: bool


@dataclass(frozen=True)
class ReleaseFacts:
    """A release that is live or was sealed last, who made it so, and its hyperparameters, which only models have."""

    release: Release
    owner: str
    is_live: bool
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Everything. `edges` are pairs of datasets: an input, and an output of the same run."""

    tables: Sequence[TableFacts]
    topics: Mapping[str, TopicPlan]
    releases: Sequence[ReleaseFacts]
    dags: Sequence[DagFacts]
    edges: Sequence[tuple[Dataset, Dataset]]
    words: Mapping[str, str]


def facts_of(parts: Parts, records: Iterable[RunRecord], words: Mapping[str, str]) -> Facts:
    """Read everything.

    Raises:
        Unavailable: store, ledger or registry do not answer.
    """
    ended = sorted((each for each in records if each.state in _SCORES), key=lambda each: each.time)
    newest: dict[tuple[str, str], tuple[Dataset, str]] = {}
    checked: dict[tuple[str, str], Sequence[Mapping[str, Any]]] = {}
    edges: dict[tuple[str, str, str, str], tuple[Dataset, Dataset]] = {}
    for run in ended:
        for each in (*run.inputs, *run.outputs):
            if each.columns:
                newest[each.namespace, each.name] = (each, run.time)
            if each.checks:
                checked[each.namespace, each.name] = each.checks
        if run.state == "COMPLETE":
            for read_one in run.inputs:
                for written in run.outputs:
                    key = (read_one.namespace, read_one.name, written.namespace, written.name)
                    edges[key] = (read_one, written)
    tables = [_table(each, at, checked.get(key, ()), parts.masker) for key, (each, at) in sorted(newest.items())]
    topics = _topics()
    trained = {
        run.evaluation["candidate"]: run.evaluation["run"]
        for run in ended
        if run.job == "train" and run.evaluation and "run" in run.evaluation
    }
    return Facts(tables, topics, list(_releases(parts, trained)), _dags(ended), list(edges.values()), words)


def _table(dataset: Dataset, at: str, checked: Sequence[Mapping[str, Any]], masker: Masker) -> TableFacts:
    """A table's statistics come from Delta's log, not from its rows. A table that is gone keeps what was recorded."""
    address = f"{dataset.namespace.replace('s3://', 's3a://')}/{dataset.name}"
    address = address if dataset.namespace != "file" else dataset.name
    try:
        opened = open_table(address, int(dataset.version or 0))
        actions = pa.table(opened.get_add_actions(flatten=True)).to_pydict()
    except WorkspaceError:
        return TableFacts(dataset, at, dataset.rows, checked=checked)
    nulls = {
        name.removeprefix("null_count."): sum(value or 0 for value in values)
        for name, values in actions.items()
        if name.startswith("null_count.") and name.count(".") == 1
    }
    rows = sum(value or 0 for value in actions.get("num_records", ()))
    size = sum(actions.get("size_bytes", ()))
    return TableFacts(dataset, at, rows, size, nulls, _personal(opened, dataset, masker), checked)


def _personal(opened: Any, dataset: Dataset, masker: Masker) -> dict[str, list[str]]:
    """Which kinds of personal data the first rows of each text column have."""
    texts = [name for name, kind in dataset.columns if kind == "string"]
    if not texts:
        return {}
    chosen = ", ".join(f'"{name}"' for name in texts)
    with suppress(WorkspaceError):
        rows = read(f"SELECT {chosen} FROM searched LIMIT {_ROWS_SEARCHED}", {"searched": opened})
        found = {name: set[str]() for name in texts}
        for name in texts:
            for text in rows.column(name).to_pylist():
                if text:
                    found[name].update(masker.mask(text).found)
        return {name: sorted(kinds) for name, kinds in found.items() if kinds}
    return {}


def _releases(parts: Parts, trained: Mapping[str, str]) -> Iterable[ReleaseFacts]:
    """Of each name the release that is live in Production, else the one that was sealed last. `trained`: the MLflow run
    that trained a version."""
    for state in parts.ledger.state().names.values():
        live = state.live.get(PRODUCTION)
        seal = max(state.seals.values(), key=lambda each: each.serial, default=None)
        chosen = live or seal
        if chosen is None:
            continue
        try:
            manifest = read_manifest(parts.store, chosen.digest)
        except (NotFound, InvalidData):
            continue
        owner = live.who if live is not None else ""
        release = Release(chosen.version, chosen.digest, manifest)
        yield ReleaseFacts(release, owner, live is not None, _parameters(parts, trained.get(release.label)))


def _parameters(parts: Parts, run: str | None) -> dict[str, str]:
    """The parameters of an MLflow run."""
    if run is None:
        return {}
    try:
        return dict(parts.experiments.get(run).parameters)
    except NotFound:
        return {}


def _dags(ended: Sequence[RunRecord]) -> list[DagFacts]:
    """The DAGs whose tasks started runs."""
    tasks: dict[str, set[str]] = {}
    last: dict[str, dict[str, RunRecord]] = {}
    for run in ended:
        if run.parent is None:
            continue
        dag, _, task = run.parent.job.partition(".")
        tasks.setdefault(dag, set()).add(task or dag)
        last.setdefault(dag, {})[run.job] = run
    return [
        DagFacts(
            dag,
            sorted(names),
            max(run.time for run in last[dag].values()),
            all(run.state == "COMPLETE" for run in last[dag].values()),
        )
        for dag, names in sorted(tasks.items())
    ]


def _topics() -> Mapping[str, TopicPlan]:
    try:
        return read_topics(load(KafkaSettings).schemas_folder)
    except (NotFound, InvalidData):
        return {}
