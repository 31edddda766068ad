"""One run of a job as it is recorded: what it read, what it wrote, how it ended. OpenLineage's events are made of it.

A run has two records, `START` and then `COMPLETE`, `FAIL` or `ABORT`; a rollout has a `RUNNING` for each step. All
records of a run have the same `key`, which says what the run is recorded as, so everybody who reads the records gives
the run the same id.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from mlflow_project.errors import InvalidData

RUN_SCHEMA = "switchyard.run/v1"
State = Literal["START", "RUNNING", "COMPLETE", "FAIL", "ABORT"]
STATES: tuple[str, ...] = get_args(State)
_RUN_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:switchyard:run")
_PARENT = re.compile(r"([^/]+)/(.+)/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")


@dataclass(frozen=True)
class Dataset:
    """Something that a run reads or writes.

    Attributes:
        namespace: where it lies, as OpenLineage names it: `s3://bucket`, `kafka://host:9092`, `file`, `mlflow`.
        name: its name there, for example the path of a table.
        version: the Delta version, the version of a release, a digest or an MLflow run.
        columns: names and types.
        rows: how many rows the run read or wrote.
        sources: for a column the columns of inputs that it was made from, each as (namespace, name, column).
        checks: expectations that were checked, each with `assertion` and `success`, maybe `column`, `description`.
        facets: our own facets, `promptVersion` and `releaseSeal`, by name.
    """

    namespace: str
    name: str
    version: str | None = None
    columns: Sequence[tuple[str, str]] = ()
    rows: int | None = None
    sources: Mapping[str, Sequence[tuple[str, str, str]]] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] = ()
    facets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is empty."""
        data = {name: _plain(value) for name, value in vars(self).items()}
        return {name: value for name, value in data.items() if value not in (None, [], {})}


@dataclass(frozen=True)
class Parent:
    """The run that started this one, for example a task of Airflow."""

    namespace: str
    job: str
    run: str

    def to_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True)
class RunRecord:
    """One record of a run. `time` is UTC in ISO 8601; `evaluation` has scores and verdict, where the run has any."""

    key: str
    job: str
    state: str
    time: str
    who: str = ""
    description: str = ""
    streams: bool = False
    inputs: Sequence[Dataset] = ()
    outputs: Sequence[Dataset] = ()
    error: str | None = None
    parent: Parent | None = None
    root: Parent | None = None
    evaluation: Mapping[str, Any] | None = None

    @property
    def run_id(self) -> str:
        """The id of the run: a UUID that depends on the key alone."""
        return str(uuid.uuid5(_RUN_IDS, self.key))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what is empty."""
        own = {name: value for name, value in vars(self).items() if value not in (None, "", (), [], False)}
        for name in ("inputs", "outputs"):
            if name in own:
                own[name] = [each.to_dict() for each in own[name]]
        for name in ("parent", "root"):
            if name in own:
                own[name] = own[name].to_dict()
        return {"schema": RUN_SCHEMA, **own}


def read_run_record(data: Any) -> RunRecord:
    """Read a record.

    Raises:
        InvalidData: it has another schema, or a field is missing, unknown or of the wrong kind.
    """
    try:
        if data["schema"] != RUN_SCHEMA or data["state"] not in STATES:
            raise ValueError(f"schema {data['schema']!r}, state {data.get('state')!r}")
        own = {name: value for name, value in data.items() if name != "schema"}
        for name in ("inputs", "outputs"):
            own[name] = tuple(_dataset(each) for each in own.get(name, ()))
        for name in ("parent", "root"):
            own[name] = Parent(**own[name]) if own.get(name) else None
        record = RunRecord(**own)
        datetime.fromisoformat(record.time)
        texts = (record.key, record.job, record.who, record.description, record.error or "")
        if not all(isinstance(text, str) for text in texts) or not record.key or not record.job:
            raise ValueError("a text is missing or is no text")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InvalidData(f"This is no record of a run ({RUN_SCHEMA}): {error}.") from error
    return record


def read_parents(started_by: Any) -> tuple[Parent | None, Parent | None]:
    """The runs named `parent` and `root`, each as Airflow's macro `lineage_parent_id` gives it:
    `<namespace>/<job>/<run id>`. What has another form is left out, and so is a root without a parent."""
    named = started_by if isinstance(started_by, Mapping) else {}
    found = [_PARENT.fullmatch(str(named.get(name, ""))) for name in ("parent", "root")]
    parent, root = (Parent(*each.groups()) if each else None for each in found)
    return parent, root if parent else None


def _dataset(data: Mapping[str, Any]) -> Dataset:
    if not (isinstance(data["namespace"], str) and isinstance(data["name"], str)):
        raise ValueError("a dataset needs a namespace and a name")
    own = dict(data)
    own["columns"] = tuple((str(name), str(kind)) for name, kind in own.get("columns", ()))
    sources = own.get("sources", {})
    own["sources"] = {column: tuple((a, b, c) for a, b, c in found) for column, found in sources.items()}
    return Dataset(**own)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
