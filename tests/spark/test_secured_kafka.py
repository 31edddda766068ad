"""The same code runs against a Kafka that asks for TLS and SASL/SCRAM: service, commands and Spark job, by settings."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from pyspark.sql import SparkSession

from mlflow_project.adapters.kafka import Cluster
from mlflow_project.errors import Unavailable
from mlflow_project.settings import KafkaSettings, load
from mlflow_project.telemetry.meters import Meters
from spark_jobs import tables
from spark_jobs.stream_ingest import arguments, ingest
from stack.ingest.kafka import fetch_all
from stack.ingest.processes import down, up
from stack.ports import free_port
from tests.conftest import ROOT, RunningStack
from tests.ingestion.conftest import running_service

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
USER, PASSWORD = "ingestion", 'p"a\\ss word'


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for this machine: (the authority's file, key and certificate together)."""
    key, certificate, both = (folder / name for name in ("key.pem", "ca.pem", "both.pem"))
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext {names}".split()
    subprocess.run(["openssl", *words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return certificate, both


@pytest.fixture
def secured(minio: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A broker that takes clients by TLS and SCRAM only, beside the session's stack; settings that reach it.

    The plain listener is the broker's own, and makes the user.
    """
    state, port = Path(tempfile.mkdtemp(prefix="switchyard-tls-")), free_port()
    authority, both = _certificate(tmp_path)
    plain, controller = free_port(), free_port()
    monkeypatch.setenv("SWITCHYARD_KAFKA_PORT", str(plain))
    monkeypatch.setenv("SWITCHYARD_KAFKA_CONTROLLER_PORT", str(controller))
    monkeypatch.setenv("SWITCHYARD_INGEST_PORT", str(free_port()))
    more = [
        f"listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{port}",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name=PLAINTEXT",
        "sasl.enabled.mechanisms=SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config="
        "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={both}",
    ]
    fetch_all()
    try:
        up(state, ("kafka",), say=lambda _: None, more=more)
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{plain}"})
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        made = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, how, PASSWORD.encode())])
        made[USER].result(20)
        settings = {"BROKERS": f"localhost:{port}", "SECURITY": "SASL_SSL", "USER": USER, "PASSWORD": PASSWORD}
        for name, value in {**settings, "CA_FILE": str(authority)}.items():
            monkeypatch.setenv(f"SWITCHYARD_KAFKA_{name}", value)
        yield state
    finally:
        down(state)
        shutil.rmtree(state, ignore_errors=True)


def test_records_go_from_http_to_delta_through_tls_and_scram(
    spark: SparkSession, secured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switchyard = Path(sys.executable).with_name("switchyard")
    done = subprocess.run([switchyard, "topics", "apply", "--json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {row["outcome"] for row in json.loads(done.stdout)} <= {"created", "unchanged"}
    with running_service(RunningStack(secured, {}), tmp_path) as service:
        answer = httpx.post(f"{service.url}/ingest/documents", json={"id": "secret", "text": "a"}, timeout=30)
        assert (answer.status_code, answer.json().get("spooled")) == (202, None), answer.text
    place = f"s3a://raw-data-bucket/test-{uuid.uuid4().hex[:8]}"
    options = arguments(["raw-documents", "--once", "--tables", place])
    assert ingest(spark, options, Meters())["raw-documents"]["written"] == 1
    [row] = tables.read(spark, f"{place}/raw-documents").collect()
    assert (row.key, row.request_id) == ("secret", answer.headers["x-request-id"])
    monkeypatch.setenv("SWITCHYARD_KAFKA_PASSWORD", "wrong")
    with pytest.raises(Unavailable, match=r"localhost|authentication|SASL"):
        Cluster(load(KafkaSettings)).topics()
