"""`/knowledge`: tables, their indexes, what was rejected, and a search that says why each chunk was found."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from console.routes.parts import TheCache, ThePages
from console.views.knowledge import WAYS, rejected, search, tables
from mlflow_project.errors import WorkspaceError

router = APIRouter()


@router.get("/knowledge")
def knowledge_page(request: Request, pages: ThePages, cache: TheCache) -> Response:
    """Every table that has a search index."""
    return pages.show(request, "knowledge.html", seen=cache.read("tables", tables, age=10.0))


@router.get("/knowledge/table")
def table_page(
    request: Request, pages: ThePages, cache: TheCache, table: str, question: str = "", way: str = "hybrid"
) -> Response:
    """One table: its indexes, its quarantine, and a search."""
    seen, found, wrong = cache.read("tables", tables, age=10.0), None, ""
    quarantine = cache.read(f"quarantine:{table[:500]}", lambda _: rejected(table), age=60.0)
    try:
        found = search(table, question, way) if question else None
    except WorkspaceError as error:
        wrong = str(error)
    shown: dict[str, Any] = {"found": found, "wrong": wrong, "question": question, "way": way, "ways": WAYS}
    return pages.show(request, "table.html", table=table[:500], seen=seen, quarantine=quarantine, **shown)
