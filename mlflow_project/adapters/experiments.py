"""Evaluation runs in MLflow: create, fill, find, read, over `MlflowApi`.

In: a run's name, parameters, metrics, tags, files. Out: run ids, and the files again. Artifacts go through the server's
own proxy, so that nobody but the server needs the object store's keys.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mlflow_project.adapters.mlflow_api import MlflowApi, MlflowRefused
from mlflow_project.errors import ConfigError, NotFound
from mlflow_project.settings import RegistrySettings

_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE, _VALUE_LENGTH, _TAG_LENGTH = 1000, 100, 6000, 8000
_LEAST_TIMEOUT = 20.0  # seconds; a run's files may be large
_PROXIED = "mlflow-artifacts:/"


@dataclass(frozen=True)
class Run:
    """One MLflow run. `tags` and `parameters` are its own, `started` is in milliseconds since the epoch."""

    id: str
    experiment: str
    artifacts: str
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    started: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)


class Experiments:
    """All calls may raise `Unavailable`; `NotFound` means that the run does not exist.

    A file that a run does not have is `Unavailable`, since MLflow answers 500 for it.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._api = MlflowApi(settings, least_timeout=_LEAST_TIMEOUT)
        self.uri = self._api.uri

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if need be."""
        try:
            return self.known_experiment(name)
        except NotFound:
            pass
        try:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        except MlflowRefused as error:
            if error.exists_already:  # somebody else made it just now
                return self.known_experiment(name)
            raise

    def start(self, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
        """A new run, marked as running."""
        rows = [{"key": key, "value": value[:_TAG_LENGTH]} for key, value in tags.items()]
        body = {"experiment_id": experiment, "run_name": name, "start_time": _now(), "tags": rows}
        return _run(self._post("runs/create", body)["run"])

    def log(
        self,
        run: Run,
        *,
        parameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Parameters, metrics and tags, in as few calls as MLflow allows."""
        stamp = _now()
        params = [{"key": key, "value": _text(value)} for key, value in (parameters or {}).items()]
        values = [{"key": key, "value": v, "timestamp": stamp, "step": 0} for key, v in (metrics or {}).items()]
        labels = [{"key": key, "value": value[:_TAG_LENGTH]} for key, value in (tags or {}).items()]
        while params or values or labels:
            body = {
                "run_id": run.id,
                "params": params[:_PARAMETERS_AT_ONCE],
                "metrics": values[:_METRICS_AT_ONCE],
                "tags": labels[:_PARAMETERS_AT_ONCE],
            }
            self._post("runs/log-batch", body)
            params, labels = params[_PARAMETERS_AT_ONCE:], labels[_PARAMETERS_AT_ONCE:]
            values = values[_METRICS_AT_ONCE:]

    def log_dataset(self, run: Run, *, digest: str, source: str, rows: int, context: str = "evaluation") -> None:
        """Tie the run to the data that it was made on, so that the UI shows and compares it.

        `source` is a file, `s3a://table@version` or `dataset:NAME`. MLflow takes 36 characters of a digest.
        `context` is what the data was for: evaluation, train, …
        """
        dataset = {
            "name": source.rpartition(":")[2].strip("/") or "cases",
            "digest": digest.removeprefix("sha256:")[:36],
            "source_type": _source_type(source),
            "source": json.dumps({"uri": source, "digest": digest}),
            "profile": json.dumps({"num_rows": rows}),
        }
        tags = [{"key": "mlflow.data.context", "value": context}]
        self._post("runs/log-inputs", {"run_id": run.id, "datasets": [{"dataset": dataset, "tags": tags}]})

    def write(self, run: Run, path: str, data: bytes) -> None:
        """Keep a file with the run."""
        self._api.upload(self._artifact(run, path), data)

    def read(self, run: Run, path: str) -> bytes:
        """A file of the run."""
        return self._api.download(self._artifact(run, path))

    def finish(self, run: Run, *, status: str = "FINISHED") -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        self._post("runs/update", {"run_id": run.id, "status": status, "end_time": _now()})

    def get(self, run_id: str) -> Run:
        """One run by id."""
        return _run(self._api.get("2.0/mlflow/runs/get", {"run_id": run_id})["run"])

    def find(self, experiment: str, tags: Mapping[str, str], *, status: str = "FINISHED") -> list[Run]:
        """The runs of this status that have all these tags, the newest first."""
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()] + [f"attributes.status = '{status}'"]
        body = {
            "experiment_ids": [experiment],
            "filter": " and ".join(conditions),
            "order_by": ["attributes.start_time DESC"],
            "max_results": 100,
        }
        return [_run(item) for item in self._post("runs/search", body).get("runs", ())]

    def address(self, run: Run) -> str:
        """Where a person sees the run."""
        return f"{self.uri}/#/experiments/{run.experiment}/runs/{run.id}"

    def case_by_case(self, run: Run) -> str:
        """The address of MLflow's page that shows the evaluation tables of the run's experiment side by side."""
        return f"{self.uri}/#/experiments/{run.experiment}/runs?compareRunsMode=ARTIFACT"

    def comparison(self, runs: Sequence[Run]) -> str:
        """Where a person sees runs side by side."""
        ids, experiments = json.dumps([run.id for run in runs]), json.dumps(sorted({run.experiment for run in runs}))
        return f"{self.uri}/#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}"

    def _artifact(self, run: Run, path: str) -> str:
        if not run.artifacts.startswith(_PROXIED):
            raise ConfigError(
                f"The MLflow server at {self.uri} keeps artifacts at {run.artifacts}, not behind its proxy: "
                "start it with --serve-artifacts (`make up` does)."
            )
        return f"2.0/mlflow-artifacts/artifacts/{run.artifacts.removeprefix(_PROXIED).strip('/')}/{quote(path)}"

    def known_experiment(self, name: str) -> str:
        """The id of the experiment of this name.

        Raises:
            NotFound: there is none.
        """
        found = self._api.get("2.0/mlflow/experiments/get-by-name", {"experiment_name": name})
        return str(found["experiment"]["experiment_id"])

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._api.send("POST", f"2.0/mlflow/{path}", body)


def _run(data: Mapping[str, Any]) -> Run:
    info = data["info"]
    tags = {tag["key"]: tag["value"] for tag in data.get("data", {}).get("tags", ())}
    parameters = {each["key"]: each["value"] for each in data.get("data", {}).get("params", ())}
    return Run(
        info["run_id"],
        info["experiment_id"],
        info["artifact_uri"],
        info["status"],
        tags,
        int(info["start_time"]),
        parameters,
    )


def _source_type(source: str) -> str:
    """MLflow's own names for where data came from."""
    if source.startswith("dataset:"):
        return "mlflow_evaluation_dataset"
    return "delta_table" if source.startswith(("s3a://", "s3://")) else "local"


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True))[:_VALUE_LENGTH]


def _now() -> int:
    return int(time.time() * 1000)
