"""Reads a prompt folder: `prompts/<name>/` with the templates `v1.md`, `v2.md`, … The folder's name is the prompt's.

In: the folder, and which of its templates. Out: the templates in the order of their numbers. The folder's evaluation
cases and policy are not read here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mlflow_project.domain.release import KnowledgeBase, Manifest
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.registration.template_file import TemplateFile, read_template

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def read_folder(folder: Path, only: Sequence[str] | None = None) -> tuple[str, list[TemplateFile]]:
    """Read the prompt's name and its templates, or only the templates named in `only`.

    Raises:
        NotFound: no such folder, no template in it, or a named one is missing.
        InvalidData: lists all mistakes of all templates, one per line.
    """
    if not folder.is_dir():
        raise NotFound(f"There is no prompt folder {folder}: it must hold templates such as v1.md.")
    name = folder.resolve().name
    check_name(name)
    templates, wrong = [], []
    for path in _paths(folder, only):
        try:
            templates.append(read_template(path))
        except InvalidData as error:
            wrong.append(str(error))
    if wrong:
        raise InvalidData("\n".join(wrong))
    return name, templates


def check_name(name: str) -> None:
    """Check that a prompt can have this name.

    Raises:
        InvalidData: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidData(
            f"A prompt cannot be named {name!r}. Use letters, digits, '_', '-' and '.', and begin with a letter, a "
            "digit or '_'."
        )


def manifest_from(
    name: str, template: TemplateFile, knowledge_base: KnowledgeBase | None, *, with_key: bool = False
) -> Manifest:
    """The manifest of a template, which pins this state of its knowledge base.

    Args:
        with_key: there is a key for the outside LLM. Then the manifest pins the provider of the section `with_key`,
        with
            that section's prices if it has some.
    """
    front = template.front
    keyed = with_key and front.with_key is not None
    return Manifest(
        kind="prompt",
        name=name,
        template=template.messages,
        provider=front.with_key if keyed else front.provider,
        response_schema=front.response_schema,
        retrieval=front.retrieval,
        knowledge_base=knowledge_base,
        prices=(front.prices_with_key if keyed else None) or front.prices,
        fallbacks=front.fallbacks,
        repair=front.repair,
        system_allowed=front.system_allowed,
        tools=front.tools,
        callers=front.callers,
    )


def _paths(folder: Path, only: Sequence[str] | None) -> list[Path]:
    found = sorted(folder.glob("*.md"), key=_numeric)
    if not only:
        if not found:
            raise NotFound(f"There is no template in {folder}: write v1.md.")
        return found
    missing = [name for name in only if folder / name not in found]
    if missing:
        there = ", ".join(path.name for path in found) or "none"
        raise NotFound(f"There is no {', '.join(missing)} in {folder}; its templates are: {there}.")
    return [path for path in found if path.name in only]


def _numeric(path: Path) -> list[tuple[int, str]]:
    """A sort key by which v2 comes before v10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]
