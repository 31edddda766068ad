"""`switchyard sql` runs statements that read, and refuses all others before anything runs."""

from datetime import date
from decimal import Decimal

import pytest

from mlflow_project.adapters.delta_tables import ask, plain
from mlflow_project.errors import Refused
from mlflow_project.rules.reading_sql import refuse_writing


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "  with x as (select 1) select * from x",
        "(SELECT 1) UNION (SELECT 2)",
        "-- a comment\n/* DROP TABLE x */ values (1)",
        "DESCRIBE HISTORY delta.`s3a://b/t`",
        "show tables",
        "FROM x SELECT y",
    ],
)
def test_a_statement_that_reads_is_run(query: str) -> None:
    refuse_writing(query)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM delta.`s3a://b/t`",
        "drop table x",
        "/* SELECT */ VACUUM delta.`s3a://b/t` RETAIN 0 HOURS",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x.csv'",
        "CREATE TABLE t AS SELECT 1",
        "SET spark.x = 1",
        "-- only a comment",
        "",
        ";",
    ],
)
def test_any_other_statement_is_refused_and_says_what_to_use(query: str) -> None:
    with pytest.raises(Refused, match=r"only reads.*Nothing was run.*switchyard prepare"):
        refuse_writing(query)


def test_a_query_writes_no_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Refused):
        ask(f"COPY (SELECT 1 AS a) TO '{tmp_path}/written.csv'")
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_json_does_not_know_is_text() -> None:
    assert [plain(value) for value in (float("nan"), float("-inf"), 1.5, b"a", None)] == ["nan", "-inf", 1.5, "a", None]
    assert plain({"k": [Decimal("1.10"), (date(2026, 11, 30), b"a")]}) == {"k": ["1.10", ["2026-11-30", "a"]]}
    assert ask("SELECT cast('nan' AS double) AS x") == (["x"], [("nan",)])
