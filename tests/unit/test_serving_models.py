"""A worker serves sealed models from its host's disk: the whole application, without follower and sockets."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mlflow_project.domain.model import Column, Loading, ModelDescription, Signature
from mlflow_project.domain.release import Manifest, ModelFile, Release
from mlflow_project.domain.shadow import ShadowLimits
from mlflow_project.domain.verdict import Verdict
from mlflow_project.rules.canonical import digest, manifest_digest
from mlflow_project.rules.masking import Masker
from mlflow_project.seal.keys import ensure_key, signing_key
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import (
    EventSettings,
    GuardSettings,
    KeySettings,
    LogSettings,
    ModelSettings,
    ProviderSettings,
    RegistrySettings,
    SealSettings,
    ServerSettings,
    TelemetrySettings,
)
from mlflow_project.snapshot.content import Placed, PlacedShadow, Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.spool import Batch, Spool
from serving.app import Settings, build, running
from serving.edge.places import Places

NAMES = ["amount", "hour", "velocity"]
SIGNATURE = Signature(tuple(Column(name, "double") for name in NAMES), (Column("", "int64", shape=(-1,)),))
RANDOM = np.random.default_rng(3)
FRAME = pandas.DataFrame(RANDOM.normal(0, 1, (300, 3)), columns=NAMES)
LABELS = (FRAME["amount"] + FRAME["velocity"] > 0.5).astype(int)
ROW = {"amount": 2.0, "hour": 0.5, "velocity": 1.0}
PATH = "/models/fraud/invocations"


class Yard:
    """One host's disk, with sealed models on it, and the settings of its worker."""

    def __init__(self, path: Path, **models: Any) -> None:
        self.keys = SealSettings(signing_key=path / "gate.pem", trusted_keys=path / "trusted")
        ensure_key(self.keys)
        self.folder = ServingFolder(path / "serving")
        self.folder.prepare()
        self.folder.write_snapshot(Snapshot())
        self.settings = Settings(
            server=ServerSettings(serving_folder=self.folder.path),
            limits=GuardSettings(),
            keys=KeySettings(api_keys_file=path / "api-keys.json"),
            seal=self.keys,
            providers=ProviderSettings(llm_api_key=None),
            registry=RegistrySettings(),
            logs=LogSettings(),
            models=ModelSettings(**{"model_trial": False, **models}),
            events=EventSettings(),
            telemetry=TelemetrySettings(),
        )

    def place(self, model: Any, version: int = 1, form: str = "skops", **more: Any) -> Placed:
        """Seal a model as fraud/N, and put its files where the follower puts them."""
        example = {"dataframe_split": {"columns": NAMES, "data": FRAME.head(4).to_numpy().tolist()}}
        contents = {
            "model.skops": more.pop("data", None) or skops.io.dumps(model),
            "serving_input_example.json": json.dumps(more.pop("example", example)).encode(),
        }
        files = tuple(ModelFile(name, digest(data), len(data)) for name, data in contents.items())
        flavor = more.pop("flavor", "sklearn")
        fields = {"predict_fn": "predict", "signature": SIGNATURE, "task": "classifier", **more}
        described = ModelDescription(flavor, form, "model.skops", **fields)  # type: ignore[arg-type]
        manifest = Manifest("model", "fraud", source=f"models:/m-{version}", files=files, model=described)
        release = Release(version, manifest_digest(manifest), manifest)
        folder = self.folder.model_folder(release.digest)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        said = statement_for(
            release, Verdict("accepted", ()), "sha256:0", None, {}, {}, "user:test", "2026-01-01", loading=Loading()
        )
        envelope = sign(said, signing_key(self.keys))
        return Placed("Production", version, release.digest, manifest, envelope, "2026-01-01T00:00:00.000Z", "2026")

    def live(self, *placed: Placed) -> None:
        self.folder.write_snapshot(Snapshot(live=placed))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[httpx.AsyncClient]:
        """The application of one worker, asked in this process."""
        places, masker = Places(512, 64, 5), Masker()
        app = build(self.settings, masker)
        async with running(self.settings, masker, places) as server:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                await app({**scope, "state": {"server": server}}, receive, send)

            transport = httpx.ASGITransport(with_state, client=("127.0.0.1", 5))
            async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as http:
                yield http


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def logistic() -> LogisticRegression:
    return LogisticRegression().fit(FRAME, LABELS)


