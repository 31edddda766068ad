"""Profiles of a knowledge base: deterministic, one row a column and corpus version, read by others too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlflow_project.domain.release import KnowledgeBase, Manifest, Release
from mlflow_project.drift.corpus import documents_drift
from mlflow_project.errors import InvalidData, NotFound
from spark_jobs.preparation import Counts
from spark_jobs.profile_documents import profile_documents
from spark_jobs.profiles import QUANTILES, profile, topics_of
from tests.spark.test_preparation import rows_of

ENGLISH = "The alias {n} moves and the traffic of the server moves with it, as it was for all that are on call {n}. "
GERMAN = "Der Zeiger {n} wird auf die neue Version gesetzt, und der Server ist nicht mit der alten im Bunde {n}. "


def corpus() -> list[dict[str, Any]]:
    rows = [{"id": f"e{n}", "title": f"Page {n}", "text": ENGLISH.format(n=n) * (1 + n % 5)} for n in range(16)]
    rows += [{"id": f"g{n}", "title": f"Seite {n}", "text": GERMAN.format(n=n) * 2} for n in range(8)]
    long = " ".join(f"word{n} of the page" for n in range(60))
    return [*rows, {"id": "x1", "text": long}, {"id": "x2", "text": long}, {"id": "x3", "text": long + " and one more"}]


def test_a_profile_says_what_the_texts_are_like_in_any_order(spark: SparkSession) -> None:
    rows = [(row["id"], row["text"], None) for row in corpus()] + [("blank", " ", None)]
    columns = "key string, text string, language string"
    found = profile(spark.createDataFrame(rows, columns).coalesce(1))
    again = profile(spark.createDataFrame(rows[::-1], columns).repartition(3))
    assert found == again
    assert (found["rows"], found["blank"]) == (28, 1)
    assert len(found["length_quantiles"]) == len(QUANTILES)
    assert found["length_quantiles"] == sorted(found["length_quantiles"])
    assert dict(found["languages"]) == {"en": 19, "de": 8}
    assert (found["exact_duplicates"], found["near_duplicates"]) == (1, 1)
    assert found["vocabulary_growth"][-1] == (27, found["words"], found["vocabulary"])
    assert dict(found["top_terms"])["the"] > 50
    assert sum(share for _, share, _, _ in found["topics"]) == pytest.approx(1)


@pytest.mark.long
def test_each_column_and_version_has_one_row_and_topics_stay_comparable(
    spark: SparkSession, prepared: Callable[..., Counts], tmp_path: Path
) -> None:
    prepared(corpus())
    table = str(tmp_path / "chunks")
    first = profile_documents(spark, table, names=["text"])
    assert first["profiled"] == ["text"]
    again = profile_documents(spark, table, names=["text"])
    assert (again["profiled"], again["delta_version"]) == ([], first["delta_version"])
    prepared([*corpus()[16:24], {"id": "new", "text": "Something else entirely is told here."}])  # mostly German
    second = profile_documents(spark, table, names=["text"])
    rows = rows_of(tmp_path / "chunks_profiles", "*", '"column", corpus_version')
    assert [(row["column"], row["corpus_version"], row["rows"]) for row in rows] == [
        ("text", first["corpus_version"], 27),
        ("text", second["corpus_version"], 9),
    ]
    old, new = (topics_of(row) for row in rows)
    assert old.terms == new.terms
    assert (old.centres == new.centres).all()
    drift = documents_drift(pinning(table, first["corpus_version"]))
    assert drift is not None
    assert (drift.reference, drift.rows, drift.since < drift.until) == (27, 9, True)
    assert "corpus language" in {one.check for one in drift.found if one.alarm}, drift.explanation
    assert documents_drift(pinning(table, second["corpus_version"])) is None, "nothing came after it"
    with pytest.raises(NotFound, match=r"No run left .* at version 9"):
        profile_documents(spark, table, 9)
    with pytest.raises(InvalidData, match="no profile of colour"):
        profile_documents(spark, table, names=["colour"])


def pinning(table: str, version: int) -> Release:
    """A release that answers from this version of the documents."""
    manifest = Manifest("prompt", "qa", knowledge_base=KnowledgeBase(table, version, "none"))
    return Release(1, "sha256:" + "0" * 64, manifest)
