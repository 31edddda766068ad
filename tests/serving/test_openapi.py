"""Whatever is asked of the documented routes, the server never fails by itself and never leaves its documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.serving.conftest import Host
from tests.serving.snapshots import Snapshots, host, released

__all__ = ["host", "released"]


def test_no_generated_request_makes_the_server_fail(host: Host, released: Snapshots, tmp_path: Path) -> None:
    released.seal("qa", "for whatever is asked")
    released.point("qa", 1)
    host.serves("qa", 1)
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"http://127.0.0.1:{host.port}/openapi.json"]
    checks = "not_a_server_error,content_type_conformance,response_schema_conformance"
    options = ["--max-examples", "15", "--phases", "examples,fuzzing", "--checks", checks]
    ended = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stdout


def test_the_first_page_and_the_documentation_are_served_without_a_key(host: Host) -> None:
    for path in ("/", "/docs", "/docs/swagger-ui-bundle.js", "/openapi.json"):
        assert host.http.get(path, headers={"Accept": "text/html", "Authorization": ""}).status_code == 200, path


def test_every_body_of_the_documentation_has_an_example(host: Host) -> None:
    schema = host.http.get("/openapi.json").json()
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for path in schema["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
    ]
    named = schema["components"]["schemas"]
    described = [named[body["$ref"].rsplit("/", 1)[1]] if "$ref" in body else body for body in bodies]
    assert [body for body in described if not body.get("examples")] == []
    assert schema["paths"]["/llm-query/"]["post"]["tags"] == ["AI/LLM"]
