"""
### prepare_knowledge: raw documents become a knowledge base

**What it does.** Spark turns the raw documents into a Delta table of chunks (`chunk`), and a search index is built from
exactly that Delta version (`index`). The event of the asset `knowledge_base` carries the Delta version; it starts
`evaluate_and_promote`.

**When.** Daily at 02:00 UTC; on an event of the asset `raw_documents`, by whoever wrote new ones
(`POST /api/v2/assets/events`), or of `question_drift`, by `drift_watch`; by hand, with other addresses if you like.

**Documents that came over HTTP.** An event whose `extra` has an `input` names what to read instead: the DAG `ingest`
names the raw table of documents. The job takes only the rows of it that are new, and the documents of both inputs stay
side by side. If events with and without an `input` come together, the run reads the whole corpus, and `ingest` sends
its event again.

**It can be repeated.** An unchanged corpus commits no Delta version and gets no second index: `index` is then skipped,
no event is sent, and the run is a success.

**Any other input is the whole corpus.** Documents that it does not hold are deleted, except those that came over HTTP.
A run that would delete or reject more than `max_deleted` and `max_rejected` allow is refused and changes nothing; start
it by hand with larger shares if that is what you want.

**When it fails.**
- `chunk`: read the end of its log. Exit code 4: the plan crosses a limit (the log says which, why, and shows a rejected
  row), or somebody else writes the table (it is tried again). Exit code 2: the input does not exist. 3: the object
  store is down. A wrong corpus went through all the same: `switchyard restore TABLE` lists the versions to go back to.
- `index`: tried again by itself; by hand `switchyard index TABLE`.

Nothing is served from a half-made knowledge base: a prompt version pins a finished one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.common.compat.lineage.entities import File
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, Variable, dag, task
from airflow.sdk.exceptions import AirflowSkipException
from switchyard_commands import KNOWLEDGE_BASE, PREPARED_ROWS, QUESTION_DRIFT, RAW_DOCUMENTS, ROOT, switchyard


def raw_event(events: Any) -> dict[str, Any]:
    """The `extra` of the newest event that started this run, if every event names an input; else an empty one."""
    extras = [event.extra or {} for found in (events or {}).values() for event in found]
    return dict(extras[-1]) if extras and all("input" in extra for extra in extras) else {}


def say_lineage(context: Any) -> None:
    """Tell OpenLineage which tables this run reads and writes: its event or its parameters name them."""
    read = raw_event(context.get("triggering_asset_events")).get("input") or context["params"]["input"]
    context["task"].inlets.append(File(url=read.replace("s3a://", "s3://")))
    context["task"].outlets.append(File(url=context["params"]["output"].replace("s3a://", "s3://")))


@task(outlets=[KNOWLEDGE_BASE], execution_timeout=timedelta(hours=1))
def index(params: dict[str, Any], outlet_events: Any, triggering_asset_events: Any) -> dict[str, Any]:
    """Build an index of exactly the Delta version that the table has now."""
    vectors = ("--vectors",) if params["vectors"] else ()
    made: dict[str, Any] = switchyard("index", params["output"], *vectors)
    taken = raw_event(triggering_asset_events).get("rows")
    if taken is not None:
        Variable.set(PREPARED_ROWS, str(taken))
    if not made.get("built", True):
        raise AirflowSkipException(f"Nothing changed: Delta version {made['delta_version']} has its index already.")
    outlet_events[KNOWLEDGE_BASE].extra = {"table": params["output"], **made}
    return made


DAILY = CronTriggerTimetable(
    "0 2 * * *",
    timezone="UTC",
    run_immediately=timedelta(0),  # otherwise Airflow catches up on today's run when it first starts after 02:00
)


@dag(
    dag_id="prepare_knowledge",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=DAILY, assets=RAW_DOCUMENTS | QUESTION_DRIFT),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    dagrun_timeout=timedelta(hours=6),
    params={
        "input": Param("s3a://raw-data-bucket/articles/raw_docs.json", type="string", title="Raw documents"),
        "output": Param("s3a://curated-data-bucket/llm_prepared_docs", type="string", title="Chunk table"),
        "max_deleted": Param(
            0.1, type="number", minimum=0, maximum=1, description="The share of documents that a run may delete."
        ),
        "max_rejected": Param(
            0.2, type="number", minimum=0, maximum=1, description="The share of rows that a run may reject."
        ),
        "vectors": Param(True, type="boolean", description="Index vectors beside words, for hybrid search."),
    },
    user_defined_macros={"raw_event": raw_event},
    tags=["switchyard"],
)
def prepare_knowledge() -> None:
    chunk = SparkSubmitOperator(
        task_id="chunk",
        application=str(ROOT / "spark_jobs" / "llm_data_prep.py"),
        application_args=[
            "{{ raw_event(triggering_asset_events | default({})).get('input') or params.input }}",
            "{{ params.output }}",
            "--max-deleted={{ params.max_deleted }}",
            "--max-rejected={{ params.max_rejected }}",
        ],
        conf={"spark.ui.showConsoleProgress": "false"},
        pre_execute=say_lineage,
        execution_timeout=timedelta(hours=4),
    )
    chunk >> index()


prepare_knowledge()
