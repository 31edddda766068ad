"""`/static/...`: the console's own scripts and styles. `/health/live`: whether the console answers."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse

from console.pages import STATIC
from mlflow_project.errors import NotFound

router = APIRouter()
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SERVED = frozenset(file.name for file in STATIC.iterdir() if file.suffix in _TYPES)


@router.get("/static/{name}")
async def static_file(name: str) -> FileResponse:
    """One file."""
    if name not in _SERVED:
        raise NotFound(f"The console has no file {name!r}.")
    file = STATIC / name
    return FileResponse(file, media_type=_TYPES[file.suffix])


@router.get("/health/live")
async def health() -> JSONResponse:
    """Always the same: the console answers. What it cannot reach, its pages say."""
    return JSONResponse({"status": "live"})
