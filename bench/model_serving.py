"""Measures Switchyard, `mlflow models serve` and MLServer with the same model under the same load, in one run.

`python -m bench.model_serving [--part load|flips|rest] [--seconds S] [--flips N] [--mlserver PROGRAM]`

- `load`: a logistic regression of scikit-learn with 20 features. Single rows are asked for by 16 and by 64 callers,
  batches of 100 rows by 16, on one worker each. All sides in turn, three times over.
- `flips`: the snapshot changes between two models that answer differently, while four callers ask 100 times a second.
  `bench.flips` measures the way from an alias to the snapshot, which is the same for prompts.
- `rest`: memory of a worker that holds models of both examples' shapes, and 100,000 rows through the server, through
  the function that the batch job and the stream call, and through plain MLflow.

MLServer is measured if `--mlserver` names its program, in an environment of its own: `pip install mlserver
mlserver-sklearn "uvloop<0.22"`, with the same scikit-learn as here (MLServer 1.7.1 does not start with newer uvloops).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np

from bench.loading import Loaded, Side, rounds
from bench.model_sides import (
    ModelCallers,
    SealedHost,
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
from mlflow_project.domain.model import Loading
from mlflow_project.models.loading import load_model
from mlflow_project.models.rows import InputReader
from tests.serving.conftest import resident_mb, until

GOAL, FLIP_MS, MEMORY_MB, ROWS = 3.0, 250.0, 300.0, 100_000
WINDOWS = ((1, 16), (1, 64), (100, 16))
"""Rows of a request, and callers."""
PARTS = ("load", "flips", "rest")


def main() -> None:
    """Start all sides, load them, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--mlserver", type=Path)
    given = parser.parse_args()
    measures: list[Measure] = []
    for part in [given.part] if given.part else PARTS:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchyard-bench-")))
            host = SealedHost(folder)
            if part == "load":
                measures += _load(stack, host, given.seconds, given.mlserver)
            elif part == "flips":
                measures += _flips(stack, host, given.flips)
            else:
                measures += _rest(stack, host)
    report("model_serving", measures, "One model, one worker each", part=given.part is not None)


def _load(stack: ExitStack, host: SealedHost, seconds: float, mlserver: Path | None) -> Iterator[Measure]:
    frame = linear_model(host, "bench")
    host.serve(stack)
    until(lambda: answers(host.url("bench"), body_of(frame, 1)), "the server answers with the model", 120)
    others = {"mlflow models serve": (*mlflow_serves(stack, host.path, host.saved("bench")), body_of)}
    if mlserver is not None:
        others["MLServer"] = (*mlserver_serves(stack, host.path, mlserver, frame), tensor_of)
    for name, (url, _, body) in others.items():
        until(lambda url=url, body=body: answers(url, body(frame, 1)), f"{name} answers", 120)
    for rows, callers in WINDOWS:
        sides = [Side("Switchyard", host.url("bench"), host.worker, body_of(frame, rows))]
        sides += [Side(name, url, pid, body(frame, rows)) for name, (url, pid, body) in others.items()]
        found = rounds(sides, host.worker, seconds, 3, "-callers", callers)
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


def _flips(stack: ExitStack, host: SealedHost, flips: int) -> Iterator[Measure]:
    pair = constant_models(host, "flips")
    host.serve(stack)
    until(lambda: host.version("flips") == 2, "the last version answers", 120)
    took = []
    with ModelCallers(host.url("flips"), callers=4, rate=100) as callers:
        for number in range(flips):
            version, began = 1 + number % 2, time.perf_counter()
            host.flip(pair[version])
            while host.version("flips") != version:
                time.sleep(0.002)
                assert time.perf_counter() - began < 30, "a flip was not followed within 30 s"
            took.append(1000 * (time.perf_counter() - began))
            time.sleep(0.05)
    what = f"{flips} flips under load"
    yield Measure(f"{what}: requests", len(callers.milliseconds), "requests")
    yield Measure(f"{what}: failed", callers.failed, "requests", goal="0", met=callers.failed == 0)
    odd = callers.disagreed
    yield Measure(f"{what}: header and prediction disagree", odd, "answers", goal="0", met=odd == 0)
    for which, values in (("a request", callers.milliseconds), ("from the snapshot to the receipt", took)):
        p50, p99 = (float(np.percentile(values, share)) for share in (50, 99))
        yield Measure(f"{what}: {which}, p50", p50, "ms")
        yield Measure(f"{what}: {which}, p99", p99, "ms", goal=f"<= {FLIP_MS:g}", met=p99 <= FLIP_MS)


def _rest(stack: ExitStack, host: SealedHost) -> Iterator[Measure]:
    import mlflow

    frame = example_models(host)
    host.serve(stack)
    until(lambda: host.version("fraud-shape") == host.version("intent-shape") == 1, "both models are live", 120)
    rows = frame.sample(ROWS, replace=True, random_state=2).reset_index(drop=True)
    until(lambda: answers(host.url("fraud-shape"), body_of(frame, 1)), "the first model answers", 120)
    used, goal = resident_mb(host.worker), f"<= {MEMORY_MB:g}"
    yield Measure("a worker with models of both examples' shapes", used, "MB", goal=goal, met=used <= MEMORY_MB)
    answer = httpx.post(host.url("fraud-shape"), json=body_of(rows, ROWS), timeout=60)
    served = np.array(answer.json()["predictions"])
    plain = mlflow.pyfunc.load_model(str(host.saved("fraud-shape"))).predict(rows)
    placed = host.live["fraud-shape"]
    model = load_model(host.folder.model_folder(placed.digest), placed.manifest, Loading())
    reader = InputReader(model.description.signature, ROWS)
    batch = model.predict(reader.table(list(rows.columns), rows.to_numpy().tolist()))
    same = float(np.mean((served == plain) & (batch == plain)))
    what = f"{ROWS:,} rows alike to the last bit by server, batch function and plain MLflow"
    yield Measure(what, same, "share", goal="1", met=same == 1.0)


if __name__ == "__main__":
    main()
