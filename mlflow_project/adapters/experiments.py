"""Evaluation runs in MLflow: create, fill, find, read. Over REST, since importing MLflow's client takes seconds.

In: a run's name, parameters, metrics, tags, files. Out: run ids, and the files again. MLflow's errors become ours.
Artifacts go through the server's own proxy, so that nobody but the server needs the object store's keys.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from mlflow_project.errors import ConfigError, InvalidData, NotFound, Unavailable
from mlflow_project.settings import RegistrySettings

_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE, _VALUE_LENGTH, _TAG_LENGTH = 1000, 100, 6000, 8000
_PROXIED = "mlflow-artifacts:/"


@dataclass(frozen=True)
class Run:
    """One MLflow run. `tags` are its tags, `started` is in milliseconds since the epoch."""

    id: str
    experiment: str
    artifacts: str
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    started: int = 0


class Experiments:
    """All calls may raise `Unavailable`; `NotFound` means that the run or file does not exist."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.uri = settings.mlflow_uri.rstrip("/")
        self._http = httpx.Client(base_url=self.uri, timeout=max(20.0, settings.registry_timeout))

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if need be."""
        try:
            found = self._call("GET", "experiments/get-by-name", params={"experiment_name": name})
            return str(found["experiment"]["experiment_id"])
        except NotFound:
            return str(self._call("POST", "experiments/create", json={"name": name})["experiment_id"])

    def start(self, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
        """A new run, marked as running."""
        rows = [{"key": key, "value": value[:_TAG_LENGTH]} for key, value in tags.items()]
        body = {"experiment_id": experiment, "run_name": name, "start_time": _now(), "tags": rows}
        return _run(self._call("POST", "runs/create", json=body)["run"])

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
            self._call("POST", "runs/log-batch", json=body)
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
        self._call("POST", "runs/log-inputs", json={"run_id": run.id, "datasets": [{"dataset": dataset, "tags": tags}]})

    def write(self, run: Run, path: str, data: bytes) -> None:
        """Keep a file with the run."""
        self._send("PUT", self._artifact(run, path), content=data)

    def read(self, run: Run, path: str) -> bytes:
        """A file of the run."""
        return self._send("GET", self._artifact(run, path)).content

    def finish(self, run: Run, *, status: str = "FINISHED") -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        self._call("POST", "runs/update", json={"run_id": run.id, "status": status, "end_time": _now()})

    def get(self, run_id: str) -> Run:
        """One run by id."""
        return _run(self._call("GET", "runs/get", params={"run_id": run_id})["run"])

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """The finished runs that have all these tags, the newest first."""
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()] + ["attributes.status = 'FINISHED'"]
        body = {
            "experiment_ids": [experiment],
            "filter": " and ".join(conditions),
            "order_by": ["attributes.start_time DESC"],
            "max_results": 100,
        }
        return [_run(item) for item in self._call("POST", "runs/search", json=body).get("runs", ())]

    def address(self, run: Run) -> str:
        """Where a person sees the run."""
        return f"{self.uri}/#/experiments/{run.experiment}/runs/{run.id}"

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
        return f"/api/2.0/mlflow-artifacts/artifacts/{run.artifacts.removeprefix(_PROXIED).strip('/')}/{quote(path)}"

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = self._send(method, f"/api/2.0/mlflow/{path}", **request)
        try:
            data: dict[str, Any] = answer.json()
            return data
        except ValueError as error:
            raise Unavailable(
                f"The MLflow server at {self.uri} answered {path} with something else than JSON."
            ) from error

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"MLflow at {self.uri} does not answer ({type(error).__name__}): is it up? `make status` tells, "
                "`make up` starts it."
            ) from error
        if answer.is_success:
            return answer
        said = f"{answer.status_code}: {answer.text[:300]}"
        if answer.status_code == 404:
            raise NotFound(f"MLflow at {self.uri} knows no such thing ({path}): {said}")
        if answer.status_code < 500:
            raise InvalidData(f"MLflow at {self.uri} refuses {path} with {said}")
        raise Unavailable(f"MLflow at {self.uri} failed on {path} with {said}")


def _run(data: Mapping[str, Any]) -> Run:
    info = data["info"]
    tags = {tag["key"]: tag["value"] for tag in data.get("data", {}).get("tags", ())}
    return Run(
        info["run_id"], info["experiment_id"], info["artifact_uri"], info["status"], tags, int(info["start_time"])
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
