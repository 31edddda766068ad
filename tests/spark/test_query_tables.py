"""`switchyard sql --engine spark`: queries of Spark SQL run, and what would write is refused before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from mlflow_project.errors import Refused
from spark_jobs.query_tables import answer, refuse_hidden_writing


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> str:
    """A Delta table of five rows, as SQL names it."""
    spark.range(5).write.format("delta").save(str(tmp_path / "numbers"))
    return f"delta.`{tmp_path / 'numbers'}`"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM {table} ORDER BY id DESC LIMIT 2 -- the last two",
        "WITH big AS (SELECT * FROM {table} WHERE id > 2) SELECT count(*) FROM big",
        "FROM {table} SELECT max(id)",
        "VALUES (1), (2)",
        "TABLE {table}",
    ],
)
def test_a_query_is_let_through(spark: SparkSession, table: str, query: str) -> None:
    refuse_hidden_writing(spark, query.format(table=table))


@pytest.mark.parametrize(
    "statement",
    [
        "WITH new AS (SELECT 9L AS id) INSERT INTO {table} SELECT * FROM new",
        "FROM {table} INSERT INTO {table} SELECT id",
    ],
)
def test_a_statement_that_begins_like_a_query_and_writes_is_refused(
    spark: SparkSession, table: str, statement: str
) -> None:
    with pytest.raises(Refused, match="begins like a query"):
        refuse_hidden_writing(spark, statement.format(table=table))
    assert spark.sql(f"SELECT count(*) FROM {table}").first()[0] == 5  # type: ignore[index]


def test_nested_values_and_columns_of_the_same_name_are_kept(spark: SparkSession) -> None:
    query = "SELECT 1 AS x, 2 AS x, named_struct('a', array(1.5D), 'm', map('k', 2)) AS s, cast('nan' AS double) AS n"
    assert answer(spark, query) == {
        "columns": ["x", "x", "s", "n"],
        "rows": [[1, 2, {"a": [1.5], "m": {"k": 2}}, "nan"]],
    }


def test_the_history_of_a_table_can_be_read(spark: SparkSession, table: str) -> None:
    found = answer(spark, f"DESCRIBE HISTORY {table}")
    assert found["rows"][0][found["columns"].index("operation")] == "WRITE"


def test_wrong_sql_is_left_to_spark_which_says_what_is_wrong(spark: SparkSession, table: str) -> None:
    for wrong in (f"SELECT FROM WHERE {table}", f"SELECT nothing FROM {table}", "SELECT 1; SELECT 2"):
        refuse_hidden_writing(spark, wrong)
        with pytest.raises(AnalysisException):
            spark.sql(wrong)
