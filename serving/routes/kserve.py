"""KServe's Open Inference Protocol, version 2: metadata, readiness and predictions of models.

https://github.com/kserve/open-inference-protocol. Tensors of a request may be JSON or bytes; answers are JSON. A
version in the path must be live.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from mlflow_project import __version__
from mlflow_project.domain.release import version_number
from mlflow_project.errors import NotFound
from mlflow_project.models.kserve import EXTENSIONS, read_v2, v2_answer, v2_metadata
from mlflow_project.web.problems import BadRequest
from serving.call import Call, TheCall
from serving.live.shelf import LiveRelease
from serving.routes.ask import Alias
from serving.routes.model_answer import predict
from serving.routes.models import ModelName
from serving.server import Server, TheServer

router = APIRouter(prefix="/v2", tags=["Models"])

VersionNumber = Annotated[str, Path(min_length=1, max_length=18, examples=["3"])]

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "data": {"type": "array", "items": {}},
    },
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "parameters": {"type": "object"},
                    "inputs": {"type": "array", "items": _TENSOR},
                },
                "examples": [{"inputs": [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [12.5]}]}],
            }
        }
    },
}
_PREDICTS: dict[str, Any] = {"response_class": Response, "openapi_extra": {"requestBody": _BODY}}
"""What the documentation says of the routes that predict."""


@router.get("", summary="This server, for KServe's clients")
async def server_metadata() -> dict[str, Any]:
    """Name and version of the server."""
    return {"name": "switchyard", "version": __version__, "extensions": list(EXTENSIONS)}


@router.get("/health/live", summary="The process runs, for KServe's clients")
async def live() -> dict[str, bool]:
    """Says nothing about what is served."""
    return {"live": True}


@router.get("/health/ready", summary="Send it traffic, for KServe's clients")
async def ready(server: TheServer) -> dict[str, bool]:
    """Whether the snapshot of this host was read."""
    return {"ready": server.worker.loaded}


@router.get("/models/{name}", summary="Signature and version of a model")
async def metadata(name: ModelName, server: TheServer, x_alias: Alias = "Production") -> dict[str, Any]:
    """Of the release that the alias points at."""
    return _metadata(_found(server, name, x_alias))


@router.get("/models/{name}/ready", summary="Whether a model is live")
async def model_ready(name: ModelName, server: TheServer, x_alias: Alias = "Production") -> dict[str, Any]:
    """404 where it is not."""
    return _ready(_found(server, name, x_alias))


@router.get("/models/{name}/versions/{version}", summary="Signature of a live version of a model")
async def version_metadata(name: ModelName, version: VersionNumber, server: TheServer) -> dict[str, Any]:
    """404 where this version is live under no alias."""
    return _metadata(_found(server, name, _alias_of(server, name, version)))


@router.get("/models/{name}/versions/{version}/ready", summary="Whether a version of a model is live")
async def version_ready(name: ModelName, version: VersionNumber, server: TheServer) -> dict[str, Any]:
    """404 where it is not."""
    return _ready(_found(server, name, _alias_of(server, name, version)))


@router.post("/models/{name}/infer", summary="Predict in KServe's protocol", **_PREDICTS)
async def infer(
    name: ModelName, request: Request, call: TheCall, server: TheServer, x_alias: Alias = "Production"
) -> Response:
    """One tensor for each column, or one tensor of two dimensions with a row for each row."""
    return await _predict(name, x_alias, request, call, server)


@router.post(
    "/models/{name}/versions/{version}/infer", summary="Predict by a live version in KServe's protocol", **_PREDICTS
)
async def infer_version(
    name: ModelName, version: VersionNumber, request: Request, call: TheCall, server: TheServer
) -> Response:
    """404 where this version is live under no alias."""
    call.names_version = True
    return await _predict(name, _alias_of(server, name, version), request, call, server)


async def _predict(name: str, alias: str, request: Request, call: Call, server: Server) -> Response:
    json_bytes = request.headers.get("inference-header-content-length")
    if json_bytes is not None and not (json_bytes.isdecimal() and len(json_bytes) < 12):
        raise BadRequest("Inference-Header-Content-Length must be the number of bytes of the JSON object.")
    body, length = await request.body(), None if json_bytes is None else int(json_bytes)
    return await predict(
        server,
        call,
        name,
        alias,
        lambda model: read_v2(body, model.reader, length),
        lambda live, asked, answer: v2_answer(name, live.placed.version, answer, asked.id),
    )


def _found(server: Server, name: str, alias: str) -> LiveRelease:
    found = server.worker.shelf.resolve(name, alias).live
    if found.placed.manifest.kind != "model":
        raise NotFound(f"{name} is a prompt: ask it at POST /prompts/{name}/invocations.")
    return found


def _alias_of(server: Server, name: str, version: str) -> str:
    return server.worker.shelf.alias_of(name, version_number(version))


def _metadata(found: LiveRelease) -> dict[str, Any]:
    return v2_metadata(found.placed.name, found.placed.version, found.model.description)


def _ready(found: LiveRelease) -> dict[str, Any]:
    return {"name": found.placed.name, "ready": True}
