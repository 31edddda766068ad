"""`/`: what is live, and the controls that change it: roll back; hold, resume, step, abort and finish a rollout."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from console.cache import Cache
from console.routes.parts import TheCache, TheForm, TheOperations, ThePages, ThePerson, number
from console.views.live import PER_PAGE, LiveView, live_view
from mlflow_project.domain.reference import reference
from mlflow_project.domain.release import version_number
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.identity import OPERATOR
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import rollback
from mlflow_project.promotion.report import flip_lines
from mlflow_project.rollouts import changes
from mlflow_project.rollouts.planning import plan_for, usual_questions
from mlflow_project.rollouts.report import change_lines
from mlflow_project.rollouts.smoke import bodies_from
from mlflow_project.rollouts.start import start

router = APIRouter()
_CHANGES = {each.__name__: each for each in (changes.hold, changes.resume, changes.step, changes.abort, changes.finish)}


@router.get("/")
def live_page(request: Request, pages: ThePages, cache: TheCache, search: str = "", page: str = "1") -> Response:
    """The page. Without JavaScript it is loaded again by hand."""
    return pages.show(request, "live.html", **_shown(cache, search, page))


@router.get("/live/names")
def live_names(request: Request, pages: ThePages, cache: TheCache, search: str = "", page: str = "1") -> Response:
    """The part of the page that moves."""
    return pages.show(request, "live_names.html", **_shown(cache, search, page))


@router.post("/names/{name}/rollback")
def roll_back(name: str, form: TheForm, person: ThePerson, operations: TheOperations) -> Response:
    """Go back to what was live before, unless something else is live than what the page showed."""
    person.demand(OPERATOR)
    expected, to = number(form.get("expected"), "The record"), number(form.get("to"), "The version")
    name, reason = reference(name).name, form.get("reason", "").strip()

    def work(parts: Parts) -> list[str]:
        return flip_lines(rollback(parts, name, parts.who, reason, to, expected=expected))

    operation = operations.start(f"Roll back {name}", person, f"/names/{name}", work)
    return RedirectResponse(f"/operations/{operation.id}", 303)


@router.post("/names/{name}/{version}/rollout")
def begin_rollout(name: str, version: str, form: TheForm, person: ThePerson, operations: TheOperations) -> Response:
    """Open a rollout of a version, as `switchyard rollout start` does."""
    person.demand(OPERATOR)
    name, which = reference(name).name, version_number(version)
    steps, every, reason = (form.get(field, "").strip() for field in ("steps", "every", "reason"))
    plan = plan_for(name, steps=steps or None, every=every or None)

    def work(parts: Parts) -> list[str]:
        questions = usual_questions(name)
        bodies = bodies_from(questions, parts.ledger.state().of(name).kind) if questions is not None else ()
        despite = form.get("despite_rollback", "").strip()
        return change_lines(start(parts, name, which, plan, parts.who, reason, despite, bodies))

    operation = operations.start(f"Roll out {name}/{which}", person, "/", work)
    return RedirectResponse(f"/operations/{operation.id}", 303)


@router.post("/names/{name}/rollout/{how}")
def change_rollout(name: str, how: str, form: TheForm, person: ThePerson, operations: TheOperations) -> Response:
    """Hold, resume, step, abort or finish the rollout of a name."""
    person.demand(OPERATOR)
    if how not in _CHANGES:
        raise NotFound(f"A rollout can be changed by {', '.join(_CHANGES)}, not by {how!r}.")
    name, reason = reference(name).name, form.get("reason", "").strip()

    def work(parts: Parts) -> list[str]:
        return change_lines(_CHANGES[how](parts, name, changes.Order(parts.who, reason)))

    operation = operations.start(f"{how.capitalize()} the rollout of {name}", person, "/", work)
    return RedirectResponse(f"/operations/{operation.id}", 303)


def _ask_registry(parts: Parts) -> bool:
    parts.registry.ping()
    return True


def _shown(cache: Cache, search: str, page: str) -> dict[str, Any]:
    which = number(page, "The page") or 1
    if len(search) > 200:
        raise InvalidData("The text to search for has at most 200 characters.")
    seen = cache.read("live", live_view)
    registry = cache.read("registry", _ask_registry, age=3.0)
    view = seen.value or LiveView((), (), 0)
    found = len(view.matching(search))
    return {
        "seen": seen,
        "registry": registry,
        "view": view,
        "names": view.page(which, search),
        "search": search,
        "page": which,
        "pages": max(1, -(-found // PER_PAGE)),
        "found": found,
    }
