"""
### tell_catalogues: catalogues learn what was prepared, evaluated and promoted

**What it does.** `publish` runs `switchyard lineage publish`: it sends the OpenLineage events of jobs, gate, promotions
and rollouts that were not sent yet, to the catalogue that OpenLineage's own configuration names (`openlineage.yml` or
`OPENLINEAGE_URL`). Without one, the events go to `lineage/events.jsonl` of Switchyard's state folder.

**When.** Every 15 minutes, on a new knowledge base, on a new candidate, after a promotion, by hand.

**It can be repeated.** A run without news sends nothing. What a catalogue did not take stays in the outbox, and the
next run sends it; no job waits for any of this.

**When it fails.**
- `publish`: exit code 3: the catalogue or the object store is down; it is tried again, and nothing is lost. Exit code
  4: the catalogue refused an event, or a record cannot be read; the log names it, and the others were sent. Exit code
  2: OpenLineage's configuration is wrong.
- A catalogue was wiped: `switchyard lineage publish --since 2026-01-01` sends the same events again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, DeltaTriggerTimetable, dag, task
from switchyard_commands import CANDIDATE, KNOWLEDGE_BASE, PROMOTION, switchyard


@task(execution_timeout=timedelta(minutes=30))
def publish() -> Any:
    """Send the events that were not sent yet."""
    return switchyard("lineage", "publish")


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


tell_catalogues()
