"""`/playground`: one question through two releases, side by side; which one is better becomes feedback."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from console.routes.parts import TheCache, TheForm, ThePages, ThePerson, required
from console.views.playground import ask, choices, judge
from mlflow_project.domain.reference import alias_named, reference
from mlflow_project.identity import OPERATOR, REVIEWER
from mlflow_project.settings import ClientSettings, load

router = APIRouter()


@router.get("/playground")
def playground_page(request: Request, pages: ThePages, cache: TheCache, name: str = "") -> Response:
    """The form."""
    return pages.show(request, "playground.html", seen=cache.read("choices", choices), **_asked(name=name[:200]))


@router.post("/playground")
def ask_both(request: Request, pages: ThePages, cache: TheCache, form: TheForm, person: ThePerson) -> Response:
    """Ask two aliases of a prompt. The answers count as traffic of the console's own key, and may cost money."""
    if not person.may(OPERATOR):
        person.demand(REVIEWER)
    name, question = reference(required(form, "name", "The prompt")).name, form.get("question", "")
    aliases = [alias_named(required(form, side, "The alias")) for side in ("first", "second")]
    settings, context = load(ClientSettings), form.get("context", "")
    answers = ask(settings, name, list(dict.fromkeys(aliases)), question, context)
    shown = _asked(name, question, context, aliases, answers)
    return pages.show(request, "playground.html", seen=cache.read("choices", choices), **shown)


@router.post("/playground/judge")
def judge_answers(request: Request, pages: ThePages, form: TheForm, person: ThePerson) -> Response:
    """Say which answer is better: it gets the score 1, the other one 0."""
    person.demand(REVIEWER)
    better, worse = form.get("better", ""), form.get("worse", "")
    settings = load(ClientSettings)
    said = [
        f"{judge(settings, request_id, good, person.name)}: {'good' if good else 'bad'}"
        for request_id, good in ((better, True), (worse, False))
        if request_id
    ]
    return pages.show(request, "judged.html", said=said)


def _asked(
    name: str = "", question: str = "", context: str = "", aliases: Any = ("Production", "Staging"), answers: Any = ()
) -> dict[str, Any]:
    return {"name": name, "question": question, "context": context, "aliases": aliases, "answers": answers}
