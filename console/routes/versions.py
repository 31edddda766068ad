"""`/names/...`: what exists, one name, one version with its evidence, what differs; approve and promote."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from console.routes.parts import TheCache, TheForm, TheOperations, ThePages, ThePerson, number, required
from console.views.cases import MOST, CasesView, cases_view
from console.views.versions import (
    PER_PAGE,
    changes_between,
    every_name,
    predicate_of,
    version_view,
    versions_of,
)
from mlflow_project.domain.reference import alias_named, reference
from mlflow_project.domain.release import version_number
from mlflow_project.errors import InvalidData
from mlflow_project.identity import APPROVER, OPERATOR
from mlflow_project.parts import Parts
from mlflow_project.promotion.approve import approve
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.report import flip_lines

router = APIRouter()


@router.get("/names")
def names_page(request: Request, pages: ThePages, cache: TheCache, search: str = "", page: str = "1") -> Response:
    """Every prompt and model of the registry."""
    which, seen = number(page, "The page") or 1, cache.read("names", every_name, age=5.0)
    found = [each for each in seen.value or () if search.lower() in each.name.lower()]
    names, last = found[PER_PAGE * (which - 1) : PER_PAGE * which], max(1, -(-len(found) // PER_PAGE))
    return pages.show(
        request, "names.html", seen=seen, names=names, found=len(found), search=search[:200], page=which, pages=last
    )


@router.get("/names/{name}")
def name_page(request: Request, name: str, pages: ThePages, cache: TheCache, page: str = "1") -> Response:
    """The versions of one name, newest first."""
    name, which = reference(name).name, number(page, "The page") or 1
    seen = cache.read(f"versions:{name}", lambda parts: versions_of(parts, name), age=5.0)
    found = seen.value or []
    shown = found[PER_PAGE * (which - 1) : PER_PAGE * which]
    last = max(1, -(-len(found) // PER_PAGE))
    return pages.show(request, "name.html", name=name, seen=seen, versions=shown, every=found, page=which, pages=last)


@router.get("/names/{name}/diff")
def diff_page(
    request: Request, name: str, pages: ThePages, cache: TheCache, before: str = "", after: str = ""
) -> Response:
    """What differs between two versions."""
    name, left, right = reference(name).name, number(before, "The first version"), number(after, "The second version")
    if left is None or right is None:
        raise InvalidData("Name two versions to compare: ?before=1&after=2.")
    seen = cache.read(f"diff:{name}:{left}:{right}", lambda parts: changes_between(parts, name, left, right), age=5.0)
    return pages.show(request, "diff.html", name=name, before=left, after=right, seen=seen)


@router.get("/names/{name}/{version}")
def version_page(request: Request, name: str, version: str, pages: ThePages, cache: TheCache) -> Response:
    """One version: content, seal, verdict, and the controls."""
    name, which = reference(name).name, version_number(version)
    seen = cache.read(f"version:{name}:{which}", lambda parts: version_view(parts, name, which), age=2.0)
    return pages.show(request, "version.html", name=name, version=which, seen=seen, view=seen.value)


@router.get("/names/{name}/{version}/cases")
def cases_page(request: Request, name: str, version: str, pages: ThePages, cache: TheCache, by: str = "") -> Response:
    """The cases that got worse, with the answers of both versions."""
    name, which, by = reference(name).name, version_number(version), by[:100]

    def read(parts: Parts) -> CasesView:
        return cases_view(parts, predicate_of(parts, parts.ledger.state().of(name), which), by)

    seen = cache.read(f"cases:{name}:{which}:{by}", read, age=30.0)
    return pages.show(request, "cases.html", name=name, version=which, seen=seen, most=MOST)


@router.post("/names/{name}/{version}/approve")
def approve_version(name: str, version: str, form: TheForm, person: ThePerson, operations: TheOperations) -> Response:
    """Record that this person approves the version."""
    person.demand(APPROVER)
    name, which, reason = reference(name).name, version_number(version), form.get("reason", "").strip()

    def work(parts: Parts) -> list[str]:
        record = approve(parts, name, which, parts.who, reason)
        return [f"{parts.who} approved {name}/{which} ({record.digest}), record {record.serial} of the ledger."]

    operation = operations.start(f"Approve {name}/{which}", person, f"/names/{name}/{which}", work)
    return RedirectResponse(f"/operations/{operation.id}", 303)


@router.post("/names/{name}/{version}/promote")
def promote_version(name: str, version: str, form: TheForm, person: ThePerson, operations: TheOperations) -> Response:
    """Move an alias to the version."""
    person.demand(OPERATOR)
    name, which, to = reference(name).name, version_number(version), alias_named(required(form, "to", "The alias"))
    reason, despite = form.get("reason", "").strip(), form.get("despite_rollback", "").strip()

    def work(parts: Parts) -> list[str]:
        return flip_lines(promote(parts, name, which, to, parts.who, reason, despite))

    operation = operations.start(f"Promote {name}/{which} to {to}", person, f"/names/{name}/{which}", work)
    return RedirectResponse(f"/operations/{operation.id}", 303)
