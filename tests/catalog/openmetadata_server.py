"""A stand-in for OpenMetadata's server, for tests: it keeps entities in memory, and validates each request and each
answer with OpenMetadata's own pydantic models. `openmetadata.py` starts it.

    python openmetadata_server.py 2.0.7 FOLDER

FOLDER has the package `metadata`. Prints its port. A server of version 1 has no entities for prompts and language
models.
"""

import importlib
import json
import sys
import types
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

VERSION, FOLDER = sys.argv[1:]

# The package's own `__init__` loads its profiler, with all that it depends on. Only its models are wanted.
sys.modules["metadata"] = types.ModuleType("metadata")
sys.modules["metadata"].__path__ = [f"{FOLDER}/metadata"]
sys.path.append(FOLDER)

MODELS = "metadata.generated.schema"


def model(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"{MODELS}.{module}"), name)


_SERVICES = ("Database", "Messaging", "Pipeline", "MlModel")
_DATA = ("database", "databaseSchema", "table", "topic", "pipeline", "mlModel", "glossary", "glossaryTerm")
_AI = (("llmModel", "LLMModel"), ("promptTemplate", "PromptTemplate"), ("aiApplication", "AIApplication"))
_PLURAL = {"glossary": "glossaries", "mlModel": "mlmodels"}


def lower(name: str) -> str:
    return name[0].lower() + name[1:]


def upper(name: str) -> str:
    return name[0].upper() + name[1:]


def routes() -> dict[str, tuple[str, str, str]]:
    """Route -> type, model of the request, model of the answer."""
    found = {}
    for kind in _SERVICES:
        name = "mlmodelService" if kind == "MlModel" else f"{lower(kind)}Service"
        request = f"api.services.create{kind}Service:Create{kind}ServiceRequest"
        found[f"services/{name}s"] = (name, request, f"entity.services.{name}:{kind}Service")
    for kind in _DATA:
        name = "mlmodel" if kind == "mlModel" else kind
        request = f"api.data.create{upper(kind)}:Create{upper(kind)}Request"
        found[_PLURAL.get(kind, f"{kind}s")] = (name, request, f"entity.data.{name}:{upper(kind)}")
    for kind in ("classification", "tag"):
        request = f"api.classification.create{upper(kind)}:Create{upper(kind)}Request"
        found[f"{kind}s"] = (kind, request, f"entity.classification.{kind}:{upper(kind)}")
    for kind in ("testDefinition", "testCase"):
        request = f"api.tests.create{upper(kind)}:Create{upper(kind)}Request"
        found[f"dataQuality/{kind}s"] = (kind, request, f"tests.{kind}:{upper(kind)}")
    if VERSION.startswith("2."):
        request = "api.services.createLLMService:CreateLLMServiceRequest"
        found["services/llmServices"] = ("llmService", request, "entity.services.llmService:LLMService")
        for kind, name in _AI:
            found[f"{kind}s"] = (kind, f"api.ai.create{name}:Create{name}Request", f"entity.ai.{kind}:{name}")
    return found


ROUTES = routes()
PARENTS = ("service", "databaseSchema", "database", "glossary", "classification")
SERVICE_OF = {
    "topics": "messagingService",
    "pipelines": "pipelineService",
    "mlmodels": "mlmodelService",
    "databases": "databaseService",
    "llmModels": "llmService",
}
USER = {"id": str(uuid.uuid4()), "name": "ann", "type": "user"}
STORE: dict[tuple[str, str], dict[str, Any]] = {}
EDGES: dict[tuple[str, str], dict[str, Any]] = {}
PUTS: list[str] = []


class Refused(Exception):
    """A request that the server refuses: a status and a reason."""


def quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name


def reference(kind: str, name: str) -> dict[str, Any]:
    for (route, known), entity in STORE.items():
        if known == name and ROUTES[route][0] == kind:
            return {"id": entity["id"], "type": kind, "name": entity["name"], "fullyQualifiedName": known}
    raise Refused(404, f"{kind} instance for {name} not found")


def inherited(kind: str, name: str) -> dict[str, Any]:
    """The references that an entity has from its parent: the service of a schema is that of its database."""
    route = next(route for route, (known, _, _) in ROUTES.items() if known == kind)
    return {key: value for key, value in STORE[route, name].items() if key in ("service", "database")}


