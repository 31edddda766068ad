"""Events become Delta rows exactly once, whoever runs the job, however often."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlflow_project.domain.event import AnswerEvent
from mlflow_project.errors import InvalidData
from spark_jobs.collect_feedback import collect
from tests.unit.test_spool import answer, judgement


def ship(folder: Path, name: str, *events: Any, day: str = "2026-11-24") -> None:
    """One object, as a follower writes it."""
    path = folder / "events" / f"day={day}" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [event if isinstance(event, str) else json.dumps(event.to_dict()) for event in events]
    path.write_text("\n".join(lines) + "\n")


def _of_an_older_server(event: AnswerEvent) -> dict[str, Any]:
    """The event without the chunks, which servers did not always record."""
    return {name: value for name, value in event.to_dict().items() if name != "chunks"}


def _forget_chunks(spark: SparkSession, table: str) -> None:
    """Make the table one that an older release has written."""
    rows = spark.read.format("delta").load(table).drop("chunks")
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").partitionBy("day").save(table)


def test_each_event_is_collected_once_into_the_table_of_its_kind(spark: SparkSession, tmp_path: Path) -> None:
    """Late ones too, after a run that was cut short, and without a look at objects that are done."""
    events, output = str(tmp_path / "events"), str(tmp_path / "live")
    assert collect(spark, events, output)["answers"] == 0
    ship(tmp_path, "host-a", answer(1), judgement("a", corrected_answer="Yes."), answer(2))
    first = collect(spark, events, output)
    for unwritten in ("feedback", "objects"):
        shutil.rmtree(f"{output}_{unwritten}")
    _forget_chunks(spark, f"{output}_answers")
    given = replace(answer(3), chunks=("c2", "c1"))
    ship(tmp_path, "host-b", given, given, json.dumps(_of_an_older_server(answer(5))), day="2026-11-20")
    second = collect(spark, events, output)
    ship(tmp_path, "host-a", "what is done is not read again")
    ship(tmp_path, "host-c", answer(4), day="2026-11-01")
    third = collect(spark, events, output, since="2026-11-24")
    assert [(done["answers"], done["feedback"]) for done in (first, second, third)] == [(2, 1), (2, 1), (0, 0)]
    assert third["answers_version"] == second["answers_version"]
    rows = spark.read.format("delta").load(output + "_answers").orderBy("event_id").collect()
    assert [(row.event_id, row.answer, row.groundedness, str(row.day)) for row in rows] == [
        (f"e{number}", "An answer.", 1.0, "2026-11-24") for number in (1, 2, 3, 5)
    ]
    assert [row.chunks for row in rows] == [None, None, ["c2", "c1"], None], "older tables and events stay readable"
    feedback = spark.read.format("delta").load(output + "_feedback").collect()
    assert [(row.score, row.corrected_answer) for row in feedback] == [(1.0, "Yes.")]


def test_a_line_that_is_no_event_stops_the_job_before_anything_is_written(spark: SparkSession, tmp_path: Path) -> None:
    ship(tmp_path, "host-a", answer(1), '{"schema": "something else"}')
    with pytest.raises(InvalidData, match=r"host-a\.jsonl has a line that is no event"):
        collect(spark, str(tmp_path / "events"), str(tmp_path / "live"))
