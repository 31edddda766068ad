"""
### tell_catalogues: catalogues learn what was prepared, evaluated and promoted

**What it does.** `publish` runs `switchyard lineage publish`: it sends the OpenLineage events of jobs, gate, promotions
and rollouts that were not sent yet, to the catalogue that OpenLineage's own configuration names (`openlineage.yml` or
`OPENLINEAGE_URL`). Without one, the events go to `lineage/events.jsonl` of Switchyard's state folder. `push` runs
`switchyard catalog push`, which writes what changed to the OpenMetadata server that `SWITCHYARD_OPENMETADATA_URL`
names; it is skipped where none is named.

**When.** Every 15 minutes, on a new knowledge base, on a new candidate, after a promotion, by hand.

**It can be repeated.** A run without news sends nothing. What a catalogue did not take stays in the outbox, and the
next run sends it; no job waits for any of this.

**When it fails.**
- `publish`: exit code 3: the catalogue or the object store is down; it is tried again, and nothing is lost. Exit code
  4: the catalogue refused an event, or a record cannot be read; the log names it, and the others were sent. Exit code
  2: OpenLineage's configuration is wrong.
- `push`: exit code 3: OpenMetadata does not answer; it is tried again, and what was written stays. Exit code 4: it does
  not accept the token. Exit code 2: it refuses a request; the log says which, and why.
- A catalogue was wiped: `switchyard lineage publish --since 2026-01-01` sends the same events again.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, DeltaTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException
from switchyard_commands import CANDIDATE, KNOWLEDGE_BASE, PROMOTION, switchyard


@task(execution_timeout=timedelta(minutes=30))
def publish() -> Any:
    """Send the events that were not sent yet."""
    return switchyard("lineage", "publish")


@task(execution_timeout=timedelta(minutes=30))
def push() -> Any:
    """Write what changed to OpenMetadata."""
    if not os.environ.get("SWITCHYARD_OPENMETADATA_URL"):
        raise AirflowSkipException("SWITCHYARD_OPENMETADATA_URL names no OpenMetadata server.")
    return switchyard("catalog", "push")


@dag(
    dag_id="tell_catalogues",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=DeltaTriggerTimetable(timedelta(minutes=15)), assets=KNOWLEDGE_BASE | CANDIDATE | PROMOTION
    ),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    dagrun_timeout=timedelta(hours=1),
    tags=["switchyard"],
)
def tell_catalogues() -> None:
    publish()
    push()


tell_catalogues()