def asked(yard: Yard, ask: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def through() -> Any:
        async with yard.serving() as http:
            return await ask(http)

    return asyncio.run(through())


def posted(yard: Yard, *bodies: Any, path: str = PATH, kind: str = "application/json") -> list[httpx.Response]:
    """The answers to these bodies, by a worker that serves a logistic regression."""
    yard.live(yard.place(logistic()))

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        headers = {"Content-Type": kind}
        contents = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in bodies]
        return [await http.post(path, content=content, headers=headers) for content in contents]

    found: list[httpx.Response] = asked(yard, ask)
    return found


def test_every_layout_and_csv_answer_as_the_model_and_name_the_release(yard: Yard) -> None:
    rows = FRAME.head(50)
    expected = logistic().predict(rows).tolist()
    bodies = (
        {"dataframe_split": {"columns": NAMES, "data": rows.to_numpy().tolist()}},
        {"dataframe_records": rows.to_dict("records")},
        {"instances": rows.to_numpy().tolist()},
        {"inputs": rows.to_dict("list")},
    )
    answers = posted(yard, *bodies)
    assert [answer.json() for answer in answers] == [{"predictions": expected}] * 4
    assert {answer.headers["X-Release"] for answer in answers} == {"fraud/1"}
    csv = io.StringIO()
    rows.to_csv(csv, index=False)
    (answer,) = posted(yard, csv.getvalue().encode(), kind="text/csv; charset=utf-8")
    assert answer.json() == {"predictions": expected}


def test_kserves_protocol_answers_and_describes(yard: Yard) -> None:
    rows = FRAME.head(5)
    yard.live(yard.place(logistic()))
    inputs = [{"name": name, "shape": [5], "datatype": "FP64", "data": rows[name].tolist()} for name in NAMES]

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.post("/v2/models/fraud/infer", json={"id": "a", "inputs": inputs}),
            await http.post("/v2/models/fraud/versions/1/infer", json={"inputs": inputs}),
            await http.get("/v2/models/fraud"),
            await http.get("/v2/models/fraud/ready"),
            await http.get("/v2/health/ready"),
            await http.get("/v2/models/nobody/ready"),
            await http.post("/v2/models/fraud/versions/9/infer", json={"inputs": inputs}),
            await http.post("/v2/models/fraud/versions/one/infer", json={"inputs": inputs}),
        ]

    infer, version, metadata, ready, server, nobody, other, wrong = asked(yard, ask)
    assert infer.json()["outputs"][0]["data"] == logistic().predict(rows).tolist()
    assert infer.headers["X-Release"] == "fraud/1"
    assert version.status_code == 200
    assert metadata.json()["inputs"][0] == {"name": "amount", "datatype": "FP64", "shape": [-1]}
    assert (ready.json()["ready"], server.json()["ready"]) == (True, True)
    assert (nobody.status_code, other.status_code, wrong.status_code) == (404, 404, 422)


