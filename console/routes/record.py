"""`/record`: the ledger as a timeline, what was live at a time, its check, and its export."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from console.routes.parts import TheCache, TheOperations, ThePages, ThePerson, number
from console.views.record import checked_ledger, record_page
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.errors import Unavailable
from mlflow_project.promotion.views import at as live_at
from mlflow_project.promotion.views import record_time

router = APIRouter()


@router.get("/record")
def timeline(
    request: Request, pages: ThePages, cache: TheCache, before: str = "", name: str = "", at: str = ""
) -> Response:
    """The records, newest first, and with `at` what was live at that time."""
    below, name = number(before, "The record"), name[:200]
    seen = cache.read(f"record:{below}:{name}", lambda parts: record_page(parts, below, name))
    moment = record_time(at) if at else ""
    then = cache.read(f"at:{moment}", lambda parts: live_at(parts, moment), age=5.0) if at else None
    return pages.show(request, "record.html", seen=seen, name=name, at=at[:100], then=then, before=below)


@router.get("/record/export")
def export(cache: TheCache, name: str = "") -> Response:
    """Every record, or those about one name, as a JSON array."""
    seen = cache.read("records", lambda parts: parts.ledger.records(), age=0.0)
    if seen.value is None or seen.unseen_since is not None:
        raise Unavailable(f"The ledger cannot be read, so there is nothing to export: {seen.reason}")
    wanted = [record for record in seen.value if not name or record.name == name]
    headers = {"Content-Disposition": 'attachment; filename="switchyard-ledger.json"'}
    return StreamingResponse(_array(wanted), media_type="application/json", headers=headers)


@router.post("/record/verify")
def verify(person: ThePerson, operations: TheOperations) -> Response:
    """Check every record, and everything that is live, here and now."""
    operation = operations.start("Verify the ledger and all that is live", person, "/record", checked_ledger)
    return RedirectResponse(f"/operations/{operation.id}", 303)


def _array(records: list[LedgerRecord]) -> Iterator[str]:
    for place, record in enumerate(records):
        yield ("[\n" if place == 0 else ",\n") + json.dumps(record.to_dict(), ensure_ascii=False)
    yield "\n]\n" if records else "[]\n"
