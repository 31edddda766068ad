"""`POST /models/{name}/invocations`: rows in, predictions out, in MLflow's scoring protocol."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from mlflow_project.models.requests import predictions, read_csv, read_json
from mlflow_project.web.problems import BadRequest
from serving.call import TheCall
from serving.routes.ask import Alias
from serving.routes.model_answer import Read, predict
from serving.server import TheServer

router = APIRouter(tags=["Models"])

ModelName = Annotated[str, Path(min_length=1, max_length=255, examples=["fraud"])]

_ROWS: dict[str, Any] = {"type": "array", "items": {}}
_JSON_BODY = {
    "type": "object",
    "description": "Exactly one of the four layouts, and `params` where the model takes some.",
    "properties": {
        "dataframe_split": {
            "type": "object",
            "required": ["data"],
            "properties": {"columns": {"type": "array", "items": {"type": "string"}}, "data": _ROWS},
        },
        "dataframe_records": {"type": "array", "items": {"type": "object"}},
        "inputs": {},
        "instances": _ROWS,
        "params": {"type": "object"},
    },
    "examples": [{"dataframe_split": {"columns": ["amount", "hour"], "data": [[12.5, 23]]}}],
}
_BODY = {
    "required": True,
    "content": {"application/json": {"schema": _JSON_BODY}, "text/csv": {"schema": {"type": "string"}}},
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One prediction for each row",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["predictions"], "properties": {"predictions": {}}}
            }
        },
    }
}


@router.post(
    "/models/{name}/invocations",
    summary="Predict by any model",
    response_class=Response,
    responses=_ANSWER,
    openapi_extra={"requestBody": _BODY},
)
async def invoke(
    name: ModelName, request: Request, call: TheCall, server: TheServer, x_alias: Alias = "Production"
) -> Response:
    """Predicts by the release that the alias points at. Columns that the signature does not name are ignored."""
    body = await request.body()
    read = _reader(request.headers.get("content-type", ""), body)
    return await predict(server, call, name, x_alias, read, lambda live, asked, answer: predictions(answer))


def _reader(content_type: str, body: bytes) -> Read:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/csv":
        return lambda model: read_csv(body, model.reader, model.types)
    if kind == "application/json":
        return lambda model: read_json(body, model.reader)
    raise BadRequest("The Content-Type must be application/json or text/csv.")
