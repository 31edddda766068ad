"""Writes generated raw data: `python -m demo.model_data fraud|intent [--small] [--to FOLDER] [--seed N]`.

Without `--to` it goes where the model's features.yaml reads it: `raw-data-bucket/<model>/<name>/generated.jsonl`.

    python -m demo.model_data payments

writes two tables to train `fraud` on, of generated payments: the first 30 days, and all 40. It makes them without
Spark, in seconds; `switchyard features fraud` makes the same rows from the raw data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from demo.model_data.fraud import START, fraud_rows
from demo.model_data.intent import intent_rows
from demo.model_data.training_rows import training_rows
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import WorkspaceError
from mlflow_project.settings import StoreSettings, load
from mlflow_project.training.data import Rows, write_rows
from mlflow_project.training.feature_file import FeatureFile
from mlflow_project.training.files import model_folder, read_declaration

_RECIPES: dict[str, Callable[..., dict[str, list[dict[str, Any]]]]] = {"fraud": fraud_rows, "intent": intent_rows}
_SMALL: dict[str, dict[str, Any]] = {
    "fraud": {"accounts": 120, "days": 40, "taken_over": 0.2},  # of few accounts more must be taken over
    "intent": {"questions": 600},
}
FILE = "generated.jsonl"
DAYS = (30, 40)
"""A training table holds the payments of so many days."""


def write(model: str, seed: int, to: Path | None, *, small: bool = False) -> dict[str, int]:
    """Write the files of a model; returns the number of rows in each."""
    counts = {}
    for name, rows in _RECIPES[model](seed=seed, **(_SMALL[model] if small else {})).items():
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        counts[name] = len(rows)
        if to is None:
            settings = load(StoreSettings)
            ObjectStore(settings).put(settings.raw_bucket, f"{model}/{name}/{FILE}", data)
        else:
            (to / name).mkdir(parents=True, exist_ok=True)
            (to / name / FILE).write_bytes(data)
    return counts


def write_training_tables(seed: int) -> list[Rows]:
    """Write the training tables of `fraud`: `curated-data-bucket/fraud/payments_30_days` and `..._40_days`."""
    declared = read_declaration(model_folder("fraud") / "features.yaml", FeatureFile)
    raw = fraud_rows(seed=seed, **_SMALL["fraud"])
    rows = training_rows(declared, raw["transactions"], raw["labels"])
    bucket, written = load(StoreSettings).curated_bucket, []
    for days in DAYS:
        end = pa.scalar(START + timedelta(days=days), rows["event_time"].type)
        chosen = rows.filter(pc.less(rows["event_time"], end))
        recipe = {"generated": "demo.model_data payments", "seed": seed, "days": days}
        written.append(write_rows(f"s3a://{bucket}/fraud/payments_{days}_days", chosen, recipe))
    return written


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.model_data", description=__doc__)
    parser.add_argument("model", choices=[*sorted(_RECIPES), "payments"])
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="a local folder instead of the object store")
    parser.add_argument("--seed", type=int, help="default: 7, and 3 for payments")
    parser.add_argument("--small", action="store_true", help="a quarter of the rows, for a quick look")
    options = parser.parse_args(argv)
    try:
        if options.model == "payments":
            for table in write_training_tables(3 if options.seed is None else options.seed):
                sys.stdout.write(f"{table.data.num_rows:,} rows in {table}\n")
            return 0
        counts = write(options.model, 7 if options.seed is None else options.seed, options.to, small=options.small)
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(", ".join(f"{count:,} {name}" for name, count in counts.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
