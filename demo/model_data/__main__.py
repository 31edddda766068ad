"""Writes generated raw data: `python -m demo.model_data fraud|intent [--small] [--to FOLDER] [--seed N]`.

Without `--to` it goes where the model's features.yaml reads it: `raw-data-bucket/<model>/<name>/generated.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.model_data.fraud import fraud_rows
from demo.model_data.intent import intent_rows
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import WorkspaceError
from mlflow_project.settings import StoreSettings, load

_RECIPES: dict[str, Callable[..., dict[str, list[dict[str, Any]]]]] = {"fraud": fraud_rows, "intent": intent_rows}
_SMALL: dict[str, dict[str, Any]] = {
    "fraud": {"accounts": 120, "days": 40, "taken_over": 0.2},  # of few accounts more must be taken over
    "intent": {"questions": 600},
}
FILE = "generated.jsonl"


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


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.model_data", description=__doc__)
    parser.add_argument("model", choices=sorted(_RECIPES))
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="a local folder instead of the object store")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="a quarter of the rows, for a quick look")
    options = parser.parse_args(argv)
    try:
        counts = write(options.model, options.seed, options.to, small=options.small)
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(", ".join(f"{count:,} {name}" for name, count in counts.items()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