def test_tensors_as_bytes_behind_the_json_are_read_as_tritons_client_sends_them(yard: Yard) -> None:
    rows = FRAME.head(5)
    yard.live(yard.place(logistic()))

    def packed(size: int = 40) -> tuple[bytes, dict[str, str]]:
        tensor = {"shape": [5], "datatype": "FP64", "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [{"name": name, **tensor} for name in NAMES]}).encode()
        data = b"".join(rows[name].to_numpy().astype("<f8").tobytes() for name in NAMES)
        return head + data, {"Inference-Header-Content-Length": str(len(head))}

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        found = []
        for content, headers in (packed(), packed(39), packed(400), (b"{", {"Inference-Header-Content-Length": "-1"})):
            found.append(await http.post("/v2/models/fraud/infer", content=content, headers=headers))
        return found

    right, *wrong = asked(yard, ask)
    assert right.json()["outputs"][0]["data"] == logistic().predict(rows).tolist()
    assert [answer.status_code for answer in wrong] == [400] * 3
    assert "no values of FP64" in wrong[0].json()["error"]
    assert "binary_data_size within the body" in wrong[1].json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"dataframe_records": [{**ROW, "hour": "late"}]}, 422, "Row 0, column 'hour': a number or null is expected"),
        ({"dataframe_records": [ROW, {**ROW, "hour": True}]}, 422, "Row 1, column 'hour'"),
        ({"dataframe_records": [{"amount": 1.0}]}, 422, "Row 0: missing columns 'hour', 'velocity'"),
        ({"dataframe_records": [{**ROW, "hour": None}]}, 422, "Input X contains NaN"),
        (b'{"dataframe_records": [{"amount": 1, "hour": Infinity, "velocity": 1}]}', 422, "contains infinity"),
        ({"dataframe_records": [ROW], "params": {"x": 1}}, 422, "Unknown parameters: 'x'"),
        ({"rows": []}, 400, "exactly one of"),
        (b"{", 400, "not JSON"),
        (b'{"instances": ' + b"[" * 500_000, 400, "not JSON"),
        ({"dataframe_records": [{}] * 100_001}, 413, "100,001 rows; at most 100,000"),
    ],
)
def test_a_wrong_request_is_told_column_row_and_expectation(yard: Yard, body: Any, status: int, said: str) -> None:
    (answer,) = posted(yard, body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_rows_and_more_columns_are_right_answers(yard: Yard) -> None:
    empty, more = posted(
        yard, {"dataframe_split": {"columns": NAMES, "data": []}}, {"dataframe_records": [{**ROW, "more": "x"}]}
    )
    assert (empty.status_code, empty.json()) == (200, {"predictions": []})
    assert more.json() == {"predictions": [1]}


def test_a_hundred_thousand_rows_are_those_of_the_model_to_the_last_bit(yard: Yard) -> None:
    rows = pandas.DataFrame({name: RANDOM.normal(0, 1, 100_000) for name in NAMES})
    fitted = logistic()
    yard.live(yard.place(fitted, predict_fn="predict_proba"))
    body = json.dumps({"dataframe_split": {"columns": NAMES, "data": rows.to_numpy().tolist()}})

    async def ask(http: httpx.AsyncClient) -> httpx.Response:
        return await http.post(PATH, content=body, headers={"Content-Type": "application/json"})

    answer = asked(yard, ask)
    assert answer.status_code == 200, answer.text[:300]
    assert np.array_equal(np.array(answer.json()["predictions"]), fitted.predict_proba(rows))


def test_fifty_megabytes_of_csv_are_refused_before_they_are_read(yard: Yard) -> None:
    (answer,) = posted(yard, b"amount,hour,velocity\n" + b"1.5,2.5,3.5\n" * 4_200_000, kind="text/csv")
    assert (answer.status_code, "is larger than the" in answer.json()["detail"]) == (413, True)
    (answer,) = posted(yard, b"x", kind="text/plain")
    assert answer.status_code == 400


def test_an_event_holds_a_few_rows_and_their_predictions(yard: Yard) -> None:
    bodies = [
        {"dataframe_split": {"columns": NAMES, "data": FRAME.head(count).to_numpy().tolist()}} for count in (1, 99)
    ]
    posted(yard, *bodies, {"dataframe_records": [{**ROW, "hour": "late"}]})
    batch = Spool(yard.folder.spool_file, 10**9).batch("b", 100)
    assert batch is not None
    one, many = (json.loads(json.loads(row)["sample"]) for row in batch.rows)
    assert one["inputs"]["amount"] == [pytest.approx(FRAME["amount"][0], rel=1e-5)]
    assert one["predictions"]["prediction"] == logistic().predict(FRAME.head(1)).tolist()
    assert {len(values) for values in many["inputs"].values()} == {10}


def test_prompts_and_models_are_not_mistaken_for_each_other(yard: Yard) -> None:
    yard.live(yard.place(logistic()))

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        chat = {"model": "fraud", "messages": [{"role": "user", "content": "why?"}]}
        return [
            await http.post("/prompts/fraud/invocations", json={"variables": {"question": "why?"}}),
            await http.post("/v1/chat/completions", json=chat),
            await http.get("/v1/models"),
        ]

    prompt, chat, listed = asked(yard, ask)
    assert prompt.status_code == chat.status_code == 404
    assert "fraud is a model: ask it at POST /models/fraud/invocations" in prompt.json()["detail"]
    assert "fraud" not in {model["id"] for model in listed.json()["data"]}


def test_many_callers_at_once_get_each_their_own_predictions(yard: Yard) -> None:
    nearest = KNeighborsClassifier(1, algorithm="brute").fit(FRAME, np.arange(len(FRAME)))
    yard.live(yard.place(nearest))

    async def ask(http: httpx.AsyncClient) -> list[Any]:
        rows = FRAME.to_dict("records")
        answers = await asyncio.gather(*(http.post(PATH, json={"dataframe_records": [row]}) for row in rows))
        wrong = await asyncio.gather(
            *(http.post(PATH, json={"dataframe_records": [{**row, "hour": None}]}) for row in rows[:5]),
            http.post(PATH, json={"dataframe_records": [rows[7]]}),
        )
        return [*(answer.json()["predictions"][0] for answer in answers), wrong[-1].json()["predictions"][0]]

    assert asked(yard, ask) == [*range(len(FRAME)), 7]


def test_flips_under_load_mix_no_release_and_free_the_old_model(yard: Yard) -> None:
    frames = [DummyClassifier(strategy="constant", constant=value).fit(FRAME, LABELS) for value in (0, 1)]
    first, second = (yard.place(model, version) for version, model in enumerate(frames, 1))
    yard.live(first)
    before = _models()

    async def ask(http: httpx.AsyncClient) -> tuple[int, list[str]]:
        wrong: list[str] = []
        count, stop = 0, asyncio.Event()

        async def load() -> None:
            nonlocal count
            while not stop.is_set():
                answer = await http.post(PATH, json={"dataframe_records": [ROW]})
                version = int(answer.headers["X-Release"].removeprefix("fraud/"))
                if answer.json() != {"predictions": [version - 1]}:
                    wrong.append(answer.text)
                count += 1

        callers = [asyncio.create_task(load()) for _ in range(8)]
        for number in range(20):
            yard.live(second if number % 2 else first)
            await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*callers)
        await asyncio.sleep(0.5)
        assert _models() - before <= 1, "only the live model is in memory"
        return count, wrong

    count, wrong = asked(yard, ask)
    assert wrong == []
    assert count > 100


