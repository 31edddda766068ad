"""Models for `bench.model_serving`, who serves them, and callers who check each answer."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import joblib
import lightgbm
import numpy as np
import pandas
from httpx_aiohttp import AiohttpTransport
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bench.loading import process
from mlflow_project.adapters.model_files import current_release
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.parts import Parts
from mlflow_project.promotion.seal_release import record_verdict
from stack.ports import free_port
from tests.serving.conftest import Host

FEATURES = [f"f{number}" for number in range(20)]
FRAUD_COLUMNS, INTENT_COLUMNS, INTENT_ROWS, INTENTS = 13, 256, 1_920, 24
"""The shapes of the examples in `models/`, and the rows that four fifths of the generated questions are."""


def linear_model(name: str) -> tuple[pandas.DataFrame, Release]:
    """A logistic regression of 20 features that is sealed and live, and rows for it."""
    frame, labels = _rows(1_000, FEATURES)
    return frame, _live(name, LogisticRegression().fit(frame, labels), frame, labels)


def constant_models(name: str) -> None:
    """Two sealed versions: version N always predicts N - 1."""
    frame, labels = _rows(100, FEATURES)
    for value in (0, 1):
        model = DummyClassifier(strategy="constant", constant=value).fit(frame, labels)
        _live(name, model, frame, labels, version=value + 1)


def example_models() -> tuple[pandas.DataFrame, Release, Release]:
    """Live models of the shapes of `fraud` (LightGBM's text, which predicts probabilities) and of `intent`, with rows
    for the first."""
    frame, labels = _rows(4_000, [f"c{number}" for number in range(FRAUD_COLUMNS)])
    options = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.05, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(options, lightgbm.Dataset(frame, labels), 120)
    fraud = _live("fraud-shape", booster, frame, booster.predict(frame.head(5)))
    texts, _ = _rows(INTENT_ROWS, [f"text_{number}" for number in range(INTENT_COLUMNS)])
    intents = np.random.default_rng(3).integers(0, INTENTS, INTENT_ROWS)
    intent = _live("intent-shape", make_pipeline(StandardScaler(), SVC(C=10)).fit(texts, intents), texts, intents)
    return frame, fraud, intent


def _rows(count: int, columns: list[str]) -> tuple[pandas.DataFrame, Any]:
    frame = pandas.DataFrame(np.random.default_rng(1).normal(0, 1, (count, len(columns))), columns=columns)
    return frame, (frame.sum(axis=1) > 0).astype(int)


def _live(name: str, model: Any, frame: pandas.DataFrame, outputs: Any, version: int = 1) -> Release:
    """Log, register, seal and point the alias at it."""
    import mlflow
    from mlflow.models import infer_signature

    parts = Parts.connect()
    mlflow.set_tracking_uri(parts.registry.uri)
    flavor, needs = (mlflow.lightgbm, "lightgbm") if isinstance(model, lightgbm.Booster) else (mlflow.sklearn, "skops")
    with contextlib.redirect_stdout(io.StringIO()), mlflow.start_run():
        flavor.log_model(
            model,
            name="model",
            registered_model_name=name,
            signature=infer_signature(frame.head(5), outputs),
            input_example=frame.head(5),
            pip_requirements=[needs],
        )
    release = current_release(parts.registry, parts.models, name, version)
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
    parts.registry.set_alias(name, "Production", version)
    return release


def mlflow_serves(stack: ExitStack, folder: Path, release: Release) -> tuple[str, int]:
    """`mlflow models serve` of the same files; its address and the id of its process."""
    parts, port = Parts.connect(), free_port()
    files = parts.models.fetch(release, folder / "models")
    options = ["--env-manager", "local", "--port", str(port), "--workers", "1"]
    command = [str(Path(sys.executable).parent / "mlflow"), "models", "serve", "-m", str(files), *options]
    started = stack.enter_context(process(command, folder / "mlflow.log"))
    return f"http://127.0.0.1:{port}/invocations", started.pid


def mlserver_serves(stack: ExitStack, folder: Path, program: Path, frame: pandas.DataFrame) -> tuple[str, int]:
    """MLServer with the same estimator and one worker; its address and the id of its process."""
    home, http, grpc, metrics = folder / "mlserver", free_port(), free_port(), free_port()
    home.mkdir()
    joblib.dump(LogisticRegression().fit(frame.to_numpy(), (frame.sum(axis=1) > 0).astype(int)), home / "model.joblib")
    implementation = {"name": "bench", "implementation": "mlserver_sklearn.SKLearnModel"}
    (home / "model-settings.json").write_text(json.dumps({**implementation, "parameters": {"uri": "./model.joblib"}}))
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (home / "settings.json").write_text(json.dumps({**ports, "host": "127.0.0.1", "parallel_workers": 1}))
    started = stack.enter_context(process([str(program), "start", str(home)], folder / "mlserver.log"))
    return f"http://127.0.0.1:{http}/v2/models/bench/infer", started.pid


def body_of(frame: pandas.DataFrame, rows: int) -> dict[str, Any]:
    """A request of MLflow's protocol."""
    return {"dataframe_split": {"columns": list(frame.columns), "data": frame.head(rows).to_numpy().tolist()}}


def tensor_of(frame: pandas.DataFrame, rows: int) -> dict[str, Any]:
    """A request of KServe's protocol."""
    data = frame.head(rows).to_numpy().tolist()
    return {"inputs": [{"name": "rows", "shape": [rows, len(frame.columns)], "datatype": "FP64", "data": data}]}


def answers(address: str, body: dict[str, Any]) -> bool:
    """Whether a request succeeds."""
    try:
        return httpx.post(address, json=body, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


class ModelCallers:
    """Callers of `constant_models` in a thread of their own, until the block ends. `rate`: requests a second of all."""

    def __init__(self, host: Host, name: str, callers: int, rate: float) -> None:
        self.failed = self.disagreed = 0
        self.milliseconds: list[float] = []
        self._url = f"http://127.0.0.1:{host.port}/models/{name}/invocations"
        self._callers, self._pause = callers, callers / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> ModelCallers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=10) as http:
            await asyncio.gather(*(self._call(http) for _ in range(self._callers)))

    async def _call(self, http: httpx.AsyncClient) -> None:
        body = {"dataframe_split": {"columns": FEATURES, "data": [[0.5] * len(FEATURES)]}}
        due = time.monotonic()
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                answer = await http.post(self._url, json=body)
                version = int(answer.headers["X-Release"].rpartition("/")[2])
                self.disagreed += answer.json()["predictions"] != [version - 1]
                self.milliseconds.append(1000 * (time.perf_counter() - began))
            except (httpx.HTTPError, KeyError, ValueError):
                self.failed += 1
            due += self._pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
