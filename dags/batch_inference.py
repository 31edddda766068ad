"""
### batch_inference: the rows of a table are predicted by what is live

**What it does.** `choose` finds the models to predict with, and `predict` runs the Spark job
`spark_jobs/batch_inference_job.py` for each of them. Tables and key stand in `models/NAME/batch.json`. Each row gets
one prediction per release, with the release's digest; a run predicts only rows that are new, or all rows after a
promotion.

**When.** Daily at 06:00 UTC, for every model that has a `batch.json` and is live in `Production`; on an event of the
asset `promotion`, which `evaluate_and_promote` sends when a version went live and passed its smoke test; by hand, for
one model, and other tables if you like. The DAG begins paused.

**It can be repeated.** A run that was cut short is completed by the next one. The release is resolved once, at the
start: a flip during the job changes nothing for it, and its event starts the next run.

**When it fails.**
- `predict`: read the end of its log. Exit code 4: the live version has no valid seal, the model refuses more rows than
  `--max-failed` allows (they are in the table `<output>_errors`), or somebody else writes the table (it is tried
  again). Exit code 2: the table or a column does not exist. 3: MLflow or the object store is down.
- Predictions that were written stay: each names its release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from switchyard_commands import PROMOTION, ROOT, models, switchyard


@task
def choose(params: dict[str, Any], triggering_asset_events: Any) -> list[list[str]]:
    """The arguments of each job: for the model that a person named, those of the events, or all that are live."""
    if params["model"]:
        return [arguments(params["model"], params)]
    promoted = {event.extra["name"] for event in triggering_asset_events.get(PROMOTION, ())}
    live = {row["name"] for row in switchyard("live") if row["alias"] == "Production"}
    found = sorted(set(models("batch.json")) & (promoted or live))
    if not found:
        raise AirflowSkipException("No model with a batch.json is live, or was promoted: there is nothing to predict.")
    return [arguments(name) for name in found]


def arguments(name: str, form: Mapping[str, Any] | None = None) -> list[str]:
    """The arguments of the job for one model: its `batch.json`, and what the form says instead."""
    file = ROOT / "models" / name / "batch.json"
    declared = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    named = {**declared, **{key: value for key, value in (form or {}).items() if value is not None}}
    if missing := [key for key in ("input", "output") if not named.get(key)]:
        raise AirflowFailException(f"{name} has no {' and no '.join(missing)}: name it in {file} or in the form.")
    options = {"--model": f"{name}@Production", "--key": named.get("key"), "--max-failed": named.get("max_failed")}
    given = [str(word) for option, value in options.items() if value is not None for word in (option, value)]
    return [named["input"], named["output"], *given]


DAILY = CronTriggerTimetable(
    "0 6 * * *",
    timezone="UTC",
    run_immediately=timedelta(0),  # otherwise Airflow catches up on today's run when it first starts after 06:00
)


@dag(
    dag_id="batch_inference",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=DAILY, assets=PROMOTION),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "execution_timeout": timedelta(minutes=10)},
    dagrun_timeout=timedelta(hours=12),
    params={
        "model": Param(None, type=["null", "string"], title="Model", description="Empty: all models that are live."),
        "input": Param(None, type=["null", "string"], description="Empty: the table in the model's batch.json."),
        "output": Param(None, type=["null", "string"], description="Likewise: the table of predictions."),
        "key": Param(None, type=["null", "string"], description="Likewise: the column that names a row."),
    },
    tags=["switchyard"],
)
def batch_inference() -> None:
    SparkSubmitOperator.partial(
        task_id="predict",
        application=str(ROOT / "spark_jobs" / "batch_inference_job.py"),
        conf={"spark.ui.showConsoleProgress": "false"},
        max_active_tis_per_dagrun=1,
        execution_timeout=timedelta(hours=4),
    ).expand(application_args=choose())


batch_inference()
