"""
### drift_watch: do people still ask, and prompts and models still answer, as when the release went live?

**What it does.** Spark turns the events of live traffic into the tables of answers and feedback (`collect`); then the
last window of each prompt and model is compared with the reference of its release (`watch`): an MLflow run, rows of the
table `drift`, metrics that the alert `Drift` looks at. Where questions drifted, an event of the asset `question_drift`
starts `prepare_knowledge`; where answers or documents did, one of `answer_drift` starts `evaluate_and_promote`. Where
inputs or predictions of a model drifted, one of `model_drift` starts `train_model`.

**When.** Daily at 04:00 UTC; by hand, for one prompt or model or another window if you like.

**Drift is no failure.** The run is a success and its log says what drifted. A name that nobody asked is passed over.

**When it fails.**
- `collect`: exit code 4: somebody else writes the tables (it is tried again). 2: an object under `events/` holds a line
  that is no event; its log names it.
- `watch`: tried again where a part was unreachable; by hand `switchyard drift NAME`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import CronTriggerTimetable, Param, dag, task
from switchyard_commands import (
    ANSWER_DRIFT,
    MODEL_DRIFT,
    NOT_FOUND,
    QUESTION_DRIFT,
    ROOT,
    models,
    prompts,
    switchyard,
)

log = logging.getLogger(__name__)


@task
def watch(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Every release's verdict, and the documents'; a name that nobody asked has none."""
    found = []
    for name in [params["name"]] if params["name"] else [*prompts(), *models()]:
        said = switchyard("drift", name, "--window", params["window"], "--no-collect", accept=(0, NOT_FOUND))
        found += [*said["releases"], *([said["corpus"]] if said["corpus"] else [])] if said else []
    for release in found:
        log.info(release["explanation"])
    return found


@task.short_circuit
def questions_drifted(found: list[dict[str, Any]]) -> bool:
    """Whether the questions of any release drifted."""
    return any(release["kinds"].get("data") for release in found if not release["of_model"])


@task.short_circuit
def answers_drifted(found: list[dict[str, Any]]) -> bool:
    """Whether the answers of any release drifted, what they mean, or the documents that they come from."""
    of_prompts = [release for release in found if not release["of_model"]]
    return any(release["kinds"].get(kind) for release in of_prompts for kind in ("output", "embeddings", "corpus"))


@task.short_circuit
def models_drifted(found: list[dict[str, Any]]) -> bool:
    """Whether the inputs or the predictions of any model drifted."""
    return any(release["status"] == "drift" for release in found if release["of_model"])


@task(outlets=[QUESTION_DRIFT])
def announce_questions(found: list[dict[str, Any]], outlet_events: Any) -> None:
    """Starts `prepare_knowledge`."""
    outlet_events[QUESTION_DRIFT].extra = {"releases": [release["release"] for release in found]}


@task(outlets=[ANSWER_DRIFT])
def announce_answers(found: list[dict[str, Any]], outlet_events: Any) -> None:
    """Starts `evaluate_and_promote`."""
    outlet_events[ANSWER_DRIFT].extra = {"releases": [release["release"] for release in found]}


@task(outlets=[MODEL_DRIFT])
def announce_models(found: list[dict[str, Any]], outlet_events: Any) -> None:
    """Starts `train_model` for the models of the releases that drifted."""
    drifted = [release for release in found if release["of_model"] and release["status"] == "drift"]
    outlet_events[MODEL_DRIFT].extra = {"releases": [release["release"] for release in drifted]}


@dag(
    dag_id="drift_watch",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 4 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "execution_timeout": timedelta(hours=1)},
    dagrun_timeout=timedelta(hours=4),
    params={
        "name": Param(None, type=["null", "string"], title="Prompt or model", description="Empty: all."),
        "window": Param("24h", type="string", pattern=r"^\d{1,6}[mhd]$", description="As in 90m, 24h or 7d."),
    },
    tags=["switchyard"],
)
def drift_watch() -> None:
    collect = SparkSubmitOperator(
        task_id="collect",
        application=str(ROOT / "spark_jobs" / "collect_feedback.py"),
        conf={"spark.ui.showConsoleProgress": "false"},
    )
    found = watch()
    collect >> found
    questions_drifted(found) >> announce_questions(found)
    answers_drifted(found) >> announce_answers(found)
    models_drifted(found) >> announce_models(found)


drift_watch()
