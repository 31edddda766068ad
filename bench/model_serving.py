"""The same model behind Switchyard, `mlflow models serve` and MLServer, under the same load, in one run.

`python -m bench.model_serving [--part load|flips|rest] [--seconds S] [--flips N] [--mlserver PROGRAM]`

- `load`: a logistic regression of scikit-learn with 20 features. Single rows are asked for by 16 and by 64 callers,
  batches of 100 rows by 16, on one worker each. All sides in turn, three times over.
- `flips`: the alias moves between two models that answer differently, while four callers ask 100 times a second.
- `rest`: memory of a worker that holds models of both examples' shapes, and 100,000 rows through the server, through
  the function that the batch job and the stream call, and through plain MLflow.

MLServer is measured if `--mlserver` names its program, in an environment of its own: `pip install mlserver
mlserver-sklearn`, with the same scikit-learn as here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.loading import Loaded, Side, rounds
from bench.model_sides import (
    FEATURES,
    ModelCallers,
    answers,
    body_of,
    constant_models,
    example_models,
    linear_model,
    mlflow_serves,
    mlserver_serves,
    tensor_of,
)
from bench.report import Measure, report
from mlflow_project.models.loading import load_model
from mlflow_project.models.rows import InputReader
from mlflow_project.parts import Parts
from mlflow_project.snapshot.folder import ServingFolder
from tests.conftest import own_settings, running
from tests.serving.conftest import Host, resident_mb, until

GOAL, FLIP_MS, MEMORY_MB, ROWS = 3.0, 250.0, 300.0, 100_000
WINDOWS = ((1, 16), (1, 64), (100, 16))
"""Rows of a request, and callers."""


def main() -> None:
    """Start all sides, load them, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("load", "flips", "rest"))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--mlserver", type=Path)
    given = parser.parse_args()
    with own_settings() as state, ExitStack() as stack:
        running(state, "minio", "mlflow")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-bench-")))
        host = Host(folder / "host").start()
        stack.callback(host.stop)
        measures: list[Measure] = []
        if given.part in (None, "load"):
            measures += _load(stack, host, folder, given.seconds, given.mlserver)
        if given.part in (None, "flips"):
            measures += _flips(host, given.flips)
        if given.part in (None, "rest"):
            measures += _rest(host, folder)
    report("model_serving", measures, "One model, one worker each", part=given.part is not None)


def _load(stack: ExitStack, host: Host, folder: Path, seconds: float, mlserver: Path | None) -> Iterator[Measure]:
    frame, release = linear_model("bench")
    address, worker = f"http://127.0.0.1:{host.port}/models/bench/invocations", host.workers()[0]
    until(lambda: answers(address, body_of(frame, 1)), "the server answers with the model", 120)
    others = {"mlflow models serve": (*mlflow_serves(stack, folder, release), body_of)}
    until(lambda: answers(others["mlflow models serve"][0], body_of(frame, 1)), "mlflow models serve answers", 120)
    if mlserver is not None:
        others["MLServer"] = (*mlserver_serves(stack, folder, mlserver, frame), tensor_of)
        until(lambda: answers(others["MLServer"][0], tensor_of(frame, 1)), "MLServer answers", 120)
    for rows, callers in WINDOWS:
        sides = [Side("Switchyard", address, worker, body_of(frame, rows))]
        sides += [Side(name, url, pid, body(frame, rows)) for name, (url, pid, body) in others.items()]
        found = rounds(sides, worker, seconds, 3, "-callers", callers)
        ours = found.pop("Switchyard")
        what = f"{rows} row(s), {callers} callers"
        yield Measure(f"{what}, failed", ours.failed, "requests", goal="0", met=ours.failed == 0)
        for name, theirs in found.items():
            yield from _compared(what, ours, name, theirs)


