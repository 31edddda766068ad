"""Dead letters are listed, shown and chosen from a Delta table, without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pydantic import SecretStr

from mlflow_project.dead_letters import DeadLetters, conditions
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.settings import KafkaSettings, StoreSettings
from spark_jobs import tables

STORE = StoreSettings(s3_access_key=SecretStr("a"), s3_secret_key=SecretStr("b"))
BEGAN = datetime(2026, 11, 30, 14, tzinfo=UTC)


def letter(offset: int, **more: Any) -> dict[str, Any]:
    row = dict.fromkeys(tables.DEAD_LETTERS.names)
    about = {"topic": "events.a", "topic_id": "t", "partition": 0, "offset": offset, "reason": "not_json", "tries": 0}
    at = BEGAN + timedelta(seconds=offset)
    return {**row, **about, "raw": b"\xff{", "sentence": "$ is no JSON", "at": at, "redriven": False, **more}


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    rows = [letter(0), letter(1, reason="not_utf8"), letter(2), letter(2, redriven=True, raw=None)]
    table = pa.Table.from_pylist(rows, schema=tables.DEAD_LETTERS)
    write_deltalake(str(tmp_path / "dead-letters"), table)
    return DeadLetters(STORE, KafkaSettings(), str(tmp_path / "dead-letters"))


def test_letters_wait_until_they_are_sent_again(letters: DeadLetters) -> None:
    assert [each.id for each in letters.open({})] == ["events.a/0/0", "events.a/0/1"]
    assert [each.id for each in letters.open(conditions(["reason=not_utf8"]))] == ["events.a/0/1"]


def test_a_letter_is_shown_with_its_bytes(letters: DeadLetters) -> None:
    assert letters.show("events.a/0/0").to_dict()["raw"] == "\\xff{"
    with pytest.raises(NotFound, match="dead-letters list"):
        letters.show("events.a/0/2")


def test_a_letter_that_was_sent_again_is_noted_in_the_table(letters: DeadLetters) -> None:
    letters._note(letters.open({"reason": "not_utf8"}))
    assert [each.id for each in letters.open({})] == ["events.a/0/0"]


def test_there_are_none_before_the_first_one(tmp_path: Path) -> None:
    assert DeadLetters(STORE, KafkaSettings(), str(tmp_path / "none")).open({}) == []


@pytest.mark.parametrize("text", ["reason", "color=red", "=x", ""])
def test_a_condition_names_a_field_and_a_value(text: str) -> None:
    with pytest.raises(InvalidData, match="no condition"):
        conditions([text])
