"""Compares an OpenMetadata server with what is true, and writes what differs.

In: facts and a client. Out: `Outcome`: what differed, and how many entities and notes there are. An entity that the
server has is compared field by field, in the fields that Switchyard writes; what people added there is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mlflow_project.catalog.openmetadata.client import OpenMetadata
from mlflow_project.catalog.openmetadata.entities import REFERENCE, Entity, Note, entities_of, notes_of
from mlflow_project.catalog.openmetadata.facts import Facts
from mlflow_project.errors import InvalidData

_FIELDS = {
    "tables": "columns,tags,owners",
    "mlmodels": "owners",
    "pipelines": "tasks,owners,pipelineStatus",
    "promptTemplates": "owners",
    "aiApplications": "owners,modelConfigurations,promptTemplates",
    "dataQuality/testCases": "testCaseResult",
}
_BY_NAME = ("service", "database", "databaseSchema", "glossary", "classification", "testDefinition")
"""Fields that a request names, and that an answer has as references."""
_ROUTES = {"pipeline": "pipelines", "testCase": "dataQuality/testCases"}
Ids = dict[tuple[str, str], str]
"""The ids that the server gave, by type and name."""


@dataclass(frozen=True)
class Drift:
    """One difference: of which entity, in which field, what the server says and what is true."""

    of: str
    what: str
    says: Any
    true: Any

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass
class Outcome:
    """What a push wrote, or a check found. `compared` counts entities and notes."""

    server: str
    compared: int = 0
    drifts: list[Drift] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"server": self.server, "compared": self.compared, "drifts": [each.to_dict() for each in self.drifts]}


def compare(client: OpenMetadata, facts: Facts, *, write: bool) -> Outcome:
    """Compare everything. With `write`, put what differs.

    Raises:
        Unavailable, Refused, InvalidData: as the client. What was written stays, and the next push goes on.
    """
    version = client.version()
    try:
        major = int(version.partition(".")[0])
    except ValueError as error:
        raise InvalidData(f"OpenMetadata at {client.url} says that its version is {version!r}.") from error
    outcome = Outcome(f"{client.url} ({version})")
    ids: Ids = {}
    users: dict[str, Any] = {}
    for entity in entities_of(facts, major):
        outcome.compared += 1
        body = _with_ids({**entity.body, **_owners(client, entity, users)}, ids)
        found = client.find(entity.route, entity.name, _FIELDS.get(entity.route, ""))
        drifts = list(_drifts(entity, body, found))
        outcome.drifts += drifts
        if drifts and write:
            found = client.put(entity.route, body)
        if found is not None:
            ids[entity.type, entity.name] = str(found.get("id", ""))
    for note in notes_of(facts, major):
        outcome.compared += 1
        _compare_note(client, note, ids, outcome, write=write)
    return outcome


def _owners(client: OpenMetadata, entity: Entity, users: dict[str, Any]) -> dict[str, Any]:
    """The owner as a reference, if the server knows a user of that name."""
    name = entity.owner.rpartition(":")[2]
    if not name:
        return {}
    if name not in users:
        users[name] = client.find("users", name)
    user = users[name]
    return {"owners": [{"id": user["id"], "type": "user"}]} if user is not None else {}


def _with_ids(value: Any, ids: Ids) -> Any:
    """The body with ids in the place of names that it refers to."""
    if isinstance(value, Mapping):
        if REFERENCE in value:
            return {"id": ids.get((value["type"], value[REFERENCE]), ""), "type": value["type"]}
        return {key: _with_ids(item, ids) for key, item in value.items()}
    return [_with_ids(item, ids) for item in value] if isinstance(value, list) else value


def _drifts(entity: Entity, body: Mapping[str, Any], found: Mapping[str, Any] | None) -> Iterator[Drift]:
    if found is None:
        yield Drift(entity.name, entity.type, None, "is to exist")
        return
    for key, wanted in body.items():
        says = found.get(key)
        if key in _BY_NAME and isinstance(says, Mapping):
            says = says.get("fullyQualifiedName") or says.get("name")
        if key == "entityLink":
            continue  # it is part of the name
        if not _agrees(wanted, says):
            yield Drift(entity.name, key, _shown(says), _shown(wanted))


def _agrees(wanted: Any, says: Any) -> bool:
    """Whether the server says what is wanted. It may say more: of a mapping, and of a list of tags."""
    if isinstance(wanted, Mapping):
        return isinstance(says, Mapping) and all(
            _has_tags(value, says.get(key)) if key == "tags" else _agrees(value, says.get(key))
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        said = says or []
        return len(wanted) == len(said) and all(_agrees(a, b) for a, b in zip(wanted, said, strict=True))
    if isinstance(wanted, int | float) and isinstance(says, int | float):
        return float(wanted) == float(says)
    return bool(wanted == says)


def _has_tags(wanted: Sequence[Mapping[str, Any]], says: Any) -> bool:
    return {each["tagFQN"] for each in wanted} <= {each.get("tagFQN") for each in says or ()}


def _shown(value: Any) -> Any:
    """A value for people: names of a list of objects instead of the objects."""
    if isinstance(value, list):
        return [each.get("name", each) if isinstance(each, Mapping) else each for each in value]
    return value


def _compare_note(client: OpenMetadata, note: Note, ids: Ids, outcome: Outcome, *, write: bool) -> None:
    name = note.of[0][1]
    if any(each not in ids for each in note.of):
        outcome.drifts.append(Drift(name, note.what, None, "is to be said of an entity that is not there yet"))
        return
    says = _said(client, note, ids)
    body = note.body
    if note.what == "edge":
        agrees = says is not None and _agrees(
            body["columnsLineage"], (says.get("lineageDetails") or says).get("columnsLineage")
        )
        shown = " -> ".join(each for _, each in note.of)
    else:
        wanted = body["tableProfile"] if note.what == "profile" else body
        agrees, shown = says is not None and _agrees(_lasting(wanted), says), name
    if agrees:
        return
    outcome.drifts.append(Drift(shown, note.what, _shown_note(says), _shown_note(body.get("tableProfile", body))))
    if not write:
        return
    if note.what == "edge":
        ends = [{"id": ids[each], "type": each[0]} for each in note.of]
        client.put("lineage", {"edge": {"fromEntity": ends[0], "toEntity": ends[1], "lineageDetails": dict(body)}})
    elif note.what == "profile":
        client.put(f"tables/{ids[note.of[0]]}/tableProfile", body)
    elif note.what == "state":
        client.put(f"pipelines/{_quoted(name)}/status", body)
    else:
        client.post(f"dataQuality/testCases/testCaseResults/{_quoted(name)}", body)


def _said(client: OpenMetadata, note: Note, ids: Ids) -> Mapping[str, Any] | None:
    """What the server has of a note."""
    kind, name = note.of[0]
    if note.what == "edge":
        return client.get(f"lineage/getLineageEdge/{ids[note.of[0]]}/{ids[note.of[1]]}")
    if note.what == "profile":
        found = client.get(f"tables/{_quoted(name)}/tableProfile/latest") or {}
        return found.get("profile")
    found = client.find(_ROUTES[kind], name, _FIELDS[_ROUTES[kind]]) or {}
    return found.get("pipelineStatus" if note.what == "state" else "testCaseResult")


def _lasting(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "testResultValue"}


def _shown_note(body: Any) -> Any:
    if not isinstance(body, Mapping):
        return body
    return {
        key: value
        for key, value in body.items()
        if key in ("rowCount", "executionStatus", "testCaseStatus", "timestamp")
    }


def _quoted(name: str) -> str:
    return quote(name, safe="")