def _models() -> int:
    from mlflow_project.models.loading import Model

    gc.collect()
    return sum(isinstance(each, Model) for each in gc.get_objects())


class Slow(BaseEstimator):  # type: ignore[misc]
    """Takes a second for each prediction."""

    def predict(self, rows: Any) -> Any:
        import time

        time.sleep(1)
        return np.zeros(len(rows))


def _refused(yard: Yard, placed: Placed) -> str:
    """The reason why the worker keeps fraud/1 instead."""
    yard.live(yard.place(logistic()))

    async def ask(http: httpx.AsyncClient) -> str:
        yard.live(placed)
        for _ in range(500):
            refused = (await http.get("/releases")).json()["refused"]
            if refused:
                answer = await http.post(PATH, json={"dataframe_records": [ROW]})
                assert answer.headers["X-Release"] == "fraud/1"
                return str(refused[0]["reason"])
            await asyncio.sleep(0.02)
        raise AssertionError("nothing is refused")

    return str(asked(yard, ask))


def test_a_model_that_cannot_be_served_keeps_the_old_one_with_the_reason(tmp_path: Path) -> None:
    yard = Yard(tmp_path, max_model_mb=1)
    large = KNeighborsClassifier().fit(RANDOM.normal(0, 1, (60_000, 3)), RANDOM.integers(0, 2, 60_000))
    assert "is too large" in _refused(yard, yard.place(large, 2))
    assert "cannot be loaded" in _refused(yard, yard.place(None, 2, data=b"no model"))
    assert "runs code of its author" in _refused(yard, yard.place(logistic(), 2, form="pickle"))
    example = {"dataframe_split": {"columns": ["amount"], "data": [[1.0]]}}
    assert "does not fit its signature" in _refused(yard, yard.place(logistic(), 2, example=example))
    changed = yard.place(logistic(), 2)
    file = yard.folder.model_folder(changed.digest) / "model.skops"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert "model.skops of fraud was changed" in _refused(yard, changed)


