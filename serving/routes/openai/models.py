"""`GET /v1/models` and `GET /v1/models/{id}`: what can be asked here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter

from mlflow_project.errors import NotFound
from serving.live.shelf import Shelf
from serving.routes.openai.embeddings import MODEL as EMBEDDINGS
from serving.routes.openai.model_request import name_and_alias
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.get("/models", summary="Every prompt that is live")
async def models(server: TheServer) -> dict[str, Any]:
    """A name stands for its Production; `name@Alias` for another alias; `wordllama-256` makes embeddings."""
    data = []
    for (name, alias), live in sorted(server.worker.shelf.live.items()):
        if live.placed.manifest.kind != "prompt":
            continue
        ids = [name, f"{name}@{alias}"] if alias == "Production" else [f"{name}@{alias}"]
        data += [_model(id, live.since) for id in ids]
    return {"object": "list", "data": [*data, _model(EMBEDDINGS, None)]}


@router.get("/models/{model:path}", summary="One of them")
async def model(model: str, server: TheServer) -> dict[str, Any]:
    """`qa`, `qa@Staging`, or `qa/7` while that version is live."""
    return _model(model, None) if model == EMBEDDINGS else _model(model, _since(server.worker.shelf, model))


def _since(shelf: Shelf, model: str) -> str:
    live = shelf.live.get(name_and_alias(shelf, model, "Production"))
    if live is None or live.placed.manifest.kind != "prompt":
        raise NotFound(f"No model {model!r} is live here. GET /v1/models lists what is.")
    return live.since


def _model(id: str, since: str | None) -> dict[str, Any]:
    created = int(datetime.fromisoformat(since).timestamp()) if since is not None else 0
    return {"id": id, "object": "model", "created": created, "owned_by": "switchyard"}
