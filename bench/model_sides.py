"""Models for `bench.model_serving`, who serves them, and callers who check each answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
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
from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Manifest, ModelFile, Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.rules.canonical import digest, manifest_digest
from mlflow_project.rules.mlmodel import describe
from mlflow_project.seal.keys import ensure_key, signing_key
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import SealSettings
from mlflow_project.snapshot.content import Placed, Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.workers import live_workers
from stack.ports import free_port

FEATURES = [f"f{number}" for number in range(20)]
FRAUD_COLUMNS, INTENT_COLUMNS, INTENT_ROWS, INTENTS = 13, 256, 1_920, 24
"""The shapes of the examples in `models/`, and the rows that four fifths of the generated questions are."""


class SealedHost:
    """One host's disk with sealed models, as a follower leaves it, and a server with one worker. Needs no MLflow and no
    store, so that nothing else runs beside what is measured."""

    def __init__(self, path: Path) -> None:
        self.port = free_port()
        self.path = path
        self._keys = SealSettings(signing_key=path / "gate.pem", trusted_keys=path / "trusted")
        ensure_key(self._keys)
        self.folder = ServingFolder(path / "serving")
        self.folder.prepare()
        self.live: dict[str, Placed] = {}

    def serve(self, stack: ExitStack) -> None:
        """Start the server. It ends with the stack. It loads these models without a trial: that is seconds sooner."""
        self.folder.write_snapshot(Snapshot(tuple(self.live.values())))
        settings = {
            "SWITCHYARD_SERVING_FOLDER": str(self.folder.path),
            "SWITCHYARD_TRUSTED_KEYS": str(self._keys.trusted_keys),
            "SWITCHYARD_STATE": str(self.path),
            "SWITCHYARD_API_PORT": str(self.port),
            "SWITCHYARD_MODEL_TRIAL": "false",
        }
        stack.enter_context(process([sys.executable, "-m", "serving"], self.path / "server.log", **settings))

    @property
    def worker(self) -> int:
        """The id of the process that serves."""
        return next(report.pid for report in live_workers(self.folder.workers))

    def url(self, name: str) -> str:
        """The address at which the server predicts with a model."""
        return f"http://127.0.0.1:{self.port}/models/{name}/invocations"

    def flip(self, placed: Placed) -> None:
        """Make another release live, as the follower does."""
        self.live[placed.name] = placed
        self.folder.write_snapshot(Snapshot(tuple(self.live.values())))

    def version(self, name: str) -> int | None:
        """The version that the worker says it serves."""
        receipts = [receipt for report in live_workers(self.folder.workers) for receipt in report.receipts]
        return next((each.version for each in receipts if (each.name, each.state) == (name, "serving")), None)

    def place(self, name: str, model: Any, frame: pandas.DataFrame, outputs: Any, version: int = 1) -> Placed:
        """Save a model as MLflow does, seal it, and put its files where the server reads them."""
        saved = self.path / f"{name}-{version}"
        _save(model, saved, frame, outputs)
        paths = sorted(path for path in saved.rglob("*") if path.is_file())
        files = tuple(ModelFile(str(p.relative_to(saved)), digest(p.read_bytes()), p.stat().st_size) for p in paths)
        described = describe((saved / "MLmodel").read_bytes(), {}, name)
        manifest = Manifest("model", name, source=f"models:/m-{version}", files=files, model=described)
        release = Release(version, manifest_digest(manifest), manifest)
        shutil.copytree(saved, self.folder.model_folder(release.digest))
        said = statement_for(
            release, Verdict("accepted", ()), "sha256:0", None, {}, {}, "user:bench", "2026-01-01", loading=Loading()
        )
        envelope, at = sign(said, signing_key(self._keys)), "2026-01-01T00:00:00.000Z"
        placed = Placed("Production", version, release.digest, manifest, envelope, at, at)
        self.live[name] = placed
        return placed

    def saved(self, name: str) -> Path:
        """MLflow's folder of version 1."""
        return self.path / f"{name}-1"


def _save(model: Any, folder: Path, frame: pandas.DataFrame, outputs: Any) -> None:
    import mlflow
    from mlflow.models import infer_signature

    flavor, needs = (mlflow.lightgbm, "lightgbm") if isinstance(model, lightgbm.Booster) else (mlflow.sklearn, "skops")
    flavor.save_model(
        model,
        folder,
        signature=infer_signature(frame.head(5), outputs),
        input_example=frame.head(5),
        pip_requirements=[needs],
    )


def linear_model(host: SealedHost, name: str) -> pandas.DataFrame:
    """Place a logistic regression of 20 features. Returns rows for it."""
    frame, labels = _rows(1_000, FEATURES)
    host.place(name, LogisticRegression().fit(frame, labels), frame, labels)
    return frame


def constant_models(host: SealedHost, name: str) -> dict[int, Placed]:
    """Place two versions: version N always predicts N - 1."""
    frame, labels = _rows(100, FEATURES)
    models = {value: DummyClassifier(strategy="constant", constant=value).fit(frame, labels) for value in (0, 1)}
    return {value + 1: host.place(name, model, frame, labels, value + 1) for value, model in models.items()}


def example_models(host: SealedHost) -> pandas.DataFrame:
    """Place models of the shapes of `fraud` (LightGBM's text, which predicts probabilities) and of `intent`. Returns
    rows for the first."""
    frame, labels = _rows(4_000, [f"c{number}" for number in range(FRAUD_COLUMNS)])
    options = {"objective": "binary", "num_leaves": 15, "learning_rate": 0.05, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(options, lightgbm.Dataset(frame, labels), 120)
    host.place("fraud-shape", booster, frame, booster.predict(frame.head(5)))
    texts, _ = _rows(INTENT_ROWS, [f"text_{number}" for number in range(INTENT_COLUMNS)])
    intents = np.random.default_rng(3).integers(0, INTENTS, INTENT_ROWS)
    host.place("intent-shape", make_pipeline(StandardScaler(), SVC(C=10)).fit(texts, intents), texts, intents)
    return frame


def _rows(count: int, columns: list[str]) -> tuple[pandas.DataFrame, Any]:
    frame = pandas.DataFrame(np.random.default_rng(1).normal(0, 1, (count, len(columns))), columns=columns)
    return frame, (frame.sum(axis=1) > 0).astype(int)


def mlflow_serves(stack: ExitStack, folder: Path, saved: Path) -> tuple[str, int]:
    """`mlflow models serve` of the same files; its address and the id of its process."""
    port = free_port()
    options = ["--env-manager", "local", "--port", str(port), "--workers", "1"]
    programs = Path(sys.executable).parent
    command = [str(programs / "mlflow"), "models", "serve", "-m", str(saved), *options]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"  # it starts `uvicorn` by its bare name
    started = stack.enter_context(process(command, folder / "mlflow.log", PATH=path))
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
    """Return whether the address answers this body with status 200."""
    try:
        return httpx.post(address, json=body, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


class ModelCallers:
    """Callers of `constant_models` in a thread of their own, until the block ends. `rate`: requests a second of all."""

    def __init__(self, url: str, callers: int, rate: float) -> None:
        self.failed = self.disagreed = 0
        self.milliseconds: list[float] = []
        self._url = url
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
