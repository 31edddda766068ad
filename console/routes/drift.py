"""`/drift`: what the newest drift checks found."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from console.routes.parts import TheCache, ThePages
from console.views.drift import drift_runs
from console.views.versions import every_name
from mlflow_project.domain.reference import reference

router = APIRouter()


@router.get("/drift")
def drift_page(request: Request, pages: ThePages, cache: TheCache, name: str = "") -> Response:
    """The names, and the checks of one."""
    names = cache.read("names", every_name, age=5.0)
    which = reference(name).name if name else ""
    seen = cache.read(f"drift:{which}", lambda parts: drift_runs(parts, which), age=15.0) if which else None
    return pages.show(request, "drift.html", names=names, name=which, seen=seen)
