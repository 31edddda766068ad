"""The model `intent` as it ships, trained on BANKING77: 77 intents of a bank's customers, with its own test set."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.training.data import write_rows
from mlflow_project.training.files import read_declaration
from mlflow_project.training.model_file import ModelFile, TestSet
from mlflow_project.training.rows import split
from mlflow_project.training.training import train

ROOT = Path(__file__).parents[2]
LEAST_ACCURACY, MOST_SECONDS = 0.88, 90.0


def questions(path: Path) -> pa.Table:
    """The columns that features.yaml makes of a text."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    vectors = embeddings.embed([row["text"] for row in rows]).astype("float64")
    columns = {f"text_{number:03}": vectors[:, number] for number in range(vectors.shape[1])}
    return pa.table({**columns, "intent": [row["category"] for row in rows]})


@pytest.mark.long
def test_held_out_accuracy_is_at_least_88_percent_within_90_seconds(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = {
        name: write_rows(str(tmp_path / name), questions(shared_data / "banking77" / f"{name}.csv"), {})
        for name in ("train", "test")
    }
    shipped = read_declaration(ROOT / "models" / "intent" / "model.yaml", ModelFile)
    declared = shipped.model_copy(update={"test": TestSet(table=str(written["test"]))})
    parts = split(declared, written["train"])
    began = time.monotonic()
    made = train(declared, parts.training.rows, parts.training.labels, parts.test.rows, parts.test.labels)
    seconds = time.monotonic() - began
    with capsys.disabled():
        sys.stdout.write(f"BANKING77: {made.best.name}, accuracy {made.metrics['accuracy']:.4f}, {seconds:.1f} s\n")
    assert (len(parts.training.labels), len(parts.test.labels)) == (10_003, 3_080)
    assert made.metrics["accuracy"] >= LEAST_ACCURACY
    assert seconds <= MOST_SECONDS