def created(route: str, body: dict[str, Any]) -> dict[str, Any]:
    """The entity that a request makes."""
    _, request, answer = ROUTES[route]
    model(request)(**body)
    entity: dict[str, Any] = dict(body)
    above = ""
    for key in PARENTS:
        if key in body:
            of = SERVICE_OF[route] if key == "service" else key
            entity[key] = reference(of, body[key])
            above = above or body[key] + "."
            entity |= {key: value for key, value in inherited(of, body[key]).items() if key not in entity}
    if route == "dataQuality/testCases":
        table = body["entityLink"].removeprefix("<#E::table::").removesuffix(">")
        reference("table", table)
        above = f"{table}."
        entity["testDefinition"] = reference("testDefinition", body["testDefinition"])
        entity["testSuite"] = {"id": str(uuid.uuid4()), "type": "testSuite"}
    if route == "llmModels":
        entity.setdefault("modelType", "BaseModel")  # the request of 2.0 has no such field, and the answer needs it
    for each in [one["model"] for one in body.get("modelConfigurations", ())] + body.get("promptTemplates", []):
        if each["id"] not in {known["id"] for known in STORE.values()}:
            raise Refused(404, f"{each['type']} instance for {each['id']} not found")
    for column in body.get("columns", ()):
        for tag in column.get("tags", ()):
            reference("tag", tag["tagFQN"])
    name = above + quoted(body["name"])
    known = STORE.get((route, name), {})
    entity = {**{k: v for k, v in known.items() if k in ("pipelineStatus", "testCaseResult", "profile")}, **entity}
    entity |= {"id": known.get("id", str(uuid.uuid4())), "fullyQualifiedName": name}
    checked(answer, entity)
    STORE[route, name] = entity
    return entity


def checked(answer: str, entity: dict[str, Any]) -> None:
    """Validate an answer: OpenMetadata's own client would read it with this model."""
    model(answer)(**{key: value for key, value in entity.items() if key != "profile"})


def named(route: str, name: str) -> dict[str, Any]:
    if route == "users" and name == USER["name"]:
        return USER
    if (route, name) not in STORE:
        raise Refused(404, f"{route} instance for {name} not found")
    return STORE[route, name]


def answer(method: str, path: str, body: Any) -> Any:
    if method == "GET" and path == "system/version":
        return {"version": VERSION, "revision": "test", "timestamp": 1}
    if method == "GET" and path == "test/puts":
        return {"puts": PUTS}
    if method == "GET" and path.startswith("lineage/getLineageEdge/"):
        key = tuple(path.split("/")[2:])
        if key not in EDGES:
            raise Refused(404, "lineage edge not found")
        return EDGES[key]
    if method == "GET" and path.endswith("/tableProfile/latest"):
        return named("tables", unquote(path.split("/")[1]))
    if method == "GET":
        route, _, name = path.partition("/name/")
        return named(route, unquote(name))
    PUTS.append(path)
    if path == "lineage":
        model("api.lineage.addLineage:AddLineageRequest")(**body)
        edge = body["edge"]
        ends = tuple(edge[side]["id"] for side in ("fromEntity", "toEntity"))
        if missing := set(ends) - {entity["id"] for entity in STORE.values()}:
            raise Refused(404, f"no entity {missing}")
        EDGES[ends] = edge["lineageDetails"]
        return {}
    if path.startswith("dataQuality/testCases/testCaseResults/"):
        model("tests.basic:TestCaseResult")(**body)
        named("dataQuality/testCases", unquote(path.split("/")[3]))["testCaseResult"] = body
        return body
    if path.endswith("/status"):
        model("entity.data.pipeline:PipelineStatus")(**body)
        named("pipelines", unquote(path.split("/")[1]))["pipelineStatus"] = body
        return {}
    if path.endswith("/tableProfile"):
        model("api.data.createTableProfile:CreateTableProfileRequest")(**body)
        table = next(entity for entity in STORE.values() if entity["id"] == path.split("/")[1])
        table["profile"] = body["tableProfile"]
        return table
    return created(path, body)


class Handler(BaseHTTPRequestHandler):
    def handle_one(self) -> None:
        path = urlsplit(self.path).path.removeprefix("/api/v1/")
        try:
            if self.headers.get("Authorization") != "Bearer token":
                raise Refused(401, "no token")
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, data = 200, answer(self.command, path, body)
        except Refused as error:
            status, data = error.args[0], {"code": error.args[0], "message": error.args[1]}
        except ValidationError as error:
            status, data = 400, {"code": 400, "message": f"{path}: {error}"}
        except KeyError as error:
            status, data = 404, {"code": 404, "message": f"HTTP 404 Not Found: {error}"}
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self.handle_one()

    def do_PUT(self) -> None:
        self.handle_one()

    def do_POST(self) -> None:
        self.handle_one()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
sys.stdout.write(f"{server.server_port}\n")
sys.stdout.flush()
server.serve_forever()
