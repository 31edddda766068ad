"""Fine-tuning sets: every row accounted for, no document in two parts, equal bytes for equal input."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.errors import InvalidData
from mlflow_project.settings import RegistrySettings, load
from spark_jobs.export_fine_tuning import EXPERIMENT, log_dataset, summary
from spark_jobs.fine_tuning import Export, _examine, export
from tests.spark.conftest import write_lines


def rows() -> list[Any]:
    asked = [
        {"document_id": f"d{n % 30}", "question": f"What is {n}?", "answer": f"It is {n}, write to me{n}@example.org."}
        for n in range(120)
    ]
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    return [*asked, asked[3], {"id": "talk", "messages": talk}, b"broken", {"id": "x", "question": "Only a question?"}]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_set_is_split_by_document_masked_checked_and_told_to_mlflow(
    spark: SparkSession, registry_server: Any, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "rows.jsonl", rows())
    manifest = export(spark, Export(source, str(tmp_path / "set"), mask=True, shares=(0.6, 0.2, 0.2)))
    files = files_of(tmp_path / "set")
    parts = {name: files[f"{name}.jsonl"].splitlines() for name in ("train", "validation", "test")}
    assert {name: len(lines) for name, lines in parts.items()} == {
        name: told["examples"] for name, told in manifest["splits"].items()
    }
    assert manifest["rejected"] == {"missing_answer": 1, "not_json": 1, "repeated_example": 1}
    told = summary(manifest)
    assert told["shares"] == [0.6, 0.2, 0.2]
    assert told["shares_found"] == [round(len(lines) / sum(map(len, parts.values())), 4) for lines in parts.values()]
    assert manifest["read"] == len(rows()) == sum(map(len, parts.values())) + 3
    numbers = {
        name: {int(line.split(b"What is ")[1].split(b"?")[0]) % 30 for line in lines if b"What is" in line}
        for name, lines in parts.items()
    }
    assert not numbers["train"] & numbers["test"]
    assert not numbers["train"] & numbers["validation"]
    assert not numbers["validation"] & numbers["test"]
    assert b"example.org" not in b"".join(files[f"{name}.jsonl"] for name in parts)
    assert manifest["masked_items"] == {"email": 121}
    assert manifest["splits"]["train"]["sha256"] == "sha256:" + hashlib.sha256(files["train.jsonl"]).hexdigest()
    experiments = Experiments(load(RegistrySettings))
    logged = log_dataset(experiments, manifest)
    assert log_dataset(experiments, manifest) == logged
    found = experiments.find(experiments.experiment(EXPERIMENT), {"switchyard.dataset": manifest["digest"]})
    assert [run.id for run in found] == [logged]


def test_the_same_rows_in_another_order_give_the_same_bytes(spark: SparkSession, tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", rows())
    other = write_lines(tmp_path / "other.jsonl", rows()[::-1])
    first = export(spark, Export(one, str(tmp_path / "first"), "gemini"))
    second = export(spark, Export(other, str(tmp_path / "second"), "gemini"))
    assert first["digest"] == second["digest"]
    assert json.loads(files_of(tmp_path / "first")["train.jsonl"].splitlines()[0])["contents"]
    export(spark, Export(one, str(tmp_path / "first"), "gemini"))
    (tmp_path / "second" / "thesis.doc").write_text("mine")
    with pytest.raises(InvalidData, match=r"thesis\.doc"):
        export(spark, Export(one, str(tmp_path / "second"), "gemini"))


def test_a_sites_own_patterns_are_masked_too() -> None:
    row = json.dumps({"id": "d", "question": "Who has ticket TCK-4711?", "answer": "Write to me@example.org."}).encode()
    asked = Export("in", "out", mask=True, mask_patterns={"ticket": r"TCK-\d+"})
    (batch,) = _examine(iter([[(("file", 0, None), row)]]), asked)  # type: ignore[list-item]
    line = batch.to_pylist()[0]["line"]
    assert "Who has ticket [ticket]?" in line
    assert "Write to [email]." in line
