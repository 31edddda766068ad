"""The server answers with what is sealed and what the alias says, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from mlflow_project.snapshot.folder import read_file
from tests.serving.conftest import Host, Releases, until


def test_the_next_answer_after_a_flip_is_the_new_release(host: Host, released: Releases) -> None:
    first, second = released.seal("flip", "one"), released.seal("flip", "two")
    released.point("flip", first.version)
    host.serves("flip", 1)
    released.point("flip", second.version)
    host.serves("flip", 2)
    answer = host.ask("flip")
    assert answer.headers["X-Release-Digest"] == second.digest
    assert answer.json()["release"] == "flip/2"
    assert "X-Release-Stale" not in answer.headers


def test_an_unsealed_version_is_refused_and_the_last_known_good_stays(host: Host, released: Releases) -> None:
    released.seal("unsealed", "one")
    released.point("unsealed", 1)
    host.serves("unsealed", 1)
    released.register("unsealed", "two")
    released.point("unsealed", 2)
    assert "has no seal" in host.refusal_of("unsealed")
    assert host.ask("unsealed").headers["X-Release"] == "unsealed/1"


def test_a_version_rewritten_in_mlflow_is_refused_and_named(host: Host, released: Releases) -> None:
    released.seal("rewritten", "one")
    released.point("rewritten", 1)
    host.serves("rewritten", 1)
    released.seal("rewritten", "two")
    released.registry.set_version_tag("rewritten", 2, "switchyard.parameters", '{"sentences":9}')
    released.point("rewritten", 2)
    # A look that began before the seal was recorded says "no seal" for a moment.
    said = "The content of rewritten/2 in MLflow is not what was sealed"
    until(lambda: said in host.refusal_of("rewritten"), "the rewritten content is named")
    assert host.ask("rewritten").headers["X-Release"] == "rewritten/1"


def test_a_live_version_rewritten_in_mlflow_keeps_serving_and_is_reported(host: Host, released: Releases) -> None:
    released.seal("alarm", "one")
    released.point("alarm", 1)
    host.serves("alarm", 1)
    released.registry.set_version_tag("alarm", 1, "switchyard.parameters", '{"sentences":9}')
    assert "The content of alarm/1" in host.refusal_of("alarm")
    assert host.ask("alarm").headers["X-Release"] == "alarm/1"


def test_a_deleted_alias_leaves_the_last_known_good(host: Host, released: Releases) -> None:
    released.seal("deleted", "one")
    released.point("deleted", 1)
    host.serves("deleted", 1)
    released.registry.delete_alias("deleted", "Production")
    assert "gone from MLflow" in host.refusal_of("deleted")
    assert host.ask("deleted").status_code == 200


def test_another_alias_answers_by_header(host: Host, released: Releases) -> None:
    released.seal("aliases", "one")
    released.seal("aliases", "two")
    released.point("aliases", 1)
    released.point("aliases", 2, "Staging")
    host.serves("aliases", 1)
    until(lambda: host.ask("aliases", **{"X-Alias": "Staging"}).status_code == 200, "Staging answers")
    assert host.ask("aliases", **{"X-Alias": "Staging"}).headers["X-Release"] == "aliases/2"
    assert host.ask("aliases", **{"X-Alias": "staging"}).status_code == 404


def test_a_server_started_while_registry_and_store_are_down_serves_from_disk(
    released: Releases, new_host: Callable[..., Host]
) -> None:
    released.seal("offline", "one")
    released.point("offline", 1)
    host = new_host().start()
    host.serves("offline", 1)
    host.stop()
    dead = {"SWITCHYARD_MLFLOW_URI": "http://127.0.0.1:9", "SWITCHYARD_S3_ENDPOINT": "http://127.0.0.1:9"}
    host.env |= dead
    host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
    host.start()
    answer = host.ask("offline")
    assert answer.headers["X-Release"] == "offline/1"
    until(lambda: float(host.ask("offline").headers.get("X-Release-Stale", 0)) > 0, "the answer says it is stale")
    assert host.releases()["registry"]["reachable"] is False


def test_a_damaged_snapshot_falls_back_to_the_one_before(released: Releases, new_host: Callable[..., Host]) -> None:
    released.seal("damaged", "one")
    released.seal("damaged", "two")
    released.point("damaged", 1)
    host = new_host().start()
    host.serves("damaged", 1)
    released.point("damaged", 2)
    host.serves("damaged", 2)
    host.stop()
    snapshot = host.folder / "snapshot.json"
    snapshot.write_bytes(snapshot.read_bytes().replace(b'"content":"two"', b'"content":"bad"'))
    host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
    host.start_server()
    good = next(
        live
        for live in read_file(host.folder / "snapshot.previous.json")["live"]
        if live["manifest"]["name"] == "damaged"
    )
    assert host.ask("damaged").headers["X-Release"] == f"damaged/{good['version']}"
    assert host.ask("damaged").headers["X-Release-Digest"] == good["digest"]
    assert any("was changed" in no["reason"] for no in host.releases()["refused"])


def test_nothing_served_yet_says_what_to_do(registry_server: object, new_host: Callable[..., Host]) -> None:
    host = new_host(SWITCHYARD_LEDGER_BUCKET="coordination-bucket").start()
    answer = host.http.post("/llm-query/", json={"text_input": "why?"})
    assert answer.status_code == 503
    assert "switchyard promote qa" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "1"
