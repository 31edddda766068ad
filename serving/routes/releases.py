"""`GET /releases`: what this worker serves and refuses. `GET /health/live`, `/health/ready`: whether it is healthy."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from mlflow_project.errors import Unavailable
from mlflow_project.snapshot.contact import Contact
from mlflow_project.web.problems import response
from serving.live.shelf import LiveRelease
from serving.server import TheServer

router = APIRouter(tags=["Operations"])


@router.get("/releases", summary="What is live, and what was refused")
async def releases(server: TheServer) -> dict[str, Any]:
    """The releases that this worker answers with, and those that it does not follow, with the reasons."""
    worker = server.worker
    return {
        "worker": worker.name,
        "registry": _registry(worker.contact),
        "releases": [_release(live) for _, live in sorted(worker.shelf.live.items())],
        "refused": [refused.to_dict() for refused in worker.refused],
    }


@router.get("/health/live", summary="The process runs")
async def alive() -> dict[str, str]:
    """Says nothing about what is served."""
    return {"status": "live"}


@router.get("/health/ready", summary="Send it traffic", response_model=None)
async def ready(server: TheServer) -> dict[str, str] | JSONResponse:
    """Ready when the worker has read the snapshot of this host."""
    if server.worker.loaded:
        return {"status": "ready"}
    no = Unavailable("There is no snapshot on this host yet: is the follower running? `make status` shows it.")
    return response("/health/ready", no)


def _registry(contact: Contact | None) -> dict[str, Any]:
    if contact is None:
        return {"reachable": False, "age_ms": None}
    return {"reachable": contact.fresh, "age_ms": round(contact.age_ms(), 1)}


def _release(live: LiveRelease) -> dict[str, Any]:
    placed = live.placed
    return {
        "kind": placed.manifest.kind,
        "name": placed.name,
        "alias": placed.alias,
        "version": placed.version,
        "digest": placed.digest,
        "since": placed.since,
    }
