"""The batch job with a prompt: each row answered once, within one rate and one budget for the whole job."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pandas
import pytest
from pyspark.sql import SparkSession

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.release import Prices, Release
from mlflow_project.errors import InvalidData, Refused, Unavailable
from mlflow_project.evaluation.asking import Plan, Purse
from mlflow_project.evaluation.opening import opening
from mlflow_project.parts import Parts
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import StoreSettings, load
from spark_jobs import batch_answers
from spark_jobs.batch_answers import Asking, answer_new
from spark_jobs.batch_inference_job import _asking, arguments
from spark_jobs.new_rows import Batch
from tests.answering.releases import openai, release
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated, provider_server
from tests.spark.conftest import spark
from tests.training.test_batch_inference import held, write

__all__ = ["provider_server", "spark"]

PRICED = release("openai", prices=Prices("1", 1_000_000.0, 0.0), parameters={"tries": 1})
"""An answer costs 12 USD: the simulated provider reports 12 tokens of input."""


def questions(count: int, first: int = 0) -> pandas.DataFrame:
    ids = [f"r{number:02}" for number in range(first, first + count)]
    return pandas.DataFrame({"id": ids, "question": [f"What is {name}?" for name in ids]})


def answered(
    spark: SparkSession,
    provider: Simulated,
    folder: Path,
    version: int = 0,
    asked: Release = PRICED,
    budget: float | None = None,
    per_minute: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    opened = opening(
        asked, ObjectStore(load(StoreSettings)), folder / "indexes", openai(provider), Masker(), per_minute
    )
    asking = Asking(opened, Plan(4, tries=1, purse=Purse(budget)), folder / "answers")
    batch = Batch(str(folder / "in"), version, str(folder / "out"), **{"key": "id", "rows_at_once": 4, **options})
    return asyncio.run(answer_new(spark, batch, asked, asking))


def test_each_row_is_answered_once_and_equal_questions_are_asked_once(
    spark: SparkSession, provider_server: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = questions(10)
    frame.loc[[7, 8], "question"] = "What is r00?"
    write(tmp_path / "in", frame)
    append, commits = batch_answers.append, []

    def cut(*given: Any) -> None:
        if len(commits) == 2:
            raise KeyboardInterrupt
        commits.append(append(*given))

    monkeypatch.setattr(batch_answers, "append", cut)
    with pytest.raises(KeyboardInterrupt):
        answered(spark, provider_server, tmp_path)
    monkeypatch.undo()
    before = len(held(spark, str(tmp_path / "out")))
    done = answered(spark, provider_server, tmp_path)
    found = held(spark, str(tmp_path / "out"))
    assert 0 < before < 10
    assert [row["row_key"] for row in found] == list(frame["id"])
    assert {row["answer"] for row in found} == {"A simulated answer."}
    assert {(row["release_digest"], row["cost_usd"]) for row in found} == {(PRICED.digest, 12.0)}
    assert len(provider_server.requests) == 8
    assert (done["new_rows"], done["answered"]) == (10 - before, 10 - before)
    write(tmp_path / "in", questions(2, first=10))
    assert answered(spark, provider_server, tmp_path, version=1)["questions_asked"] == 2


def test_a_job_spends_no_more_than_its_budget_and_a_second_run_asks_only_the_rest(
    spark: SparkSession, provider_server: Simulated, tmp_path: Path
) -> None:
    write(tmp_path / "in", questions(12))
    with pytest.raises(Refused, match="budget of 60 USD"):
        answered(spark, provider_server, tmp_path, budget=60.0)
    assert len(provider_server.requests) <= 5
    done = answered(spark, provider_server, tmp_path, budget=1000.0)
    assert len(provider_server.requests) == 12
    assert len(held(spark, str(tmp_path / "out"))) == 12
    assert done["cost_usd"] + 60 >= 144


@pytest.mark.long
def test_a_job_sends_no_more_requests_than_its_rate(
    spark: SparkSession, provider_server: Simulated, tmp_path: Path
) -> None:
    provider_server.will(Behaviour(status=503), Behaviour(status=503))
    write(tmp_path / "in", questions(8))
    patient = release("openai", parameters={"tries": 3})
    began = time.monotonic()
    answered(spark, provider_server, tmp_path, asked=patient, per_minute=300.0)
    assert len(provider_server.requests) == 10
    assert time.monotonic() - began >= 9 * 0.2


def test_rows_without_an_answer_go_to_a_table_and_too_many_stop_the_job(
    spark: SparkSession, provider_server: Simulated, tmp_path: Path
) -> None:
    frame = questions(8)
    frame.loc[3, "question"] = " "
    write(tmp_path / "in", frame)
    provider_server.will(Behaviour(status=400), Behaviour(fault="no_candidates"))
    done = answered(spark, provider_server, tmp_path, max_failed=0.5)
    assert (done["answered"], done["failed"]) == (5, 3)
    reasons = {row["row_key"]: row["error"] for row in held(spark, str(tmp_path / "out_errors"))}
    assert reasons["r03"] == "A text of this row is missing or empty."
    assert len(reasons) == 3
    assert answered(spark, provider_server, tmp_path, max_failed=0.5)["new_rows"] == 0
    provider_server.will(always=Behaviour(status=400))
    write(tmp_path / "other" / "in", questions(40))
    with pytest.raises(Refused, match=r"no answer for \d of 40 rows"):
        answered(spark, provider_server, tmp_path / "other")
    assert len(provider_server.requests) <= 8


def test_an_outage_ends_the_job_and_leaves_the_rows_for_the_next_run(
    spark: SparkSession, provider_server: Simulated, tmp_path: Path
) -> None:
    write(tmp_path / "in", questions(8))
    provider_server.will(always=Behaviour(status=503))
    with pytest.raises(Unavailable):
        answered(spark, provider_server, tmp_path, rows_at_once=8)
    provider_server.will()
    assert answered(spark, provider_server, tmp_path, rows_at_once=8)["answered"] == 8
    write(tmp_path / "narrow" / "in", questions(1).drop(columns="question"))
    with pytest.raises(InvalidData, match="has no column question"):
        answered(spark, provider_server, tmp_path / "narrow")


def test_answers_that_cost_money_need_a_budget_that_can_be_kept(spark: SparkSession) -> None:
    with pytest.raises(InvalidData, match=r"cost money: .* --budget 5"):
        _asking(Parts.connect(), PRICED, arguments(["in", "out", "--prompt", "qa"]))
    with pytest.raises(InvalidData, match="pins no prices"):
        _asking(Parts.connect(), release("openai"), arguments(["in", "out", "--prompt", "qa", "--budget", "5"]))
    for wrong in (["--budget", "0"], ["--rate", "-1"], ["--rows-at-once", "0"], ["--max-failed", "2"], []):
        with pytest.raises(SystemExit) as ended:
            arguments(["in", "out", *(["--prompt", "qa"] if wrong else []), *wrong])
        assert ended.value.code == 2
