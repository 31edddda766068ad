"""Cases are read whole, or all mistakes are told with their lines."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from mlflow_project.domain.answer import Case
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.evaluation.cases import cases_digest, load_cases, question_digest

TEXTS = pa.list_(pa.string())
CASES_SCHEMA = pa.schema([("id", "string"), ("question", "string"), ("expected", TEXTS), ("tags", TEXTS)])


def written(folder: Path, *rows: object) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_cases_are_read_in_order_with_all_fields(tmp_path: Path) -> None:
    full = {"id": "1", "question": "Why?", "expected": ["so"], "quote": "It is so.", "document_id": "d", "tags": ["t"]}
    path = written(tmp_path, full, "", {"id": "2", "question": "What?"})
    first, second = load_cases(path)
    assert first == Case("1", "Why?", ("so",), document_id="d", quote="It is so.", tags=("t",))
    assert second.expected == ()


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": "1", "question": "Why?"},
        {"id": "1", "question": "Again?"},
        "{broken",
        {"question": "", "expected": "so"},
        {"id": "5", "question": "x", "answer": "y", "variables": {"a": 1}},
        "[]",
    )
    with pytest.raises(InvalidData) as caught:
        load_cases(path)
    for said in (
        "line 2: id '1' was used on line 1",
        "line 3: not JSON",
        "line 4: id must be text",
        "line 4: question must be text",
        "line 4: expected must be a list",
        "line 5: 'answer' is not a field",
        "line 5: variables must map",
        "line 6: must be a JSON object",
    ):
        assert said in str(caught.value)


def test_a_file_with_no_case_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="contains no cases"):
        load_cases(written(tmp_path, ""))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--cases"):
        load_cases(tmp_path / "none.jsonl")


def test_the_digest_names_content_and_order() -> None:
    one, two = Case("1", "Why?"), Case("2", "What?")
    assert cases_digest([one, two]) == cases_digest([one, two])
    assert cases_digest([one, two]) != cases_digest([two, one])


def test_a_changed_expectation_asks_nothing_anew() -> None:
    assert question_digest(Case("1", "Why?", ("so",))) == question_digest(Case("2", "Why?"))
    assert question_digest(Case("1", "Why?")) != question_digest(Case("1", "Why?", context="Because."))


def test_a_delta_table_holds_cases_at_each_of_its_versions(tmp_path: Path) -> None:
    table = str(tmp_path / "cases")
    first = [{"id": "2", "question": "What?"}, {"id": "1", "question": "Why?", "expected": ["so"], "tags": ["t"]}]
    write_deltalake(table, pa.Table.from_pylist(first, CASES_SCHEMA))
    write_deltalake(table, pa.Table.from_pylist([{"id": "3", "question": "Who?"}], CASES_SCHEMA), mode="append")
    assert load_cases(f"{table}@0") == (Case("1", "Why?", ("so",), tags=("t",)), Case("2", "What?"))
    assert [case.id for case in load_cases(table)] == ["1", "2", "3"]
    with pytest.raises(InvalidData, match="the number of a Delta version, not 'newest'"):
        load_cases(f"{table}@newest")
