"""Records what a drift check found: an MLflow run with pictures, rows of a Delta table, metrics, an Airflow event."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mlflow_project.adapters.airflow import Airflow, AirflowSettings
from mlflow_project.adapters.drift_table import append
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.drift.pictures import projection, scores
from mlflow_project.drift.watch import Watched, kind_of
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters

DRIFT_ASSETS = {
    "data": "question_drift",
    "output": "answer_drift",
    "embeddings": "answer_drift",
    "corpus": "answer_drift",
}
"""`question_drift` can start `prepare_knowledge`; `answer_drift` `evaluate_and_promote`, on the newest documents."""
MODEL_DRIFT = "model_drift"
"""Whatever drifted of a model can start `train_model`."""
_NO_METRIC_NAME = re.compile(r"[^\w\-. /]")


def plain(watched: Watched) -> dict[str, Any]:
    """JSON-ready, without the drawing."""
    data = {key: value for key, value in asdict(watched).items() if key != "drawn"}
    found = [{**asdict(one), "alarm": one.alarm, "kind": kind_of(one.check)} for one in watched.found]
    return {**data, "found": found, "kinds": watched.kinds, "explanation": watched.explanation}


def keep_run(experiments: Experiments, watched: Watched) -> str:
    """Write one MLflow run. Returns the address of its page."""
    tags = {"switchyard.digest": watched.digest, "switchyard.drift": watched.status}
    run = experiments.start(experiments.experiment(f"drift-{watched.name}"), watched.release, tags)
    finished = "FAILED"
    try:
        about = {key: getattr(watched, key) for key in ("since", "until", "rows", "reference", "release", "digest")}
        metrics = {metric_name(one.check): one.score for one in watched.found}
        experiments.log(run, parameters=about, metrics={**metrics, "alarm": float(watched.status == "drift")})
        experiments.write(run, "drift.json", json.dumps(plain(watched), ensure_ascii=False).encode())
        experiments.write(run, "scores.png", scores(watched.found, watched.release))
        if watched.drawn is not None:
            experiments.write(run, "projection.json", json.dumps(asdict(watched.drawn)).encode())
            experiments.write(run, "projection.png", projection(watched.drawn, watched.release))
        finished = "FINISHED"
    finally:
        experiments.finish(run, status=finished)
    return experiments.address(run)


def metric_name(check: str) -> str:
    """The name of a check as a metric of MLflow, which takes letters, digits and a few signs. Columns of a model may
    have any name."""
    return _NO_METRIC_NAME.sub("_", check.replace(" ", "_"))[:250]


def keep_rows(store: ObjectStore, all_watched: Sequence[Watched]) -> int | None:
    """Append one row per check to `s3a://<curated>/drift`. Returns the Delta version, or None if there was no row."""
    rows = [
        {
            **{
                key: getattr(watched, key)
                for key in ("name", "release", "digest", "since", "until", "rows", "reference")
            },
            **asdict(one),
            "kind": kind_of(one.check),
            "alarm": one.alarm,
        }
        for watched in all_watched
        for one in watched.found
    ]
    return append(store, f"s3a://{store.settings.curated_bucket}/drift", rows) if rows else None


def record_metrics(meters: Meters, all_watched: Sequence[Watched]) -> None:
    """Set the gauges of a prompt or model. Where several releases answered, the one that drifted most counts."""
    for watched in sorted((one for one in all_watched if one.found), key=lambda one: one.found[0].score):
        for one in watched.found:
            labels = {"name": watched.name, "kind": kind_of(one.check), "measure": one.check}
            meters.record(catalogue.DRIFT_SCORE, one.score, **labels)
        for number, share in enumerate(watched.drawn.topics if watched.drawn else ()):
            meters.record(catalogue.DRIFT_CLUSTER_SHARE, share, name=watched.name, cluster=number)
    for kind in {kind for watched in all_watched for kind in watched.kinds}:
        alarm = any(watched.kinds.get(kind, False) for watched in all_watched)
        meters.record(catalogue.DRIFT_ALARM, int(alarm), name=all_watched[0].name, kind=kind)


def announce(settings: AirflowSettings, all_watched: Sequence[Watched]) -> list[str]:
    """Announce what drifted to Airflow, by events that start runs there. Returns the assets of the events.

    Raises:
        ConfigError: Airflow is not configured. Unavailable: it does not answer. Everything else was recorded.
    """
    drifted = {
        MODEL_DRIFT if one.of_model else DRIFT_ASSETS[kind]
        for one in all_watched
        for kind, alarm in one.kinds.items()
        if alarm
    }
    if not drifted:
        return []
    airflow = Airflow(settings)
    for asset in sorted(drifted):
        said = {"name": all_watched[0].name, "releases": [one.release for one in all_watched if one.status == "drift"]}
        airflow.asset_event(asset, said)
    return sorted(drifted)
