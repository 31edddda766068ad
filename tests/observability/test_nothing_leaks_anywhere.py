"""Planted secrets through a whole site: questions, answers, streams, errors, forms that are wrong, ids, aliases and
paths, judgements, reasons, an evaluation, drift, a review. Then everything that the site has written is searched: state
folder, logs, MLflow's database, every version of every object, Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.settings import StoreSettings, load
from tests.conftest import ROOT, RunningStack
from tests.observability import evidence
from tests.observability.conftest import Observed
from tests.observability.planted import KINDS, SITE_KINDS, SITE_PATTERN, planted
from tests.observability.test_nothing_leaks import RECORDED
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import GEMINI_MODEL, Simulated
from tests.serving.conftest import Host, Releases, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

NAME = "whispering"
AT_ONCE = 50
COUNT = 250
ALL_KINDS = [*KINDS, *SITE_KINDS]


@pytest.fixture(scope="module")
def written(
    stack: RunningStack,
    observed: Observed,
    released: Releases,
    provider_process: Simulated,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder that holds all that was written."""
    folder = tmp_path_factory.mktemp("whispering")
    for seal in range(2):
        version = released.seal(NAME, f"system {seal}", provider=ProviderChoice("gemini", GEMINI_MODEL, {"tries": 1}))
    host = Host(
        folder / "host",
        LLM_API_URL=provider_process.gemini_url,
        OTEL_EXPORTER_OTLP_ENDPOINT=observed.collector,
        SWITCHYARD_TRACE_EXPERIMENT="0",
        SWITCHYARD_EVENTS_PER_SECOND="1000",
        SWITCHYARD_EVENT_SHIP_MS="1000",
        SWITCHYARD_MASK_PATTERNS=json.dumps(SITE_PATTERN),
        **RECORDED,
    ).start()
    try:
        for number in range(1, version.version + 1):
            released.point(NAME, number)
            host.serves(NAME, number)
        for kind in ALL_KINDS:
            ask_with(host, provider_process, planted(kind, COUNT))
        work_with(host, folder, [planted(kind, AT_ONCE) for kind in ALL_KINDS], provider_process)
    finally:
        host.stop()
    into = tmp_path_factory.mktemp("evidence")
    evidence.of_folder(folder, into, without=["cases"])
    evidence.of_folder(stack.state, into, without=["minio", "evaluation/answers"])
    evidence.of_store(into)
    evidence.of_prometheus(observed.prometheus, into)
    return into


