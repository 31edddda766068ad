"""1,000 cases at 200 ms a call, 16 at once: the time until the verdict, and until the traces are logged too.

`python -m bench.evaluation [--cases N]`, over MinIO and MLflow of its own. The provider is the simulated one of the
tests, a process of its own, over TCP. The least possible time is that of the calls alone. The verdict comes after
`mlflow.models.evaluate` has logged every case; the whole includes a sample of traces by `mlflow.genai.evaluate`. For
comparison `mlflow.genai.evaluate` alone logs a tenth of the same answers, by the same scorers.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

from bench.registry import own_registry
from bench.report import Measure, report
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.commands.progress import Steps
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Outcome, Plan
from mlflow_project.evaluation.compare import judge
from mlflow_project.evaluation.library_metrics import known_metrics
from mlflow_project.evaluation.opening import opening
from mlflow_project.evaluation.record import find_run
from mlflow_project.evaluation.run import Bench, evaluate, trace_sample
from mlflow_project.evaluation.traces import log_traces
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import ProviderSettings, RegistrySettings, StoreSettings, load
from stack.ports import free_port

LATENCY_S, AT_ONCE, TRACES = 0.2, 16, 10
VERDICT_GOAL, WHOLE_GOAL = 1.3, 1.6
POLICY = policy_from({"metrics": {"token_f1": {"direction": "higher", "floor": 0.0, "rule": "report"}}})


def main() -> None:
    """One release against the simulated provider."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    count = parser.parse_args().cases
    cases = tuple(Case(str(number), f"Question {number}?", ("yes",)) for number in range(count))
    ideal = math.ceil(count / AT_ONCE) * LATENCY_S
    release = _release(f"bench-{uuid4().hex[:8]}")
    with own_registry(), tempfile.TemporaryDirectory() as folder, _provider() as address:
        experiments = Experiments(load(RegistrySettings))
        store = ObjectStore(load(StoreSettings))
        steps = Steps()
        bench = Bench(
            experiments,
            store,
            Path(folder) / "answers",
            Plan(AT_ONCE),
            library=tuple(known_metrics()),
            home=Path(folder) / "huggingface",
            step=steps.step,
        )
        providers = load(ProviderSettings, llm_api_url=address, llm_api_key="bench")
        opened = opening(release, store, Path(folder) / "indexes", providers, Masker())
        began = time.monotonic()
        scores = evaluate(release, cases, opened, bench)
        judge(release, None, POLICY, experiments, store)
        verdict = time.monotonic() - began
        trace_sample(release, cases, scores, TRACES, bench)
        logged = time.monotonic() - began
        steps.report()
        asked = steps.seconds[f"{release.label}: asking"]
        alone = _mlflow_alone(release, cases[: max(1, count // 10)], bench) * 10
    against, peer = f"{ideal:.1f} s ideal", f"{ideal + alone:.1f} s ideal, then mlflow.genai.evaluate"
    report(
        "evaluation",
        [
            Measure("all answered", asked, "s", against, asked / ideal),
            Measure(
                "verdict", verdict, "s", against, verdict / ideal, f"<= {VERDICT_GOAL}", verdict / ideal <= VERDICT_GOAL
            ),
            Measure(
                "all logged", logged, "s", against, logged / ideal, f"<= {WHOLE_GOAL}", logged / ideal <= WHOLE_GOAL
            ),
            Measure("all logged", logged, "s", peer, logged / (ideal + alone)),
        ],
        f"{count} cases at {LATENCY_S * 1000:.0f} ms, {AT_ONCE} at once",
    )


def _mlflow_alone(release: Release, cases: tuple[Case, ...], bench: Bench) -> float:
    """Seconds for answers that are there already, without the imports."""
    run = find_run(bench.experiments, release)
    assert run is not None
    cache = AnswerCache(bench.answers, release.digest)
    outcomes = [Outcome(case, cache.get(case)) for case in cases]
    began = time.monotonic()
    log_traces(bench.experiments.uri, run, outcomes, bench.scorers, None, None, bench.masker)
    return time.monotonic() - began


def _release(name: str) -> Release:
    manifest = Manifest("prompt", name, (Message("user", "{{question}}"),), ProviderChoice("openai", "simulated"))
    return Release(1, manifest_digest(manifest), manifest)


@contextmanager
def _provider() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.provider", "--port", str(port), "--latency-ms", str(LATENCY_S * 1000)]
    process = subprocess.Popen(command)
    try:
        for _ in range(200):
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
