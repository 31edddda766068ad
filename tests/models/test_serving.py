"""A server follows the alias of a model as it follows a prompt's, and answers in MLflow's and KServe's protocols."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mlflow_project.adapters.model_files import file_key
from tests.models.conftest import FEATURES, Models, transactions
from tests.serving.conftest import Host, host, new_host, until

__all__ = ["host", "new_host"]

ROW = {"amount": 3.0, "hour": 0.0, "velocity": 3.0}


def constant(value: int) -> DummyClassifier:
    """A model that always answers the same, so that an answer shows which release gave it."""
    frame = transactions(50, 1)
    return DummyClassifier(strategy="constant", constant=value).fit(
        frame[list(FEATURES)], [*frame["is_fraud"][2:], 0, 1]
    )


def ask(host: Host, name: str, rows: list[dict[str, Any]] | None = None, **headers: str) -> httpx.Response:
    return host.http.post(
        f"/models/{name}/invocations", json={"dataframe_records": rows or [ROW]}, headers=headers, timeout=60
    )


def serves(host: Host, models: Models, version: int) -> None:
    label = f"{models.name}/{version}"
    until(lambda: ask(host, models.name).headers.get("X-Release") == label, f"{label} answers")


@pytest.fixture
def live(models: Models, host: Host) -> Models:
    """A model whose version 1 is live."""
    version = models.register()
    models.seal(version)
    models.promote(version)
    serves(host, models, version)
    return models


def test_every_protocol_answers_as_mlflow_itself(live: Models, host: Host) -> None:
    frame = transactions(50, 5)[list(FEATURES)]
    expected = mlflow.pyfunc.load_model(f"models:/{live.name}/1").predict(frame).tolist()
    path = f"/models/{live.name}/invocations"
    split = {"columns": list(frame.columns), "data": frame.to_numpy().tolist()}
    for body in (
        {"dataframe_split": split},
        {"instances": frame.to_dict("records")},
        {"inputs": frame.to_dict("list")},
    ):
        answer = host.http.post(path, json=body)
        assert answer.json() == {"predictions": expected}, answer.text
        assert answer.headers["X-Release"] == f"{live.name}/1"
        assert answer.headers["X-Release-Digest"] == live.release(1).digest
    csv = host.http.post(path, content=frame.to_csv(index=False), headers={"Content-Type": "text/csv"})
    assert csv.json() == {"predictions": expected}
    inputs = [{"name": name, "shape": [50], "datatype": "FP64", "data": frame[name].tolist()} for name in frame.columns]
    infer = host.http.post(f"/v2/models/{live.name}/infer", json={"id": "a", "inputs": inputs}).json()
    assert infer["outputs"][0]["data"] == expected
    assert (infer["id"], infer["model_version"]) == ("a", "1")
    assert host.http.get(f"/v2/models/{live.name}/ready").json()["ready"]
    assert host.http.get(f"/v2/models/{live.name}/versions/1").json()["inputs"][0]["name"] == "amount"
    assert host.http.get("/v2/health/ready").json() == {"ready": True}
    assert host.http.get("/v2/models/nobody/ready").status_code == 404
    assert host.http.get(f"/v2/models/{live.name}/versions/9").status_code == 404


def test_hundred_thousand_rows_are_those_of_mlflow_to_the_last_bit(models: Models, host: Host) -> None:
    frame = transactions(400, 1)
    fitted = LogisticRegression().fit(frame[list(FEATURES)], frame["is_fraud"])
    version = models.register(model=fitted, pyfunc_predict_fn="predict_proba", signature=_probabilities(frame))
    models.seal(version)
    models.promote(version)
    serves(host, models, version)
    rows = transactions(100_000, 6)[list(FEATURES)]
    expected = mlflow.pyfunc.load_model(f"models:/{models.name}/{version}").predict(rows)
    body = json.dumps({"dataframe_split": {"columns": list(rows.columns), "data": rows.to_numpy().tolist()}})
    answer = host.http.post(
        f"/models/{models.name}/invocations", content=body, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert answer.status_code == 200, answer.text[:500]
    assert np.array_equal(np.array(answer.json()["predictions"]), expected)


def _probabilities(frame: pandas.DataFrame) -> Any:
    from mlflow.models import infer_signature

    return infer_signature(frame[list(FEATURES)], np.zeros((1, 2)))


WRONG: list[tuple[dict[str, Any], int, str | None]] = [
    ({"dataframe_records": [{**ROW, "hour": "late"}]}, 422, "Row 0, column 'hour': a number or null is expected"),
    ({"dataframe_records": [{"amount": 1.0}]}, 422, "Row 0: missing columns 'hour', 'velocity'"),
    ({"dataframe_records": [{**ROW, "more": 1}]}, 200, None),
    ({"dataframe_records": [{**ROW, "hour": None}]}, 422, "Input X contains NaN"),
    ({"dataframe_split": {"columns": list(FEATURES), "data": []}}, 200, None),
    ({"dataframe_records": [ROW] * 100_001}, 413, "100,001 rows; at most 100,000"),
    ({"rows": []}, 400, "exactly one of"),
    ({"dataframe_records": [ROW], "params": {"x": 1}}, 422, "Unknown parameters: 'x'"),
]


def test_a_wrong_request_is_told_column_row_and_expectation(live: Models, host: Host) -> None:
    for body, status, said in WRONG:
        answer = host.http.post(f"/models/{live.name}/invocations", json=body, timeout=60)
        assert answer.status_code == status, (said, answer.text[:500])
        if said is not None:
            assert said in answer.json()["detail"]
            assert answer.headers["content-type"] == "application/problem+json"


def test_infinity_and_fifty_megabytes_are_a_clear_refusal(live: Models, host: Host) -> None:
    path, headers = f"/models/{live.name}/invocations", {"Content-Type": "application/json"}
    body = json.dumps({"dataframe_records": [{**ROW, "hour": float("inf")}]})
    answer = host.http.post(path, content=body, headers=headers)
    assert (answer.status_code, "infinity" in answer.json()["detail"]) == (422, True)
    large = b"amount,hour,velocity\n" + b"1.5,2.5,3.5\n" * 4_200_000
    refused = httpx.post(f"{host.http.base_url}{path}", content=large, headers={"Content-Type": "text/csv"}, timeout=60)
    assert refused.status_code == 413
    assert ask(host, live.name).status_code == 200
    assert host.http.post(path, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 400


def test_prompts_and_models_are_not_mistaken_for_each_other(live: Models, host: Host) -> None:
    answer = host.ask(live.name)
    assert answer.status_code == 404
    assert "is a model: ask it at POST /models/" in answer.json()["detail"]
    assert live.name not in {model["id"] for model in host.http.get("/v1/models").json()["data"]}


def test_flips_under_load_lose_no_request_and_mix_no_release(models: Models, host: Host) -> None:
    for value in (0, 1):
        version = models.register(model=constant(value))
        models.seal(version)
    models.promote(1)
    serves(host, models, 1)
    wrong: list[str] = []
    count, stop = [0], threading.Event()

    def load() -> None:
        with httpx.Client(base_url=host.http.base_url, timeout=30) as http:
            while not stop.is_set():
                answer = http.post(f"/models/{models.name}/invocations", json={"dataframe_records": [ROW]})
                expected = {f"{models.name}/1": [0], f"{models.name}/2": [1]}.get(answer.headers.get("X-Release", ""))
                if answer.status_code != 200 or answer.json()["predictions"] != expected:
                    wrong.append(answer.text)
                count[0] += 1

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(20):
        models.parts.registry.set_alias(models.name, "Production", 1 + (number + 1) % 2)
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert count[0] > 100


def test_a_rollback_serves_the_release_before(live: Models, host: Host) -> None:
    from mlflow_project.promotion.promote import rollback

    second = live.register(model=constant(1))
    live.seal(second)
    live.promote(second)
    serves(host, live, second)
    rollback(live.parts, live.name, "user:test", "it was worse")
    serves(host, live, 1)


def test_an_unsealed_model_is_refused(live: Models, host: Host) -> None:
    version = live.register()
    live.parts.registry.set_alias(live.name, "Production", version)
    assert "has no seal" in host.refusal_of(live.name)
    assert ask(host, live.name).headers["X-Release"] == f"{live.name}/1"


def test_a_sealed_file_changed_by_one_bit_in_the_store_is_loaded_nowhere(live: Models, host: Host) -> None:
    version = live.register(model=constant(1))
    live.seal(version)
    store, key = live.parts.store, file_key(live.release(version).digest, "model.skops")
    data = bytearray(store.get(store.settings.artifacts_bucket, key))
    data[len(data) // 2] ^= 1
    store.put(store.settings.artifacts_bucket, key, bytes(data))
    live.parts.registry.set_alias(live.name, "Production", version)
    assert "model.skops" in host.refusal_of(live.name)
    assert ask(host, live.name).headers["X-Release"] == f"{live.name}/1"


def test_a_file_changed_on_the_hosts_disk_is_loaded_nowhere_and_restored(live: Models, host: Host) -> None:
    file = host.folder / "models" / live.release(1).digest.removeprefix("sha256:") / "model.skops"
    data = bytearray(file.read_bytes())
    before = bytes(data)
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert ask(host, live.name).status_code == 200, "the loaded model is not touched"
    until(lambda: file.exists() and file.read_bytes() == before, "the follower restores the file")


def test_a_model_that_is_too_large_or_refuses_its_example_keeps_the_old_one(models: Models, new_host: Any) -> None:
    host: Host = new_host(SWITCHYARD_MAX_MODEL_MB="1").start()
    first = models.register()
    models.seal(first)
    models.promote(first)
    serves(host, models, first)
    rows = transactions(60_000, 1)
    nearest = KNeighborsClassifier(algorithm="brute").fit(rows[list(FEATURES)], rows["is_fraud"])
    large = models.register(model=nearest)
    models.seal(large)
    models.parts.registry.set_alias(models.name, "Production", large)
    assert "is too large" in host.refusal_of(models.name)
    assert ask(host, models.name).headers["X-Release"] == f"{models.name}/{first}"