def test_a_model_that_is_too_slow_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = Yard(tmp_path, model_warm_seconds=0.8)
    module = f"{Slow.__module__}.Slow"
    placed = yard.place(Slow(), 2, trusted_types=(module,))
    said = statement_for(
        placed.release,
        Verdict("accepted", ()),
        "sha256:0",
        None,
        {},
        {},
        "user:test",
        "2026-01-01",
        loading=Loading(trusted_types=(module,)),
    )
    slow = Placed(
        "Production", 2, placed.digest, placed.manifest, sign(said, signing_key(yard.keys)), placed.recorded, "2026"
    )
    assert "after 0.8 s" in _refused(yard, slow) or "is too slow" in _refused(yard, slow)


def test_a_worker_without_models_imports_none_of_their_libraries(yard: Yard, tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from mlflow_project.adapters.providers import Providers\n"
        "from mlflow_project.settings import ProviderSettings\n"
        "from mlflow_project.snapshot.folder import ServingFolder\n"
        "from pathlib import Path\n"
        "import serving.app\n"
        "from serving.live.worker import Worker\n"
        "async def main():\n"
        f"    worker = Worker(ServingFolder(Path({str(yard.folder.path)!r})), Path({str(yard.keys.trusted_keys)!r}), "
        "Providers(ProviderSettings(llm_api_key=None)))\n"
        "    await worker.start()\n"
        "    await worker.stop()\n"
        "asyncio.run(main())\n"
        "print([name for name in ('sklearn', 'skops', 'lightgbm', 'pandas', 'mlflow', 'scipy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ})
    assert found.stdout.strip() == "[]", found.stderr


def test_weak_references_show_that_a_closed_model_is_gone(yard: Yard) -> None:
    from mlflow_project.models.loading import load_model
    from serving.live.warm_model import WarmModel

    placed = yard.place(logistic())
    from mlflow_project.models.rows import InputReader

    model = load_model(yard.folder.model_folder(placed.digest), placed.manifest, Loading())
    seen = weakref.ref(model)
    warm = WarmModel(placed.release, model, InputReader(SIGNATURE, 9), gathers=True)
    del model
    asyncio.run(warm.aclose())
    assert seen() is None


def test_a_shadow_model_predicts_the_same_rows_and_the_pair_says_how_far_both_agree(yard: Yard) -> None:
    other = DummyClassifier(strategy="constant", constant=1).fit(FRAME, LABELS)
    shadow = PlacedShadow(5, ShadowLimits(1.0), yard.place(other, 2))
    yard.folder.write_snapshot(Snapshot(live=(yard.place(logistic()),), shadows=(shadow,)))
    rows = FRAME.head(50)
    spool = Spool(yard.folder.spool_file, 10_000_000)

    async def ask(http: httpx.AsyncClient) -> tuple[httpx.Response, Batch | None]:
        found = None
        async with asyncio.timeout(20):
            while found is None or b'"shadow"' not in b"".join(found.rows):
                body = {"instances": rows.to_numpy().tolist()}
                answer = await http.post(PATH, json=body)
                await asyncio.sleep(0.3)
                if found is not None:
                    spool.shipped(found.name)
                found = spool.batch(os.urandom(4).hex(), 100)
        return answer, found

    answer, batch = asked(yard, ask)
    assert answer.json() == {"predictions": logistic().predict(rows).tolist()}
    (pair, *_) = [row for row in map(json.loads, batch.rows) if row["kind"] == "shadow"]
    assert pair["agreement"] == pytest.approx(logistic().predict(rows).mean())
    assert (pair["shadow_release"], pair["question"], pair["error_type"]) == ("fraud/2", None, None)
    assert pair["scores"].keys() == pair["shadow_scores"].keys() == {"latency_ms"}