def ask_with(host: Host, provider: Simulated, secrets: list[str]) -> None:
    """Every way in and out of the server that a text can take."""
    for start in range(0, len(secrets), AT_ONCE):
        some = secrets[start : start + AT_ONCE]
        text = "I am told: " + " ; and then: ".join(some)
        provider.script.next.append(Behaviour(text))
        answer = host.ask(NAME, text)
        assert answer.status_code == 200, answer.text
        provider.script.next.append(Behaviour(status=400, message=text))
        host.ask(NAME, json.dumps({"inside": text}))
        provider.script.next.append(Behaviour(text, pieces=len(text) // 7))
        streamed = {"model": NAME, "stream": True, "messages": [{"role": "user", "content": text}]}
        assert "[DONE]" in host.http.post("/v1/chat/completions", json=streamed).text
        said = {"request_id": answer.headers["X-Request-Id"], "score": 1, "comment": text, "corrected_answer": text}
        assert host.http.post("/feedback", json={**said, "label": some[0]}).status_code == 200
        ask_wrongly(host, text, some[0])


def ask_wrongly(host: Host, text: str, secret: str) -> None:
    """Secrets where none belongs: names of fields, variables, headers, addresses."""
    path, plain = f"/prompts/{NAME}/invocations", secret.encode("ascii", "ignore").decode().replace("\n", "").strip()
    host.http.post(path, json={"variables": {secret: text, "question": 1}})
    host.http.post(path, json={"variables": text, secret: text})
    host.http.post(path, content=text.encode())
    host.http.post("/v1/chat/completions", json={"model": secret, "messages": text})
    host.http.post("/llm-query/", json={"prompt_name": secret, "question": text})
    host.http.post(f"/prompts/{quote(secret, safe='')}/invocations?key={quote(secret)}", json={})
    host.http.get(f"/{quote(secret, safe='')}")
    for header in ("X-Request-Id", "X-Alias", "Authorization", "traceparent", "tracestate", "User-Agent", "Cookie"):
        host.http.post(path, json={"variables": {"question": "why?"}}, headers={header: plain})


def work_with(host: Host, folder: Path, secrets: list[list[str]], provider: Simulated) -> None:
    """What people and jobs do afterwards: evaluate, judge, look for drift, flip with a reason."""
    env = host.env
    texts = ["I am told: " + " ; and then: ".join(some) for some in secrets]
    provider.script.always = Behaviour(texts[0])
    cases = folder / "cases" / "cases.jsonl"
    cases.parent.mkdir()
    rows = [{"id": f"c{n}", "question": text, "expected": [text]} for n, text in enumerate(texts)]
    cases.write_text("\n".join(json.dumps(row) for row in rows))
    switchyard(env, "evaluate", NAME, "--version", "1", "--cases", str(cases))
    until(lambda: shipped() >= len(ALL_KINDS) * COUNT // AT_ONCE * 3, "the events are in the object store", 60)
    switchyard(env, "drift", NAME, "--window", "1h", "--pin")
    sample = folder / "review.jsonl"
    switchyard(env, "review", "--out", str(sample), "--no-collect")
    lines = [
        json.loads(line) | {"judgement": "bad", "comment": text, "corrected_answer": text}
        for line, text in zip(sample.read_text().splitlines(), texts, strict=False)
    ]
    (cases.parent / "judged.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    switchyard(env, "review", "--judged", str(cases.parent / "judged.jsonl"))
    switchyard(env, "cases", "from-feedback", "--out", str(folder / "from-feedback"))
    switchyard(env, "rollback", NAME, "--to", "1", "--reason", " ".join(texts))
    switchyard(env, "promote", NAME, "--version", "2", "--to", "Staging", "--reason", " ".join(texts[::-1]))


def switchyard(env: Mapping[str, str], *words: str, accept: tuple[int, ...] = (0,)) -> None:
    """A command, whose output is evidence too."""
    program = Path(sys.executable).parent / "switchyard"
    with (Path(env["SWITCHYARD_SERVING_FOLDER"]) / "commands.log").open("ab") as log:
        done = subprocess.run([program, *words], cwd=ROOT, env=env, stdout=log, stderr=log)
    assert done.returncode in accept, (words[0], Path(log.name).read_text()[-2000:])


def shipped() -> int:
    """How many answers' events the object store holds of this prompt."""
    store = ObjectStore(load(StoreSettings))
    bucket = store.settings.raw_bucket
    lines = (line for one in store.list(bucket, "events/") for line in store.get(bucket, one.key).splitlines())
    return sum((event["name"], event["kind"]) == (NAME, "answer") for event in map(json.loads, lines))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_no_planted_secret_stands_in_anything_that_was_written(written: Path, kind: str) -> None:
    assert evidence.found(planted(kind, COUNT), written) == set()


@pytest.mark.parametrize(
    "where", ["server.log", "mlflow.db", "ledger-bucket", "events/", "live_answers/", "live_feedback/", "/artifacts/"]
)
def test_what_was_planted_did_come_there_masked(written: Path, where: str) -> None:
    """Named by a file's name, or by an object's key in its first line."""
    texts = [(path.name, path.read_text(errors="replace")) for path in written.iterdir()]
    there = [text for name, text in texts if where in name or where in text.split("\n", 1)[0]]
    assert any("I am told: [" in text for text in there)


def test_answers_that_an_evaluation_keeps_for_itself_are_their_owners_alone(written: Path, stack: RunningStack) -> None:
    kept = list((stack.state / "evaluation" / "answers").iterdir())
    assert kept
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}


def test_a_secret_that_is_not_masked_would_be_found(written: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        secret = planted(kind, 1)[0]
        for number, spelt in enumerate((secret, json.dumps({"a": secret}), json.dumps(json.dumps([secret])))):
            folder = tmp_path / f"{kind}-{number}"
            folder.mkdir()
            (folder / "file").write_text(f"x {spelt} y")
            assert evidence.found([secret], folder), (kind, spelt)
