"""A document that is posted over HTTP is answered by /llm-query/, and Airflow does everything in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mlflow_project.settings import ClientSettings, load
from tests.conftest import ROOT, RunningStack
from tests.dags.driving import RunningAirflow, switchyard, until
from tests.ingestion.conftest import running_service

CORPUS = "s3a://raw-data-bucket/articles/raw_docs.json"
TABLE = "s3a://curated-data-bucket/llm_prepared_docs"
QUESTION = "What is the code of the bicycle store in the north pavilion?"

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


def _answer() -> str:
    answer = httpx.post(f"{load(ClientSettings).api_url}/llm-query/", json={"text_input": QUESTION}, timeout=60)
    return answer.text if answer.status_code == 200 else ""


def test_a_posted_document_is_answered_when_the_gate_has_accepted_its_knowledge_base(
    kafka: RunningStack, airflow: RunningAirflow, tmp_path: Path
) -> None:
    """Only the tick of the schedule is the test's own: it starts the DAG `ingest`, which would run within 10 minutes.

    The corpus was prepared before, without an event, so that nothing else starts a release.
    """
    subprocess.run([sys.executable, "-m", "demo.corpus", "docs/guide", CORPUS], cwd=ROOT, check=True)
    switchyard("prepare", CORPUS, TABLE)
    document = {"id": "pavilion", "text": "The code of the bicycle store in the north pavilion is quokka-7731. " * 2}
    with running_service(kafka, tmp_path) as service:
        assert httpx.post(f"{service.url}/ingest/documents", json=document).status_code == 202
    assert "quokka" not in _answer()
    run = airflow.trigger("ingest")
    assert airflow.ended("ingest", run) == "success", airflow.story("ingest", run)
    assert airflow.result("ingest", run, "announce") == 1
    prepared = until(lambda: airflow.runs("prepare_knowledge", "asset_triggered"), 60, lambda: "nothing is prepared")[0]
    assert airflow.ended("prepare_knowledge", prepared) == "success", airflow.story("prepare_knowledge", prepared)
    until(lambda: "quokka-7731" in _answer(), 600, lambda: str(airflow.runs("evaluate_and_promote", "asset_triggered")))
    assert switchyard("history", "qa")[0]["type"] == "seal", (
        "the gate accepted the release that pins the new knowledge base"
    )
