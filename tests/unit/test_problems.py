"""What a caller is told of a defect of ours."""

from __future__ import annotations

from starlette.testclient import TestClient

from mlflow_project.settings import ProviderSettings, SealSettings, ServerSettings
from serving.app import build
from serving.edge.request_context import RequestContext


def test_the_answer_to_a_defect_has_the_requests_id_and_no_trace() -> None:
    app = build(ServerSettings(), SealSettings(), ProviderSettings())
    client = TestClient(RequestContext(app), raise_server_exceptions=False)  # without its lifespan no route can answer
    answer = client.get("/releases", headers={"X-Request-Id": "abc-123"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] == "abc-123"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
