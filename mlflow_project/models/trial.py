"""Tries a model in a process of its own before a worker loads it.

Libraries follow the numbers in a model's file without checking all of them, so a damaged or hostile file can end the
process that loads it. `try_model(...)` starts `python -m mlflow_project.models.trial`, which loads the model under
limits for time and memory, checks the trees of LightGBM, and predicts the input example. If that process ends by a
signal, the worker does not load the model.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_project.adapters.model_folder import read_checked
from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Manifest
from mlflow_project.errors import InvalidData, WorkspaceError
from mlflow_project.models.loading import Model, load_model
from mlflow_project.models.requests import read_json
from mlflow_project.models.rows import InputReader
from mlflow_project.rules.lightgbm_text import check_trees

EXAMPLE = "serving_input_example.json"
"""MLflow's name of the file with the input example."""
_LEAST_MEMORY = 4 * 1024**3
"""Bytes of address space that the libraries and their threads need."""
_REFUSED = 2
_EXAMPLE_ROWS = 1_000


def try_model(folder: Path, manifest: Manifest, loading: Loading, most_bytes: int, seconds: float) -> None:
    """Load a model and predict its example in another process.

    Args:
        folder: its sealed files.
        loading: what its seal allows.
        most_bytes: a larger model is refused before its data is read.
        seconds: how long it may take.

    Raises:
        InvalidData: that process was ended by a signal or by its limits, or says that the trees are damaged.
    """
    task = {
        "folder": str(folder),
        "manifest": manifest.to_dict(),
        "loading": asdict(loading),
        "most_bytes": most_bytes,
        "seconds": seconds,
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(task).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidData(
            f"{manifest.name} was still not loaded after {seconds:g} s in a process of its own."
        ) from error
    if ended.returncode == _REFUSED:
        raise InvalidData(ended.stdout.decode(errors="replace")[:500])
    if ended.returncode != 0:
        raise InvalidData(
            f"{manifest.name} is damaged or hostile: a process that loaded it and predicted its example "
            f"{_how(ended.returncode)}. Log it again from a training that you trust."
        )


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def main() -> int:
    """The other process. Reads the task from standard input. Errors that the worker will find too are left to it."""
    task = json.load(sys.stdin)
    seconds, most_bytes = int(task["seconds"]) + 1, int(task["most_bytes"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    memory = max(_LEAST_MEMORY, 8 * most_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    folder, manifest = Path(task["folder"]), Manifest.from_dict(task["manifest"])
    loading = Loading(tuple(task["loading"]["formats"]), tuple(task["loading"]["trusted_types"]))
    try:
        model = load_model(folder, manifest, loading, most_bytes)
    except WorkspaceError:
        return 0
    try:
        _check_boosters(model)
    except InvalidData as error:
        sys.stdout.write(f"{manifest.name} is damaged or hostile: {error}")
        return _REFUSED
    if any(file.path == EXAMPLE for file in manifest.files or ()):
        try:
            reader = InputReader(model.description.signature, _EXAMPLE_ROWS)
            model.predict(read_json(read_checked(folder, manifest, EXAMPLE), reader).rows)
        except WorkspaceError:
            return 0
    return 0


def _check_boosters(model: Model) -> None:
    """Check the trees of every booster in memory: all of them belong to the model that was just loaded."""
    lightgbm: Any = sys.modules.get("lightgbm")
    if lightgbm is None:
        return
    for each in gc.get_objects():
        if isinstance(each, lightgbm.Booster):
            check_trees(each.model_to_string(num_iteration=-1))
        elif isinstance(each, lightgbm.LGBMModel) and each.get_params().get("predict_disable_shape_check"):
            raise InvalidData("it switches off LightGBM's check of the number of columns.")
    del model


if __name__ == "__main__":
    sys.exit(main())
