"""The same model behind Switchyard and behind `mlflow models serve`, under the same load, in one run.

`python -m bench.model_serving [--seconds S]`: a logistic regression of scikit-learn with 20 features. Single rows are
asked for by 16 and by 64 callers, batches of 100 rows by 16, on one worker each. All sides in turn, three times over.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
from sklearn.linear_model import LogisticRegression

from bench.loading import Loaded, Side, process, rounds
from bench.report import Measure, report
from mlflow_project.adapters.model_files import current_release
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.parts import Parts
from mlflow_project.promotion.seal_release import record_verdict
from stack.ports import free_port
from tests.conftest import own_settings, running
from tests.serving.conftest import Host, resident_mb, until

FEATURES = [f"f{number}" for number in range(20)]
NAME, GOAL = "bench", 3.0
WINDOWS = ((1, 16), (1, 64), (100, 16))
"""Rows of a request, and callers."""


def main() -> None:
    """Start both sides, load them, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    seconds = parser.parse_args().seconds
    with own_settings() as state, ExitStack() as stack:
        running(state, "minio", "mlflow")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-bench-")))
        frame, release = _released()
        host = Host(folder / "host").start()
        stack.callback(host.stop)
        address = f"http://127.0.0.1:{host.port}/models/{NAME}/invocations"
        until(lambda: _answers(address, _body(frame, 1)), "the server answers with the model")
        other = _mlflow_serves(stack, folder, release)
        until(lambda: _answers(other[0], _body(frame, 1)), "mlflow models serve answers")
        worker = host.workers()[0]
        found = {}
        for rows, callers in WINDOWS:
            body = _body(frame, rows)
            sides = [Side("Switchyard", address, worker, body), Side("mlflow models serve", other[0], other[1], body)]
            found[rows, callers] = rounds(sides, worker, seconds, 3, "-callers", callers)
        measures = [measure for window, sides in found.items() for measure in _measures(window, sides)]
        used = resident_mb(worker)
        memory = Measure("a worker with the model", used, "MB", goal="<= 300", met=used <= 300)
        report("model_serving", [*measures, memory], "One model, one worker each")


def _released() -> tuple[pandas.DataFrame, Release]:
    """A sealed and live model, and rows for it."""
    import mlflow
    from mlflow.models import infer_signature

    random, parts = np.random.default_rng(1), Parts.connect()
    frame = pandas.DataFrame(random.normal(0, 1, (1_000, len(FEATURES))), columns=FEATURES)
    labels = (frame.sum(axis=1) > 0).astype(int)
    model = LogisticRegression().fit(frame, labels)
    mlflow.set_tracking_uri(parts.registry.uri)
    with contextlib.redirect_stdout(io.StringIO()), mlflow.start_run():
        mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=NAME,
            signature=infer_signature(frame, labels),
            input_example=frame.head(5),
            pip_requirements=["scikit-learn"],
        )
    release = current_release(parts.registry, parts.models, NAME, 1)
    record_verdict(
        parts,
        release=release,
        verdict=Verdict("accepted", ("for the bench",)),
        policy_digest="sha256:" + "0" * 64,
        champion=None,
        runs={"candidate": None, "champion": None},
        cases={"digest": "sha256:" + "0" * 64, "count": 1},
        who="user:bench",
    )
    parts.registry.set_alias(NAME, "Production", 1)
    return frame, release


def _mlflow_serves(stack: ExitStack, folder: Path, release: Release) -> tuple[str, int]:
    """`mlflow models serve` of the same files; its address and the id of its process."""
    parts, port = Parts.connect(), free_port()
    files = parts.models.fetch(release, folder / "models")
    options = ["--env-manager", "local", "--port", str(port), "--workers", "1"]
    command = [str(Path(sys.executable).parent / "mlflow"), "models", "serve", "-m", str(files), *options]
    started = stack.enter_context(process(command, folder / "mlflow.log"))
    return f"http://127.0.0.1:{port}/invocations", started.pid


def _body(frame: pandas.DataFrame, rows: int) -> dict[str, Any]:
    return {"dataframe_split": {"columns": FEATURES, "data": frame.head(rows).to_numpy().tolist()}}


def _answers(address: str, body: dict[str, Any]) -> bool:
    try:
        return httpx.post(address, json=body, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _measures(window: tuple[int, int], sides: dict[str, Loaded]) -> Iterator[Measure]:
    rows, callers = window
    ours, theirs = sides["Switchyard"], sides["mlflow models serve"]
    what, ratio = f"{rows} row(s), {callers} callers", ours.rate / max(theirs.rate, 1e-9)
    against = f"{theirs.rate:.0f}/s by mlflow models serve"
    yield Measure(what, ours.rate, "requests/s", against, ratio, f">= {GOAL:g}x", ratio >= GOAL)
    lower = f"{theirs.p99:.1f} ms by mlflow models serve"
    yield Measure(
        f"{what}, p99", ours.p99, "ms", lower, ours.p99 / max(theirs.p99, 1e-9), "lower", ours.p99 < theirs.p99
    )
    yield Measure(f"{what}, failed", ours.failed, "requests", goal="0", met=ours.failed == 0)


if __name__ == "__main__":
    main()
