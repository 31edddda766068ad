"""Real traffic for the queries to find: questions that are answered, judged, refused, streamed, masked and turned away,
through a release with a knowledge base, a provider that fails now and then and a key that may ask for little; a flip, a
job, a verdict and a look for drift."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import index_builder, index_store
from mlflow_project.domain.release import KnowledgeBase, Prices, ProviderChoice, Release, Retrieval
from mlflow_project.settings import StoreSettings, load
from mlflow_project.telemetry.sending import exporter
from tests.conftest import ROOT
from tests.observability.conftest import Observed
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import GEMINI_MODEL, Simulated
from tests.serving.conftest import Host, Releases

NAME = "observed"
TEXT = "A gate decides, on evidence, whether an alias may move. A seal says that the gate accepted a release."
SAID = Behaviour(TEXT, thought_tokens=3, cached_tokens=2)
UNKNOWN = Behaviour("I do not know.")


def knowledge_base(folder: Path) -> KnowledgeBase:
    """A knowledge base of one chunk, with its index in the object store."""
    row = {"chunk_id": "c1", "document_id": "gate", "title": "Gate", "text": TEXT, "start": 0, "end": len(TEXT)}
    index_builder.build(folder, [({**row, "filters": {}}, None)])
    manifest = {"table": "s3a://curated-data-bucket/observed", "delta_version": 0, "specification": {}, "counts": {}}
    name = index_store.publish(ObjectStore(load(StoreSettings)), folder, manifest)
    return KnowledgeBase(manifest["table"], 0, name)  # type: ignore[arg-type]


def seal(released: Releases, base: KnowledgeBase, system: str) -> Release:
    """A sealed release that retrieves, costs money and is tried once."""
    choice = ProviderChoice("gemini", GEMINI_MODEL, {"tries": 1})
    prices = Prices("2026-11", 0.1, 0.4)
    pinned = {"provider": choice, "prices": prices, "knowledge_base": base, "retrieval": Retrieval(1, 1.0, 0.0)}
    return released.seal(NAME, system, **pinned)


def bearer(key: str) -> Mapping[str, str]:
    """What a caller sends with each request."""
    return {"Authorization": f"Bearer {key}"}


def ask_until(enough: threading.Event, host: Host, provider: Simulated, limited: str) -> None:
    """All kinds of requests, again and again; `limited` is a key that may ask twice a minute."""
    while not enough.wait(0.1):
        for question in ("What does a gate decide?", "zzzz qqqq", "My address is anna@example.com, what is a seal?"):
            provider.script.always = random.choice([SAID, SAID, UNKNOWN])
            if random.random() < 0.2:
                provider.script.next.append(Behaviour(status=400))
            answer = host.ask(NAME, question)
            if answer.status_code == 200:
                host.http.post("/feedback", json={"request_id": answer.headers["X-Request-Id"], "score": 1})
        host.ask(NAME, **bearer(limited))
        streamed = {"model": NAME, "stream": True, "messages": [{"role": "user", "content": "What is a seal?"}]}
        host.http.post("/v1/chat/completions", json=streamed)
        host.http.post("/llm-query/", content=b" " * 1_100_000)


def flip_by_command(host: Host, observed: Observed, version: int) -> None:
    """`switchyard promote`, measured as every command is."""
    switchyard = Path(sys.executable).parent / "switchyard"
    command = [switchyard, "promote", NAME, "--version", str(version), "--to", "Staging"]
    subprocess.run(command, env={**host.env, "OTEL_EXPORTER_OTLP_ENDPOINT": observed.collector}, check=True)


def look_for_drift(host: Host, observed: Observed, asked_since: float) -> None:
    """`switchyard drift`, when two minutes have been answered: the first is the reference, the last is judged."""
    time.sleep(max(0.0, asked_since + 125 - time.monotonic()))
    switchyard = Path(sys.executable).parent / "switchyard"
    env = {**host.env, "OTEL_EXPORTER_OTLP_ENDPOINT": observed.collector}
    done = subprocess.run(
        [switchyard, "drift", NAME, "--window", "1m", "--json"], env=env, check=True, stdout=subprocess.PIPE
    )
    (release,) = json.loads(done.stdout)["releases"]
    assert release["found"], release["explanation"]


def prepare_by_job(host: Host, observed: Observed, folder: Path) -> None:
    """A real Spark job on three records, one of them broken."""
    raw = folder / "raw.jsonl"
    lines = [json.dumps({"id": str(number), "text": f"{TEXT} {number}"}) for number in range(2)]
    raw.write_text("\n".join([*lines, "no json"]), encoding="utf-8")
    job = [Path(sys.executable).parent / "spark-submit", ROOT / "spark_jobs" / "llm_data_prep.py", raw, folder / "out"]
    job += ["--max-rejected", "0.5"]
    env = {**host.env, "OTEL_EXPORTER_OTLP_ENDPOINT": observed.collector}
    env |= {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_CONF_DIR": str(Path(env["SWITCHYARD_STATE"]) / "spark/conf"),
    }
    subprocess.run([str(word) for word in job], env=env, check=True)


def send_this_process(released: Releases, observed: Observed) -> None:
    """The verdicts that this process recorded, as a command sends them at its end."""
    assert exporter(observed.collector, "switchyard-command")(released.parts.meters.now())


def read_rules(observed: Observed) -> list[str]:
    """The names of the alerts that Prometheus has loaded."""
    groups = httpx.get(f"{observed.prometheus}/api/v1/rules").json()["data"]["groups"]
    return [rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
