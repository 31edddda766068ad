"""Answers of one sealed prompt for the rows of a table, each row exactly once.

In: a Delta table at one version with a text column for each variable of the template (`question`, and `context` where a
row brings its own text), and a release. Out: new rows in `<output>`, each with the digest of the release that answered,
and in `<output>_errors` for rows without an answer.

The driver asks, because one process can then hold the whole job to one rate and one budget; Spark reads and writes the
rows. Rows go in parts, each one commit. Each answer is kept on the driver's disk as soon as it comes, so a job that was
cut short pays for no answer twice, and equal questions are asked once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as f

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidAnswer, InvalidData
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Ask, Outcome, Plan, ask_all
from mlflow_project.evaluation.cases import question_digest
from mlflow_project.rules.templates import CONTEXT, compile_template
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.new_rows import Batch, append, new_rows, too_many
from spark_jobs.predicting import ROW_KEY

ROWS_AT_ONCE = 200
"""Rows of one commit. So many answers at most are paid for after the share of errors has passed its limit."""
_QUESTION = "question"
_ANSWERS = pa.schema(
    {
        ROW_KEY: pa.string(),
        "answer": pa.string(),
        "object": pa.string(),
        "refused": pa.bool_(),
        "finish_reason": pa.string(),
        "input_tokens": pa.int64(),
        "output_tokens": pa.int64(),
        "cost_usd": pa.float64(),
        "error": pa.string(),
    }
)


@dataclass(frozen=True)
class Asking:
    """How to ask. `answers` is the folder that keeps answers."""

    opened: Callable[[], AbstractAsyncContextManager[Ask]]
    plan: Plan
    answers: Path


async def answer_new(spark: SparkSession, asked: Batch, release: Release, asking: Asking) -> dict[str, Any]:
    """Answer the rows that the output does not hold for this release. Returns how many, and what new answers cost.

    Raises:
        InvalidData: the table lacks a column, or two rows have one key.
        Refused: too many rows got no answer, or the budget is spent. Unavailable: the provider is down.
    """
    done = {"answered": 0, "failed": 0, "questions_asked": 0}
    cache = AnswerCache(asking.answers, release.digest)
    with one_writer(asked.output) as still_ours:
        new = new_rows(spark, asked, release, lambda there: _columns(release, there, asked)).persist()
        try:
            count = int(new.count())
            parts = max(1, -(-count // asked.rows_at_once))
            async with asking.opened() as ask:
                for part in range(parts if count else 0):
                    rows = new.where(f.pmod(f.xxhash64(ROW_KEY), f.lit(parts)) == part).collect()
                    found, newly = await _answered(rows, _never_invalid(ask), cache, asking.plan)
                    failed = sum(row["error"] is not None for row in found)
                    done["failed"] += failed
                    done["answered"] += len(found) - failed
                    done["questions_asked"] += newly
                    stop = done["failed"] > asked.max_failed * count
                    append(_frame(spark, found), asked, release, still_ours)
                    if stop:
                        raise too_many(spark, done["failed"], count, asked, f"{release.label} has no answer for")
        finally:
            new.unpersist()
    spent = {"cost_usd": round(asking.plan.purse.spent, 6)}
    return {"release": release.label, "digest": release.digest, "new_rows": count, **done, **spent}


def _columns(release: Release, there: Sequence[str], asked: Batch) -> list[str]:
    """The columns that the template takes."""
    manifest = release.manifest
    wanted = set(compile_template(manifest.template or ()).wanted)
    if manifest.retrieval is not None:
        wanted.discard(CONTEXT)  # retrieved chunks fill it
    if missing := sorted(wanted - set(there)):
        raise InvalidData(
            f"{asked} has no column {', '.join(missing)}, which the template of {release.label} takes. Its columns: "
            f"{', '.join(there)}."
        )
    return sorted(wanted | ({CONTEXT} & set(there)))


async def _answered(rows: Sequence[Row], ask: Ask, cache: AnswerCache, plan: Plan) -> tuple[list[dict[str, Any]], int]:
    """A row of answers for each row, and how many questions were asked now. Equal questions are asked once."""
    cases = {row[ROW_KEY]: _case(row) for row in rows}
    asked = {case.id: case for case in cases.values() if case is not None}
    outcomes = {one.case.id: one for one in await ask_all(tuple(asked.values()), ask, cache, plan, lambda *_: None)}
    found = []
    for key, case in cases.items():
        outcome = outcomes[case.id] if case is not None else None
        found.append(_row(key, outcome))
    return found, sum(not one.kept for one in outcomes.values())


def _case(row: Row) -> Case | None:
    """The question of a row, named by its content; None where a text is missing."""
    texts = {name: None if value is None else str(value) for name, value in row.asDict().items() if name != ROW_KEY}
    context = texts.pop(CONTEXT, None)
    if any(text is None or not text.strip() for text in texts.values()):
        return None
    variables = {name: str(text) for name, text in texts.items()}
    question = variables.pop(_QUESTION)
    case = Case("", question, context=context, variables=variables)
    return Case(question_digest(case), question, context=context, variables=variables)


def _row(key: str, outcome: Outcome | None) -> dict[str, Any]:
    answer = outcome.answer if outcome is not None else None
    nothing = dict.fromkeys(_ANSWERS.names)
    if outcome is None:
        return {**nothing, ROW_KEY: key, "error": "A text of this row is missing or empty."}
    if answer is None or outcome.error:
        return {**nothing, ROW_KEY: key, "error": outcome.error}
    if answer.text is None:
        return {**nothing, ROW_KEY: key, "error": f"The provider gave no text ({answer.finish_reason or 'no reason'})."}
    return {
        **nothing,
        ROW_KEY: key,
        "answer": answer.text,
        "object": None if answer.object is None else json.dumps(answer.object, ensure_ascii=False, sort_keys=True),
        "refused": answer.refused,
        "finish_reason": answer.finish_reason,
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
        "cost_usd": answer.cost_usd,
    }


def _frame(spark: SparkSession, rows: Sequence[dict[str, Any]]) -> DataFrame:
    return spark.createDataFrame(
        [tuple(row[name] for name in _ANSWERS.names) for row in rows], tables.spark_schema(_ANSWERS)
    )


def _never_invalid(ask: Ask) -> Ask:
    """`ask`, for which a row that the release cannot take is one without an answer, and not the end of the job."""

    async def asked(case: Case) -> Answer:
        try:
            return await ask(case)
        except InvalidData as error:
            raise InvalidAnswer(str(error)) from error

    return asked
