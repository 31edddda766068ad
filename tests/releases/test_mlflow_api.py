"""MLflow's errors as every adapter sees them: from the real server, and from a server that is not MLflow."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest

from mlflow_project.adapters.assessments import Assessments
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.mlflow_api import MlflowApi, MlflowRefused
from mlflow_project.adapters.registry import Registry
from mlflow_project.errors import NotFound, Unavailable, WorkspaceError
from mlflow_project.settings import RegistrySettings, load


@pytest.fixture
def settings(registry_server: Any) -> RegistrySettings:
    return load(RegistrySettings)


@contextmanager
def something_else(status: int, body: bytes) -> Iterator[RegistrySettings]:
    """A server that is not MLflow and answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield RegistrySettings(mlflow_uri=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_what_mlflow_does_not_know_is_not_found(settings: RegistrySettings) -> None:
    experiments = Experiments(settings)
    run = experiments.start(experiments.experiment(f"api-{uuid4().hex[:8]}"), "a run", {})
    experiments.write(run, "kept.json", b"{}")
    assert experiments.read(run, "kept.json") == b"{}"
    for ask in (
        lambda: experiments.get("0" * 32),
        lambda: Registry(settings).version("nobody-knows-me", 1),
        lambda: Registry(settings).by_alias("nobody-knows-me", "Production"),
        lambda: Assessments(settings).of("tr-" + "0" * 32),
    ):
        with pytest.raises(NotFound):
            ask()


def test_a_file_that_a_run_does_not_have_is_an_error_of_mlflow_s(settings: RegistrySettings) -> None:
    """MLflow answers 500 where its store answers 404, so nothing tells the two apart."""
    experiments = Experiments(settings)
    run = experiments.start(experiments.experiment(f"api-{uuid4().hex[:8]}"), "a run", {})
    with pytest.raises(Unavailable, match="Not Found"):
        experiments.read(run, "nothing.json")


def test_what_mlflow_refuses_keeps_its_code(settings: RegistrySettings) -> None:
    with pytest.raises(MlflowRefused, match="refuses") as refused:
        MlflowApi(settings).get("2.0/mlflow/runs/get", {})
    assert refused.value.code == "INVALID_PARAMETER_VALUE"
    name = f"api-{uuid4().hex[:8]}"
    body = {"name": name}
    MlflowApi(settings).send("POST", "2.0/mlflow/experiments/create", body)
    with pytest.raises(MlflowRefused) as taken:
        MlflowApi(settings).send("POST", "2.0/mlflow/experiments/create", body)
    assert taken.value.exists_already


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"<html>no such page</html>"), (200, b"<html>hello</html>"), (200, b"[]"), (502, b"")]
)
def test_an_answer_that_is_not_mlflow_s_is_an_outage_and_never_means_that_something_is_missing(
    status: int, body: bytes
) -> None:
    with something_else(status, body) as settings:
        for ask in (
            lambda: Registry(settings).entry("qa"),
            lambda: Registry(settings).by_alias("qa", "Production"),
            lambda: Experiments(settings).experiment("evaluate-qa"),
            lambda: Assessments(settings).of("tr-1"),
        ):
            with pytest.raises(Unavailable):
                ask()


def test_a_wrong_address_is_an_outage_in_words() -> None:
    for uri in ("http://127.0.0.1:9", "http://no.such.host.invalid:5000"):
        with pytest.raises(WorkspaceError, match="does not answer"):
            Registry(RegistrySettings(mlflow_uri=uri)).entry("qa")
