"""The streaming job: the release that is live when a micro-batch begins predicts it, each row exactly once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import SparkSession

from mlflow_project.adapters.kafka import Cluster, client_settings, send_all
from mlflow_project.adapters.model_files import file_key
from mlflow_project.adapters.schema_folder import TopicPlan
from mlflow_project.domain.reference import Reference
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.settings import KafkaSettings, load
from spark_jobs import stream_ends, streaming_inference, tables
from spark_jobs.streaming_inference import Stream, predict_stream
from spark_jobs.table_log import newest_version
from tests.conftest import RunningStack
from tests.models.conftest import Models, mlflow_client, models, test_table
from tests.spark.conftest import SMALL_DATA, spark
from tests.training.test_batch_inference import rows, write

__all__ = ["mlflow_client", "models", "spark", "test_table"]

ROOT = Path(__file__).parents[2]
FILES = 120
"""More micro-batches than twenty runs of a few seconds can write, so that each kill comes while there is work."""


def stream(folder: Path, models: Models, **options: Any) -> Stream:
    named = options.pop("named", Reference(models.name))
    given = {"key": "id", "files_at_once": 1, "seconds": None, **options}
    return Stream(str(folder / "in"), str(folder / "out"), named, str(folder / "checkpoint"), **given)


def rows_of(folder: Path, spark: SparkSession) -> dict[str, tuple[Any, ...]]:
    """Key, then the prediction or the error, and the release; fails where a key stands twice."""
    found: dict[str, tuple[Any, ...]] = {}
    for suffix, column in (("", "prediction"), ("_errors", "error")):
        if newest_version(spark, f"{folder / 'out'}{suffix}") is not None:
            for row in tables.read(spark, f"{folder / 'out'}{suffix}").collect():
                assert row["row_key"] not in found
                found[row["row_key"]] = (suffix, row[column], row["release"], row["release_digest"])
    return found


def go_live(models: Models, version: int) -> None:
    models.seal(version)
    models.promote(version)


def damage(models: Models, version: int) -> str:
    """Change a sealed file in the store. Returns its name."""
    release, store = models.release(version), models.parts.store
    name = next(file.path for file in release.manifest.files or () if file.path.endswith(".skops"))
    store.put(store.settings.artifacts_bucket, file_key(release.digest, name), b"changed")
    return name


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_a_stream_follows_the_alias_and_keeps_the_old_release_where_the_new_one_cannot_be_loaded(
    spark: SparkSession, models: Models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (models.register(seed=seed) for seed in (1, 5, 9))
    go_live(models, first)
    write(tmp_path / "in", rows(20, 1))
    done: dict[str, Any] = {}
    asked = stream(tmp_path, models, seconds=0.2)
    following = threading.Thread(target=lambda: done.update(predict_stream(spark, asked, models.parts)))
    following.start()
    try:
        wait_for(lambda: len(rows_of(tmp_path, spark)) == 20)
        go_live(models, second)
        write(tmp_path / "in", rows(15, 2, first=20))
        wait_for(lambda: len(rows_of(tmp_path, spark)) == 35)
        go_live(models, third)
        name = damage(models, third)
        write(tmp_path / "in", rows(5, 3, first=35))
        wait_for(lambda: len(rows_of(tmp_path, spark)) == 40)
    finally:
        for query in spark.streams.active:
            query.stop()
        following.join(60)
    found = rows_of(tmp_path, spark)
    by = {key: release for key, (_, _, release, _) in found.items()}
    assert {by[f"r{n}"] for n in range(20)} == {f"{models.name}/{first}"}
    assert {by[f"r{n}"] for n in range(20, 40)} == {f"{models.name}/{second}"}
    assert done["predicted"] == 40
    said = [record for record in caplog.records if "cannot be used" in record.getMessage()]
    assert len(said) == 1
    assert name in said[0].__dict__["reason"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_records_of_a_topic_are_predicted_into_a_topic_and_a_micro_batch_that_is_sent_again_is_recognised(
    spark: SparkSession, models: Models, kafka: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_live(models, models.register())
    source, output = (f"t{uuid.uuid4().hex[:8]}" for _ in range(2))
    Cluster(load(KafkaSettings)).apply({source: TopicPlan(partitions=2), output: TopicPlan(partitions=1)})
    frame = rows(12, 4)
    values = [*(json.dumps(row).encode() for row in frame.to_dict("records")), b'{"amount": "much"}', b"no json", None]
    send_all(load(KafkaSettings), [{"topic": source, "value": value, "key": None} for value in values])
    asked = stream(tmp_path, models, key=None)
    asked = replace(asked, table=f"kafka://{source}", output=f"kafka://{output}", records_at_once=8)
    monkeypatch.setattr(streaming_inference, "send", send_and_stop)
    with pytest.raises(Refused, match="stopped after sending"):
        predict_stream(spark, asked, models.parts)
    monkeypatch.undo()
    done = predict_stream(spark, asked, models.parts)
    assert (done["predicted"], done["failed"]) == (12, 3)
    sent = records_in(output)
    assert len(sent) > len(values), "the first micro-batch was sent twice"
    assert len({key for key, _ in sent}) == len(set(sent)) == len(values)
    by_key = {key: json.loads(value) for key, value in set(sent)}
    release = models.release(1)
    assert {each["release_digest"] for each in by_key.values()} == {release.digest}
    assert all(key == f"{each['row_key']}@{release.digest}" for key, each in by_key.items())
    assert sorted(each["row_key"].split("/")[0] for each in by_key.values()) == [source] * len(values)
    errors = [each["error"] for each in by_key.values() if each["prediction"] is None]
    assert len(errors) == 3
    assert sum("is not JSON" in each for each in errors) == 2
    again = replace(asked, output=str(tmp_path / "out"), checkpoint=str(tmp_path / "other"))
    predict_stream(spark, again, models.parts)
    kept = {key: (prediction, digest) for key, (_, prediction, _, digest) in rows_of(tmp_path, spark).items()}
    wanted = {each["row_key"]: each["prediction"] for each in by_key.values()}
    assert {key: found for key, (found, _) in kept.items() if wanted[key] is not None} == {
        key: value for key, value in wanted.items() if value is not None
    }


def send_and_stop(*given: Any) -> None:
    stream_ends.send(*given)
    raise Refused("stopped after sending")


def records_in(topic: str) -> list[tuple[str, str]]:
    """Key and value of all records of a topic of one partition."""
    _, end = Cluster(load(KafkaSettings)).offsets(topic)[0]
    consumer = Consumer({**client_settings(load(KafkaSettings)), "group.id": uuid.uuid4().hex})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        found = consumer.consume(end, timeout=30)
        return [(message.key().decode(), message.value().decode()) for message in found]
    finally:
        consumer.close()


@pytest.mark.long
def test_a_micro_batch_that_is_run_again_gives_the_rows_of_the_release_that_began_it(
    spark: SparkSession, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = models.register(), models.register(seed=5)
    go_live(models, first)
    frame = rows(30, 4)
    frame.loc[[3, 11], "amount"] = np.nan
    write(tmp_path / "in", frame)
    written = streaming_inference._MicroBatches._write

    def cut_short(self: Any, outcome: Any, table: str, number: int) -> None:
        if not table.endswith("_errors"):
            raise Refused("cut short after the errors were written")
        written(self, outcome, table, number)

    monkeypatch.setattr(streaming_inference._MicroBatches, "_write", cut_short)
    with pytest.raises(Refused, match="cut short"):
        predict_stream(spark, stream(tmp_path, models), models.parts)
    monkeypatch.undo()
    assert len(rows_of(tmp_path, spark)) == 2
    go_live(models, second)
    write(tmp_path / "in", rows(3, 5, first=30))
    predict_stream(spark, stream(tmp_path, models), models.parts)
    by = {key: release for key, (_, _, release, _) in rows_of(tmp_path, spark).items()}
    assert len(by) == 33
    assert {by[f"r{n}"] for n in range(30)} == {f"{models.name}/{first}"}
    assert {by[f"r{n}"] for n in range(30, 33)} == {f"{models.name}/{second}"}
    assert predict_stream(spark, stream(tmp_path, models), models.parts)["micro_batches"] == 0


def test_what_cannot_be_streamed_is_said_before_anything_is_written(
    spark: SparkSession, models: Models, tmp_path: Path
) -> None:
    version = models.register()
    named = Reference(models.name, version)
    with pytest.raises(NotFound, match="no Delta table"):
        predict_stream(spark, stream(tmp_path, models), models.parts)
    write(tmp_path / "in", rows(5, 1))
    with pytest.raises(Refused, match="has no seal"):
        predict_stream(spark, stream(tmp_path, models, named=named), models.parts)
    models.seal(version)
    write(tmp_path / "narrow" / "in", rows(5, 1).drop(columns="amount"))
    with pytest.raises(InvalidData, match=r"lacks columns .*: amount"):
        predict_stream(spark, stream(tmp_path / "narrow", models, named=named), models.parts)
    assert not (tmp_path / "out").exists()
    predict_stream(spark, stream(tmp_path, models, named=named), models.parts)
    other = Reference("another-model", 1)
    with pytest.raises(Refused, match="belongs to another stream"):
        predict_stream(spark, stream(tmp_path, models, named=other), models.parts)
    (tmp_path / "checkpoint").rename(tmp_path / "lost")
    with pytest.raises(Refused, match="predict every row again"):
        predict_stream(spark, stream(tmp_path, models, named=named), models.parts)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_kills_leave_the_rows_of_an_undisturbed_run(spark: SparkSession, models: Models, tmp_path: Path) -> None:
    go_live(models, models.register())
    for number in range(FILES):
        frame = rows(10, number, first=10 * number)
        frame.loc[[number % 10], "amount"] = np.nan
        for place in ("disturbed", "undisturbed"):
            write(tmp_path / place / "in", frame)
    predict_stream(spark, stream(tmp_path / "undisturbed", models, files_at_once=50), models.parts)
    chance = random.Random(7)
    begun = [kill_in_the_middle(models, tmp_path / "disturbed", chance.uniform(0, 3)) for _ in range(20)]
    predict_stream(spark, stream(tmp_path / "disturbed", models, files_at_once=50), models.parts)
    found = rows_of(tmp_path / "disturbed", spark)
    assert len(found) == 10 * FILES
    assert found == rows_of(tmp_path / "undisturbed", spark)
    assert begun[0] < begun[-1]  # the kills came between and in micro-batches


def kill_in_the_middle(models: Models, folder: Path, seconds: float) -> int:
    """Start the job in a process group of its own, and kill all of it this long after it began a micro-batch. Returns
    how many micro-batches were begun by then."""
    script = ROOT / "spark_jobs" / "streaming_inference_job.py"
    options = ["--model", models.name, "--key", "id", "--checkpoint", folder / "checkpoint", "--seconds", "0"]
    quick = [word for name, value in SMALL_DATA.items() for word in ("--conf", f"{name}={value}")]
    command = [Path(sys.prefix) / "bin" / "spark-submit", *quick, script, folder / "in", folder / "out", *options]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    offsets = folder / "checkpoint" / "spark" / "offsets"
    before = begun(offsets)
    log = folder / "job.log"
    with log.open("wb") as said:
        running = subprocess.Popen(
            [*map(str, command), "--files-at-once", "1"],
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    while begun(offsets) == before and before < FILES:
        assert running.poll() is None, log.read_text()
        time.sleep(0.05)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, log.read_text()
    return begun(offsets)


def begun(offsets: Path) -> int:
    return max((int(each.name) + 1 for each in offsets.glob("[0-9]*")), default=0)
