"""What OpenMetadata should have, as requests of its REST API. Pure.

In: `Facts`, and the server's version. Out: `Entity`s, each after those that it names; and `Note`s, which belong to an
entity and are written after it: profiles, states of pipelines, results of checks, lineage. OpenMetadata 2 has entities
for prompts and language models. On a 1.x server a prompt is an ML model with the algorithm `prompt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow_project.catalog.openmetadata.facts import DagFacts, Facts, ReleaseFacts, TableFacts
from mlflow_project.domain.run import Dataset

SERVICE = "switchyard"
PERSONAL = "SwitchyardPersonalData"
CHECK = "switchyardExpectation"
REFERENCE = "fullyQualifiedName of"
"""A key that no request has: its value is the name of an entity, whose id is to be put there."""
_TYPES = {
    "string": "STRING",
    "integer": "INT",
    "long": "BIGINT",
    "short": "SMALLINT",
    "byte": "TINYINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "binary": "BINARY",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp_ntz": "TIMESTAMP",
    "struct": "STRUCT",
    "array": "ARRAY",
    "map": "MAP",
}
_SIDES = {"openai": "OpenAI", "anthropic": "Anthropic"}


@dataclass(frozen=True)
class Entity:
    """One entity: its route, its fully qualified name, its type, and the body of the request that creates it.

    `owner` is the name of a user, who owns the entity if the server knows him.
    """

    route: str
    name: str
    type: str
    body: Mapping[str, Any]
    owner: str = ""


@dataclass(frozen=True)
class Note:
    """Something said of entities. `what` is `profile`, `state`, `result` or `edge`; `of` has types and names."""

    what: str
    of: Sequence[tuple[str, str]]
    body: Mapping[str, Any]


def fqn(*names: str) -> str:
    """A fully qualified name. Names with a dot are quoted."""
    return ".".join(f'"{name}"' if "." in name else name for name in names)


def entities_of(facts: Facts, major: int) -> list[Entity]:
    """Every entity, in the order in which they are written."""
    return [
        *_services(facts, major),
        *_personal_tags(facts),
        *_tables(facts.tables),
        *_topics(facts),
        *_pipelines(facts.dags),
        *(made for each in facts.releases for made in _release(each, major)),
        *_words(facts.words),
        *_checks(facts.tables),
    ]


def notes_of(facts: Facts, major: int) -> list[Note]:
    """Everything that is said of entities."""
    known = {
        (table.dataset.namespace, table.dataset.name): ("table", table_name(table.dataset)) for table in facts.tables
    }
    topics = {topic: ("topic", fqn(SERVICE, topic)) for topic in facts.topics}
    releases = {(each.release.manifest.kind, each.release.name): _release_name(each, major) for each in facts.releases}
    return [
        *(_profile(table) for table in facts.tables),
        *(_state(dag) for dag in facts.dags),
        *(note for table in facts.tables for note in _results(table)),
        *_edges(facts.edges, known, topics, releases),
    ]


def table_name(dataset: Dataset) -> str:
    """The fully qualified name of a table: service, bucket, folder, table."""
    bucket, folder, name = _parts(dataset)
    return fqn(SERVICE, bucket, folder, name)


def _parts(dataset: Dataset) -> tuple[str, str, str]:
    bucket = dataset.namespace.rpartition("/")[2]
    folder, _, name = dataset.name.strip("/").rpartition("/")
    return bucket, folder or "default", name


def _services(facts: Facts, major: int) -> Iterator[Entity]:
    kinds = [
        ("services/databaseServices", "databaseService", "DeltaLake"),
        ("services/messagingServices", "messagingService", "Kafka"),
        ("services/pipelineServices", "pipelineService", "Airflow"),
        ("services/mlmodelServices", "mlmodelService", "Mlflow"),
    ]
    for route, kind, service in kinds:
        yield Entity(route, SERVICE, kind, {"name": SERVICE, "serviceType": service})
    if major >= 2:
        sides = {each.release.manifest.provider.name for each in facts.releases if each.release.manifest.provider}
        for side in sorted(sides):
            name = f"{SERVICE}-{side}"
            body = {"name": name, "serviceType": _SIDES.get(side, "CustomLLM")}
            yield Entity("services/llmServices", name, "llmService", body)


def _personal_tags(facts: Facts) -> Iterator[Entity]:
    kinds = sorted({kind for table in facts.tables for found in table.personal.values() for kind in found})
    said = "Kinds of personal data that Switchyard's masking finds in a column."
    yield Entity("classifications", PERSONAL, "classification", {"name": PERSONAL, "description": said})
    for kind in kinds:
        body = {"name": kind, "classification": PERSONAL, "description": f"Masking finds {kind} in rows of the column."}
        yield Entity("tags", fqn(PERSONAL, kind), "tag", body)


def _tables(tables: Sequence[TableFacts]) -> Iterator[Entity]:
    seen: set[str] = set()
    for table in tables:
        bucket, folder, name = _parts(table.dataset)
        database, schema = fqn(SERVICE, bucket), fqn(SERVICE, bucket, folder)
        if database not in seen:
            yield Entity("databases", database, "database", {"name": bucket, "service": SERVICE})
        if schema not in seen:
            yield Entity("databaseSchemas", schema, "databaseSchema", {"name": folder, "database": database})
        seen |= {database, schema}
        body = {
            "name": name,
            "databaseSchema": schema,
            "tableType": "Regular",
            "description": f"Delta table at version {table.dataset.version}.",
            "columns": [_column(column, kind, table) for column, kind in table.dataset.columns],
        }
        yield Entity("tables", fqn(SERVICE, bucket, folder, name), "table", body)


def _column(name: str, kind: str, table: TableFacts) -> dict[str, Any]:
    base = kind.partition("(")[0]
    made: dict[str, Any] = {"name": name, "dataType": _TYPES.get(base, "UNKNOWN"), "dataTypeDisplay": kind}
    if base == "array":
        made["arrayDataType"] = "UNKNOWN"
    if base.startswith("decimal"):
        made["dataType"] = "DECIMAL"
    if kinds := table.personal.get(name):
        made["tags"] = [
            {"tagFQN": fqn(PERSONAL, each), "source": "Classification", "labelType": "Automated", "state": "Confirmed"}
            for each in kinds
        ]
    return made


def _topics(facts: Facts) -> Iterator[Entity]:
    for topic, plan in facts.topics.items():
        body = {
            "name": topic,
            "service": SERVICE,
            "partitions": plan.partitions,
            "replicationFactor": plan.replication,
            "retentionTime": plan.retention_days * 86_400_000,
            "maximumMessageSize": plan.max_message_bytes,
            "cleanupPolicies": plan.cleanup.split(","),
        }
        yield Entity("topics", fqn(SERVICE, topic), "topic", body)


def _pipelines(dags: Sequence[DagFacts]) -> Iterator[Entity]:
    for dag in dags:
        body = {"name": dag.name, "service": SERVICE, "tasks": [{"name": task} for task in dag.tasks]}
        yield Entity("pipelines", fqn(SERVICE, dag.name), "pipeline", body)


def _release_name(each: ReleaseFacts, major: int) -> tuple[str, str]:
    """Type and name of the entity that stands for a prompt or a model."""
    if each.release.manifest.kind == "prompt" and major >= 2:
        return "promptTemplate", each.release.name
    return "mlmodel", fqn(SERVICE, each.release.name)


def _release(each: ReleaseFacts, major: int) -> Iterator[Entity]:
    kind, name = _release_name(each, major)
    release, manifest = each.release, each.release.manifest
    live = "live in Production" if each.is_live else "sealed, and not live in Production"
    said = f"Version {release.version}, {live}. Digest {release.digest}."
    if kind == "mlmodel":
        yield Entity("mlmodels", name, kind, _ml_model(each, said), each.owner)
        return
    messages = manifest.template or ()
    body: dict[str, Any] = {
        "name": release.name,
        "description": said,
        "templateContent": "\n\n".join(one.content for one in messages if one.role != "system"),
        "templateType": "ChatCompletion",
        "templateVersion": str(release.version),
    }
    if system := "\n\n".join(one.content for one in messages if one.role == "system"):
        body["systemPrompt"] = system
    yield Entity("promptTemplates", name, kind, body, each.owner)
    if manifest.provider is None:
        return
    service, model = f"{SERVICE}-{manifest.provider.name}", manifest.provider.model
    made = {"name": model, "baseModel": model, "modelProvider": manifest.provider.name, "service": service}
    yield Entity("llmModels", fqn(service, model), "llmModel", made)
    application = {
        "name": f"{SERVICE}-{release.name}",
        "description": said,
        "applicationType": "RAG" if manifest.knowledge_base else "Custom",
        "developmentStage": "Production" if each.is_live else "Testing",
        "modelConfigurations": [{"model": _reference("llmModel", fqn(service, model)), "purpose": "Primary"}],
        "promptTemplates": [_reference("promptTemplate", name)],
    }
    yield Entity("aiApplications", f"{SERVICE}-{release.name}", "aiApplication", application, each.owner)


def _reference(kind: str, name: str) -> dict[str, str]:
    """An entity that another one refers to. Its id, which the server makes, takes the place of the name."""
    return {REFERENCE: name, "type": kind}


def _ml_model(each: ReleaseFacts, said: str) -> dict[str, Any]:
    manifest = each.release.manifest
    parameters = dict(each.parameters)
    algorithm = "prompt" if manifest.kind == "prompt" else parameters.get("estimator", "model")
    if manifest.provider is not None:
        parameters = {"provider": manifest.provider.name, "model": manifest.provider.model}
        parameters |= {name: str(value) for name, value in manifest.provider.parameters.items()}
    body: dict[str, Any] = {
        "name": each.release.name,
        "service": SERVICE,
        "description": said,
        "algorithm": algorithm,
        "mlHyperParameters": [{"name": name, "value": str(value)} for name, value in sorted(parameters.items())],
    }
    if manifest.model is not None:
        body["mlFeatures"] = [
            {"name": one.name, "dataType": "categorical" if one.type in ("string", "boolean") else "numerical"}
            for one in manifest.model.signature.inputs
        ]
        if manifest.model.label:
            body["target"] = manifest.model.label
    return body


def _words(words: Mapping[str, str]) -> Iterator[Entity]:
    name = "Switchyard"
    yield Entity("glossaries", name, "glossary", {"name": name, "description": "The words of Switchyard's guide."})
    for word, meaning in words.items():
        body = {"glossary": name, "name": word, "description": meaning}
        yield Entity("glossaryTerms", fqn(name, word), "glossaryTerm", body)


def _checks(tables: Sequence[TableFacts]) -> Iterator[Entity]:
    body = {"name": CHECK, "entityType": "TABLE", "testPlatforms": ["Other"]}
    said = "An expectation that a job of Switchyard checks."
    yield Entity("dataQuality/testDefinitions", CHECK, "testDefinition", {**body, "description": said})
    for table in tables:
        name = table_name(table.dataset)
        for assertion in _by_assertion(table):
            case = {"name": assertion, "testDefinition": CHECK, "entityLink": f"<#E::table::{name}>"}
            yield Entity("dataQuality/testCases", f"{name}.{fqn(assertion)}", "testCase", case)


def _by_assertion(table: TableFacts) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in table.checked:
        found.setdefault(str(each["assertion"]), []).append(each)
    return found


def _profile(table: TableFacts) -> Note:
    at = _milliseconds(table.at)
    whole = {"timestamp": at, "rowCount": table.rows, "sizeInByte": table.bytes}
    whole |= {"columnCount": len(table.dataset.columns)}
    columns = [
        {"name": name, "timestamp": at, "nullCount": count, "valuesCount": (table.rows or 0) - count}
        for name, count in table.nulls.items()
    ]
    said = {name: value for name, value in whole.items() if value is not None}
    return Note("profile", [("table", table_name(table.dataset))], {"tableProfile": said, "columnProfile": columns})


def _state(dag: DagFacts) -> Note:
    body = {"timestamp": _milliseconds(dag.ended_at), "executionStatus": "Successful" if dag.is_well else "Failed"}
    return Note("state", [("pipeline", fqn(SERVICE, dag.name))], body)


def _results(table: TableFacts) -> Iterator[Note]:
    for assertion, checks in _by_assertion(table).items():
        failed = [str(each.get("description", "")) for each in checks if not each["success"]]
        body: dict[str, Any] = {
            "timestamp": _milliseconds(table.at),
            "testCaseStatus": "Failed" if failed else "Success",
            "result": "; ".join(failed) or "holds",
            "testResultValue": [],
        }
        yield Note("result", [("testCase", f"{table_name(table.dataset)}.{fqn(assertion)}")], body)


def _edges(
    edges: Sequence[tuple[Dataset, Dataset]],
    tables: Mapping[tuple[str, str], tuple[str, str]],
    topics: Mapping[str, tuple[str, str]],
    releases: Mapping[Any, tuple[str, str]],
) -> Iterator[Note]:
    def entity(dataset: Dataset) -> tuple[str, str] | None:
        if dataset.namespace.startswith("kafka://"):
            return topics.get(dataset.name)
        if dataset.namespace == "mlflow":
            kind, _, name = dataset.name.partition("s/")
            return releases.get((kind, name))
        return tables.get((dataset.namespace, dataset.name))

    for source, target in edges:
        ends = entity(source), entity(target)
        if ends[0] is None or ends[1] is None or ends[0] == ends[1]:
            continue
        columns = [
            {
                "fromColumns": [
                    f"{ends[0][1]}.{fqn(origin)}" for *of, origin in origins if of == [source.namespace, source.name]
                ],
                "toColumn": f"{ends[1][1]}.{fqn(column)}",
            }
            for column, origins in sorted(target.sources.items())
            if ends[0][0] == "table"
        ]
        columns = [each for each in columns if each["fromColumns"]]
        yield Note("edge", [ends[0], ends[1]], {"source": "OpenLineage", "columnsLineage": columns})


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
