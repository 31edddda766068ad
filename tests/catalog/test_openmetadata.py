"""`switchyard catalog` against a stand-in for OpenMetadata's server, over a socket. OpenMetadata's own models of both
versions check each request and each answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from mlflow_project.adapters import run_datasets as datasets
from mlflow_project.adapters.delta_tables import storage_options
from mlflow_project.adapters.run_datasets import made_from, table
from mlflow_project.adapters.run_flows import Flow
from mlflow_project.adapters.run_log import RunLog, recorded_run
from mlflow_project.domain.run import Dataset
from tests.catalog.openmetadata import openmetadata
from tests.releases.conftest import Yard

TASK = "switchyard/prepare_knowledge.chunk/0190c1a4-0000-7000-8000-000000000001"


@pytest.fixture(scope="module", params=["2.0.7", pytest.param("1.9.14", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with openmetadata(request.param) as address:
        yield address


def get(server: str, path: str) -> dict[str, Any]:
    request = Request(f"{server}/v1/{path}", headers={"Authorization": "Bearer token"})
    with urlopen(request) as response:
        found: dict[str, Any] = json.load(response)
    return found


def catalog(yard: Yard, server: str, *words: str, **more: str) -> tuple[int, str]:
    return yard.run(
        "catalog", *words, SWITCHYARD_OPENMETADATA_URL=server, SWITCHYARD_OPENMETADATA_TOKEN="token", **more
    )


def parsed(said: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said[said.index("{") :])
    return found


def prepare(yard: Yard) -> str:
    """Two small tables, recorded as by a preparation that a task of Airflow started. Returns their schema's name."""
    folder = f"s3a://curated-data-bucket/{yard.name}"
    texts = {"document_id": ["a", "b"], "text": ["write to ann@example.com", "nothing"], "start": [0, None]}
    for name in ("docs", "docs_documents"):
        write_deltalake(f"{folder}/{name}", pa.table(texts), storage_options=storage_options())
    read = Dataset(*datasets.topic_address("raw-documents"), checks=[])
    failed = {"assertion": "rows can be read", "success": False, "description": "1 row was rejected"}
    documents = table(f"{folder}/docs_documents", 0, rows=2, checks=[failed])
    chunks = made_from(table(f"{folder}/docs", 0, rows=2), documents, {"text": ["text"]})
    started_by = {"parent": TASK, "root": TASK}
    with recorded_run("prepare", log=RunLog(yard.parts.store), started_by=started_by) as running:
        running.learn(Flow([read, documents], [documents, chunks]))
    return f"switchyard.curated-data-bucket.{yard.name}"


def test_a_push_writes_what_is_true_and_a_second_one_writes_nothing(yard: Yard, server: str) -> None:
    yard.sealed(temperature=0.5)
    schema = prepare(yard)
    code, said = catalog(yard, server, "check", "--json")
    assert code == 4, said
    code, said = catalog(yard, server, "push", "--json")
    assert code == 0, said
    first = len(get(server, "test/puts")["puts"])
    assert first > 15
    assert catalog(yard, server, "check")[0] == 0
    assert parsed(catalog(yard, server, "push", "--json")[1])["drifts"] == []
    assert len(get(server, "test/puts")["puts"]) == first

    chunks = get(server, f"tables/name/{schema}.docs")
    assert [(each["name"], each["dataType"]) for each in chunks["columns"]] == [
        ("document_id", "STRING"),
        ("text", "STRING"),
        ("start", "BIGINT"),
    ]
    assert [tag["tagFQN"] for tag in chunks["columns"][1]["tags"]] == ["SwitchyardPersonalData.email"]
    assert "tags" not in chunks["columns"][0]
    assert (chunks["profile"]["rowCount"], chunks["profile"]["columnCount"]) == (2, 3)
    documents = get(server, f"tables/name/{schema}.docs_documents")
    edge = get(server, f"lineage/getLineageEdge/{documents['id']}/{chunks['id']}")
    wanted = {"fromColumns": [f"{schema}.docs_documents.text"], "toColumn": f"{schema}.docs.text"}
    assert edge["columnsLineage"] == [wanted]
    case = get(server, f"dataQuality/testCases/name/{schema}.docs_documents.rows%20can%20be%20read")
    result = case["testCaseResult"]
    assert (result["testCaseStatus"], result["result"]) == ("Failed", "1 row was rejected")
    dag = get(server, "pipelines/name/switchyard.prepare_knowledge")
    assert [task["name"] for task in dag["tasks"]] == ["chunk"]
    assert dag["pipelineStatus"]["executionStatus"] == "Successful"
    assert get(server, "topics/name/switchyard.raw-documents")["partitions"] == 4
    assert "slice of a document" in get(server, "glossaryTerms/name/Switchyard.chunk")["description"]


@pytest.mark.long
def test_a_prompt_is_an_ai_entity_where_the_server_has_them_and_a_model_elsewhere(yard: Yard, server: str) -> None:
    version = yard.sealed("Say: {{question}}", temperature=0.5)
    code, said = catalog(yard, server, "push")
    assert code == 0, said
    if get(server, "system/version")["version"].startswith("2."):
        prompt = get(server, f"promptTemplates/name/{yard.name}")
        assert (prompt["templateContent"], prompt["templateVersion"]) == ("Say: {{question}}", str(version))
        application = get(server, f"aiApplications/name/switchyard-{yard.name}")
        assert application["promptTemplates"][0]["id"] == prompt["id"]
    else:
        prompt = get(server, f"mlmodels/name/switchyard.{yard.name}")
        assert prompt["algorithm"] == "prompt"
        assert {"name": "temperature", "value": "0.5"} in prompt["mlHyperParameters"]


@pytest.mark.long
def test_drift_is_named_with_both_sides(yard: Yard, server: str) -> None:
    schema = prepare(yard)
    code, said = catalog(yard, server, "push")
    assert code == 0, said
    name = f"{schema}.docs"
    body = {"name": "docs", "databaseSchema": schema, "columns": [{"name": "text", "dataType": "INT"}]}
    request = Request(f"{server}/v1/tables", json.dumps(body).encode(), {"Authorization": "Bearer token"}, method="PUT")
    urlopen(request).close()
    code, said = catalog(yard, server, "check", "--json")
    assert code == 4
    drifts = [each for each in parsed(said)["drifts"] if each["of"] == name]
    assert {"of": name, "what": "columns", "says": ["text"], "true": ["document_id", "text", "start"]} in drifts


def test_mistakes_end_with_a_sentence_and_their_exit_code(yard: Yard, server: str, tmp_path: Path) -> None:
    assert yard.run("catalog", "push")[0] == 2
    assert catalog(yard, "http://127.0.0.1:9/api", "push")[0] == 3
    code, said = yard.run("catalog", "push", SWITCHYARD_OPENMETADATA_URL=server, SWITCHYARD_OPENMETADATA_TOKEN="wrong")
    assert (code, "does not accept" in said) == (4, True)
