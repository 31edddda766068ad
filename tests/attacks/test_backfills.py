"""Attacks on training sets: whoever writes raw events sends them late, corrects them, moves them, dates them back,
writes them in other time zones or at equal times. He gets nothing of the future into a training set."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlflow_project.training.data import read_rows
from spark_jobs import tables
from spark_jobs.feature_engineering_job import build
from tests.spark.conftest import spark
from tests.spark.feature_builds import (
    NOW,
    START,
    as_known,
    declaration,
    event,
    label,
    moment,
    random_events,
    write,
)

__all__ = ["spark"]


def built(spark: SparkSession, folder: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    """Build, and return the rows of the training set by id."""
    done = build(spark, declaration(folder, **changes), now=NOW)
    return {row["id"]: row for row in read_rows(done["training_set"]).data.to_pylist()}


def feature_rows(spark: SparkSession, folder: Path) -> list[Any]:
    rows = tables.read(spark, str(folder / "features"))
    return sorted(str(row.asDict()) for row in rows.collect())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 10))])
def test_late_corrected_moved_and_simultaneous_events_leak_nothing(
    spark: SparkSession, tmp_path: Path, seed: int
) -> None:
    """The attacker writes every raw event. Each training row equals what its account had shown by the decision."""
    chance = random.Random(seed)
    events = distinct_versions(random_events(seed))
    labels = [label(f"l{number}", chance.randint(-1, 30), account=chance.choice("abcd")) for number in range(80)]
    write(tmp_path, "events", events)
    write(tmp_path, "labels", labels)
    rows = built(spark, tmp_path)
    assert len(rows) == 80
    for one in labels:
        expected = as_known(events, one["account"], one["time"])
        for name, value in expected.items():
            nearly = value if value is None else pytest.approx(value, rel=1e-12)
            assert rows[one["id_"]][name] == nearly, (name, one)


def distinct_versions(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without versions of one event that became known at one time: which of them is newer the events do not say."""
    return list({(one["id_"], one["known"]): one for one in events}.values())


@pytest.mark.long
def test_in_many_runs_the_tables_hold_what_one_run_makes(spark: SparkSession, tmp_path: Path) -> None:
    """Events arrive in the order in which they became known, over three runs."""
    events = sorted(random_events(7), key=lambda one: one["known"][:19])
    labels = [label(f"l{number}", number / 2) for number in range(50)]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        write(folder, "labels", labels)
    write(whole, "events", events)
    at_once = built(spark, whole)
    cuts = [moment(8), moment(16), moment(999)]
    before = ""
    for number, cut in enumerate(cuts):
        write(parts, "events", [one for one in events if before < _utc(one["known"]) <= _utc(cut)], number)
        in_parts = built(spark, parts)
        before = _utc(cut)
    assert feature_rows(spark, parts) == feature_rows(spark, whole)
    assert in_parts == at_once


def _utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def test_a_backfill_that_dates_itself_back_changes_no_row_of_the_past(spark: SparkSession, tmp_path: Path) -> None:
    """The attacker adds, after a first run, events and corrections that claim to have been known long ago."""
    write(tmp_path, "events", [event("e1", 0, 0, 10), event("e2", 4, 4, 20)])
    write(tmp_path, "labels", [label("l1", 1), label("l2", 5)])
    before = built(spark, tmp_path)
    write(tmp_path, "events", [event("e1", 0, 0.5, 9_999), event("e3", 3, 3, 777)], part=1)
    done = build(spark, declaration(tmp_path), now=NOW)
    after = {row["id"]: row for row in read_rows(done["training_set"]).data.to_pylist()}
    assert done["events"] == {"new": 2, "rejected": 0, "known_at_replaced": 2, "reasons": {}}
    assert after == before


def test_only_what_was_known_at_the_moment_of_decision_counts(spark: SparkSession, tmp_path: Path) -> None:
    """A correction counts from the moment at which it is known, and so does an event of the very moment."""
    corrected = [event("e1", 0, 0, 10), event("e1", 0, 4, 99)]
    at_once = [event("known", 2, 2, 1), event("late", 2, 2.01, 50), event("after", 2.01, 2.01, 400)]
    write(tmp_path, "events", [*corrected, *(one | {"account": "c"} for one in at_once)])
    labels = [label("before", 3.9), label("at", 4), label("other", 9, account="b"), label("now", 2, account="c")]
    write(tmp_path, "labels", labels)
    rows = built(spark, tmp_path)
    assert [rows[name]["sum_3h"] for name in ("before", "at", "other", "now")] == [10, 99, 0, 1]


def test_time_zones_move_no_event(spark: SparkSession, tmp_path: Path) -> None:
    """The same moments written in UTC and far from it, around the hour that summer time leaves out. A session whose
    time zone is Auckland's makes the same rows; a time without an offset is rejected."""
    spark.conf.set("spark.sql.session.timeZone", "Pacific/Auckland")
    try:
        zones = (0, 13, -11, 2, 1)
        write(
            tmp_path,
            "events",
            [event(f"e{number}", 8 + number, 8 + number, 1, zone) for number, zone in enumerate(zones)],
        )
        naive = event("naive", 8, 8) | {"time": START.replace(tzinfo=None).isoformat()}
        write(tmp_path, "events", [naive], part=1)
        write(tmp_path, "labels", [label(f"l{number}", 8 + number) for number in range(5)])
        done = build(spark, declaration(tmp_path), now=NOW)
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    rows = read_rows(done["training_set"]).data.to_pylist()
    assert [row["count_3h"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["hour"] for row in rows] == [0, 0, 1, 1, 2]
    assert rows[0]["event_time"].isoformat() == "2026-03-29T00:00:00+00:00"
    assert done["events"]["reasons"] == {"wrong_type": 1}


def test_a_label_that_became_known_later_is_not_in_a_training_set_of_before(
    spark: SparkSession, tmp_path: Path
) -> None:
    write(tmp_path, "events", [event("e", 0, 0)])
    write(tmp_path, "labels", [label("l", 1, 2), label("l", 1, 50, fraud=True), label("m", 1, 60)])
    done = build(spark, declaration(tmp_path), as_of=moment(49), now=NOW)
    rows = read_rows(done["training_set"]).data.to_pylist()
    assert [(row["id"], row["fraud"]) for row in rows] == [("l", 0)]
    assert [row["fraud"] for row in built(spark, tmp_path).values()] == [1, 0]


def test_an_event_from_the_future_or_known_before_it_happened_is_rejected(spark: SparkSession, tmp_path: Path) -> None:
    write(tmp_path, "events", [event("e", 0, 0), event("early", 5, 4), event("future", 0, 9_999)])
    write(tmp_path, "labels", [label("l", 1)])
    done = build(spark, declaration(tmp_path, expectations={"max_rejected": 0.7}), now=NOW)
    reasons = tables.read(spark, str(tmp_path / "features_quarantine")).orderBy("sentence").collect()
    assert done["events"]["rejected"] == 2
    assert [row["sentence"] for row in reasons] == [
        "known lies before time: nothing is known before it happens",
        f"known lies in the future ({int(START.timestamp() + 9_999 * 1800) * 1_000_000})",
    ]
