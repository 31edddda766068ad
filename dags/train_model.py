"""
### train_model: new rows become a released version of a model

**What it does.** For each model: `features` (raw rows → features and training set) → `train` (candidates → the next
version of the registered model) → `announce`, which sends an event of the asset `switchyard_candidate`. The event
starts `evaluate_and_promote`, which has the rest of the way: evaluation against what is live, gate, seal, a person's
approval when the policy says so, promotion, smoke requests, and rollback if these fail. Only that DAG promotes.

**When.** Daily at 03:00 UTC for every model that has a `model.yaml`; on an event of the asset `feature_table`, by
whoever wrote new rows (`POST /api/v2/assets/events`, the extra names the `model`); on an event of `model_drift`, by
`drift_watch`; on an event of `data_quality`, by this DAG; by hand, for one model or all. The DAG begins paused.

**Rows that fail expectations.** If an expectation of `features.yaml` fails, the rejected rows are in the quarantine,
`train` is skipped, and `report_quality` sends an event of `data_quality`. The event starts another run, in which
`approval` shows the failed expectations and asks a person whether to train without the rejected rows. After *Reject*
nothing is trained, and the run is a success. Mended rows are new rows: the next run takes them.

**It can be repeated.** The same rows, declaration and code are trained once, and `announce` is skipped for a version
that the gate has judged.

**When it fails.**
- `features`: exit code 2: an input or `features.yaml` is wrong, or somebody changed the features of a table that exists
  (`switchyard features MODEL --rebuild`). 3: the object store is down; 4: somebody else writes the tables. Both are
  tried again.
- `train`: exit code 2: `model.yaml` does not fit the training set. 3: MLflow or the object store is down.
- Nothing that is live is changed by this DAG. If the release fails, look at the run of `evaluate_and_promote`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import (
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TriggerRule,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from switchyard_commands import (
    CANDIDATE,
    DATA_QUALITY,
    FEATURE_TABLE,
    MODEL_DRIFT,
    NOT_FOUND,
    REFUSED,
    models,
    switchyard,
)


@task
def choose(params: dict[str, Any], triggering_asset_events: Any) -> dict[str, list[str]]:
    """The models of the events, the one that a person named, or all; and the expectations that failed."""
    waited_for = (FEATURE_TABLE, DATA_QUALITY, MODEL_DRIFT)
    said = [event.extra for asset in waited_for for event in triggering_asset_events.get(asset, ())]
    named = {name for extra in said for name in models_of(extra)} or set(models())
    chosen = [params["model"]] if params["model"] else sorted(named & set(models()))
    if not chosen:
        raise AirflowSkipException(f"None of {', '.join(sorted(named))} is a model that is trained here.")
    failed = [f"{extra['model']}: {one}" for extra in said for one in extra.get("failed_expectations", ())]
    return {"models": chosen, "failed_expectations": failed}


def models_of(extra: dict[str, Any]) -> list[str]:
    """The models that an event is about; none if its sender named none."""
    releases = [*([extra["model"]] if "model" in extra else []), *extra.get("releases", ())]
    return [release.partition("/")[0] for release in releases]


@task.branch
def who_decides(chosen: dict[str, list[str]]) -> str:
    """A person, where rows failed expectations."""
    return "approval" if chosen["failed_expectations"] else "to_train"


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
def to_train() -> list[str]:
    """The names of the models."""
    names: list[str] = get_current_context()["ti"].xcom_pull(task_ids="choose")["models"]
    return names


@task(execution_timeout=timedelta(hours=4))
def features(model: str) -> dict[str, Any]:
    """Bring the features and the training set up to date. Returns the report, also where an expectation failed."""
    report = switchyard("features", model, accept=(0, REFUSED))
    if "failed_expectations" not in report:
        raise AirflowException(f"Somebody else writes the tables of {model}; the log says who. It is tried again.")
    return {"model": model, **report}


@task(outlets=[DATA_QUALITY])
def report_quality(report: dict[str, Any], outlet_events: Any) -> None:
    """Send an event where an expectation failed; skipped where none did."""
    failed = report["failed_expectations"]
    if not failed:
        raise AirflowSkipException(f"The rows of {report['model']} satisfy all expectations.")
    outlet_events[DATA_QUALITY].extra = {"model": report["model"], "failed_expectations": failed}


@task(execution_timeout=timedelta(hours=4))
def train(report: dict[str, Any]) -> Any:
    """Train on the very training set that the report names, and register the best candidate."""
    if failed := report["failed_expectations"]:
        raise AirflowSkipException("\n- ".join([f"{report['model']} is not trained: its rows fail", *failed]))
    return switchyard("train", report["model"], "--data", report["training_set"])


@task(outlets=[CANDIDATE])
def announce(trained: dict[str, Any], outlet_events: Any) -> None:
    """Start `evaluate_and_promote` for this version. Skipped where the gate has judged it."""
    name, version = trained["name"], trained["version"]
    records = switchyard("history", name, accept=(0, NOT_FOUND))  # not found: nothing was ever recorded about it
    if any(row["version"] == version and row["type"] in ("seal", "refusal") for row in records):
        raise AirflowSkipException(f"The gate has judged {name}/{version} already, and nothing changed since.")
    outlet_events[CANDIDATE].extra = {"name": name, "version": version}


@task_group
def one_model(model: str) -> None:
    """From the raw rows of one model to its candidate."""
    report = features(model)
    report_quality(report)
    announce(train(report))


DAILY = CronTriggerTimetable(
    "0 3 * * *",
    timezone="UTC",
    run_immediately=timedelta(0),  # otherwise Airflow catches up on today's run when it first starts after 03:00
)


@dag(
    dag_id="train_model",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=DAILY, assets=FEATURE_TABLE | DATA_QUALITY | MODEL_DRIFT),
    catchup=False,
    max_active_runs=4,  # one may wait for a person
    max_active_tasks=1,  # a training uses the whole machine
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "execution_timeout": timedelta(minutes=10)},
    dagrun_timeout=timedelta(days=2),
    params={"model": Param(None, type=["null", "string"], title="Model", description="Empty: all models.")},
    tags=["switchyard"],
)
def train_model() -> None:
    approval = ApprovalOperator(
        task_id="approval",
        subject="Train without the rows that fail expectations?",
        body="{% for one in ti.xcom_pull('choose').failed_expectations %}- {{ one }}\n{% endfor %}",
        response_timeout=timedelta(hours=12),
        execution_timeout=None,
        retries=1,
    )
    decide, agreed = who_decides(choose()), to_train()
    decide >> [approval, agreed]
    approval >> agreed
    one_model.expand(model=agreed)


train_model()
