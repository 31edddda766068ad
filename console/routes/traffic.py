"""`/traffic`: what was asked and answered, by release."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from console.routes.parts import TheCache, ThePages, TheSettings, number
from console.views.curves import drawing, flip_places
from console.views.traffic import HOURS, curves, flips, totals
from mlflow_project.errors import InvalidData

router = APIRouter()


@router.get("/traffic")
def traffic_page(
    request: Request, pages: ThePages, cache: TheCache, settings: TheSettings, hours: str = "1"
) -> Response:
    """Totals of the hosts, and curves if Prometheus runs."""
    length, address = number(hours, "The number of hours") or 1, settings.prometheus_url
    if length not in HOURS:
        raise InvalidData(f"The page shows the last {', '.join(map(str, HOURS))} hours, not {length}.")
    counted = cache.read("totals", totals, age=2.0)
    marks = cache.read(f"flips:{length}", lambda parts: flips(parts, length), age=5.0)
    drawn = cache.read(f"curves:{length}", lambda _: curves(address, length), age=15.0) if address else None
    pictures = [(each, drawing(each.times, each.values)) for each in (drawn.value if drawn is not None else None) or ()]
    places = flip_places([each.at for each in marks.value or ()], length)
    shown: dict[str, Any] = {
        "counted": counted,
        "marks": marks,
        "drawn": drawn,
        "pictures": pictures,
        "flip_places": places,
    }
    return pages.show(request, "traffic.html", hours=length, choices=HOURS, **shown)