def _compared(what: str, ours: Loaded, name: str, theirs: Loaded) -> Iterator[Measure]:
    ratio, slower = ours.rate / max(theirs.rate, 1e-9), ours.p99 / max(theirs.p99, 1e-9)
    rate, p99 = f"{theirs.rate:.0f}/s by {name}", f"{theirs.p99:.1f} ms by {name}"
    yield Measure(f"{what}, against {name}", ours.rate, "requests/s", rate, ratio, f">= {GOAL:g}x", ratio >= GOAL)
    yield Measure(f"{what}, p99, against {name}", ours.p99, "ms", p99, slower, "lower", slower < 1)


def _flips(host: Host, flips: int) -> Iterator[Measure]:
    constant_models("flips")
    registry, folder = Parts.connect().registry, ServingFolder(host.folder)
    registry.set_alias("flips", "Production", 1)
    until(lambda: _live(host) == 1, "the first version answers", 120)
    took = []
    with ModelCallers(host, "flips", callers=4, rate=100) as callers:
        for number in range(flips):
            version = 2 - number % 2
            registry.set_alias("flips", "Production", version)
            began = time.perf_counter()
            folder.wake_follower()
            while _live(host) != version:
                time.sleep(0.002)
                assert time.perf_counter() - began < 30, "a flip was not followed within 30 s"
            took.append(1000 * (time.perf_counter() - began))
            time.sleep(0.05)
    what = f"{flips} flips under load"
    yield Measure(f"{what}: requests", len(callers.milliseconds), "requests")
    yield Measure(f"{what}: failed", callers.failed, "requests", goal="0", met=callers.failed == 0)
    odd = callers.disagreed
    yield Measure(f"{what}: header and prediction disagree", odd, "answers", goal="0", met=odd == 0)
    for which, values in (("a request", callers.milliseconds), ("a flip", took)):
        p50, p99 = (float(np.percentile(values, share)) for share in (50, 99))
        yield Measure(f"{what}: {which}, p50", p50, "ms")
        yield Measure(f"{what}: {which}, p99", p99, "ms", goal=f"<= {FLIP_MS:g}", met=p99 <= FLIP_MS)


def _live(host: Host) -> int | None:
    """The version of `flips` that the worker says it serves."""
    for file in (host.folder / "workers").glob("*.json"):
        for receipt in json.loads(file.read_text())["receipts"]:
            if (receipt["name"], receipt["state"]) == ("flips", "serving"):
                return int(receipt["version"])
    return None


def _rest(host: Host, folder: Path) -> Iterator[Measure]:
    import mlflow

    frame, release, _ = example_models()
    address = f"http://127.0.0.1:{host.port}/models/{{}}/invocations"
    rows = frame.sample(ROWS, replace=True, random_state=2).reset_index(drop=True) + 0.0
    until(lambda: answers(address.format("fraud-shape"), body_of(frame, 1)), "the first model answers", 120)
    until(lambda: host.http.get("/v2/models/intent-shape/ready").status_code == 200, "the second model is live", 120)
    used = resident_mb(host.workers()[0])
    goal = f"<= {MEMORY_MB:g}"
    yield Measure("a worker with models of both examples' shapes", used, "MB", goal=goal, met=used <= MEMORY_MB)
    answer = host.http.post(address.format("fraud-shape"), json=body_of(rows, ROWS), timeout=60)
    served = np.array(answer.json()["predictions"])
    plain = mlflow.pyfunc.load_model("models:/fraud-shape/1").predict(rows)
    model = load_model(Parts.connect().models.fetch(release, folder / "batch"), release.manifest, _nothing())
    reader = InputReader(model.description.signature, ROWS)
    batch = model.predict(reader.table(list(rows.columns), rows.to_numpy().tolist()))
    same = float(np.mean((served == plain) & (batch == plain)))
    what = f"{ROWS:,} rows alike to the last bit by server, batch function and plain MLflow"
    yield Measure(what, same, "share", goal="1", met=same == 1.0)


def _nothing() -> Any:
    from mlflow_project.domain.model import Loading

    return Loading()


if __name__ == "__main__":
    assert len(FEATURES) == 20
    main()
