"""
### ingest: records of Kafka become raw tables, and new documents start a preparation

**What it does.** `kafka_answers` creates the declared topics, and stops the writing where no Kafka runs. `write` runs
`switchyard ingest`, which writes what Kafka has to the raw tables, each record once. If another writer runs, such as
that of `make ingest`, the command is refused, which is no failure: that writer does the work. `announce` counts the
rows of the raw table of documents. If no preparation has taken all of them, an event of the asset `raw_documents` names
the table, and starts `prepare_knowledge`.

**When.** Every 10 minutes; by hand at any time.

**It can be repeated.** A run without new records commits nothing and sends no event. Rows whose preparation failed are
announced again by the next run.

**When it fails.**
- `kafka_answers`: exit code 2: `schemas/topics.yaml` or a schema is wrong, and the log says where. It is skipped where
  Kafka is down or was never installed (`make ingest` starts it).
- `write`: read the end of its log. Exit code 3: Kafka or the object store is down; it is tried again. A topic that was
  deleted and created again, or records that Kafka deleted before they were read, end with exit code 4, like another
  writer: the log says which of them it is, and the alert on the lag fires.
- `announce`: exit code 3: the object store is down; it is tried again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, Variable, dag, task
from airflow.sdk.exceptions import AirflowSkipException
from switchyard_commands import NOT_FOUND, PREPARED_ROWS, RAW_DOCUMENTS, REFUSED, UNREACHABLE, switchyard


@task.short_circuit(ignore_downstream_trigger_rules=False, execution_timeout=timedelta(minutes=5))
def kafka_answers() -> bool:
    """Create the topics that are missing. Nothing is written where no Kafka answers."""
    return bool(switchyard("topics", "apply", accept=(0, UNREACHABLE)))


@task(execution_timeout=timedelta(hours=1))
def write() -> Any:
    """Write what Kafka has to the raw tables."""
    return switchyard("ingest", accept=(0, REFUSED))


@task(
    outlets=[RAW_DOCUMENTS],
    execution_timeout=timedelta(minutes=10),
    trigger_rule=TriggerRule.NONE_FAILED,  # another writer may have written
)
def announce(params: dict[str, Any], outlet_events: Any) -> int:
    """Send an event if the raw table of documents has rows that no preparation has taken. Rows never leave it."""
    table = params["table"]
    counted = switchyard("sql", f"SELECT count(*) AS rows FROM delta.`{table}`", accept=(0, NOT_FOUND))
    rows = int(counted[0]["rows"]) if counted else 0
    if rows == int(Variable.get(PREPARED_ROWS, default="0")):
        raise AirflowSkipException(f"{table} has no new row.")
    outlet_events[RAW_DOCUMENTS].extra = {"input": table, "rows": rows}
    return rows


@dag(
    dag_id="ingest",
    doc_md=__doc__,
    schedule=timedelta(minutes=10),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    dagrun_timeout=timedelta(hours=2),
    params={
        "table": Param("s3a://raw-data-bucket/tables/raw-documents", type="string", title="Raw table of documents"),
    },
    tags=["switchyard"],
)
def ingest() -> None:
    kafka_answers() >> write() >> announce()


ingest()
