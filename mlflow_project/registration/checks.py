"""Checks of a registration that need more than the template file. Each runs before a version number is spent.

In: templates, the manifests made of them, and what is registered already. Out: nothing, or `InvalidData`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.providers.choice import check_choice
from mlflow_project.adapters.registry import RegistryVersion
from mlflow_project.domain.release import KnowledgeBase, Manifest
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.registration.template_file import TemplateFile
from mlflow_project.rules.content import manifest_of

BESIDE_TEMPLATES = ("cases.jsonl", "policy.yaml")


def check_providers(templates: Sequence[TemplateFile], manifests: Sequence[Manifest]) -> None:
    """Check the providers of all templates and their parameters, also of the section that is not pinned now.

    Raises:
        InvalidData: with a line for each mistake.
    """
    mistakes: list[str] = []
    for template, manifest in zip(templates, manifests, strict=True):
        front = template.front
        written = [choice for choice in (front.provider, front.with_key) if choice is not None and choice.name]
        pinned = [choice for choice in (manifest.provider, *(manifest.fallbacks or ())) if choice is not None]
        for choice in {repr(replace(each, endpoint=None)): each for each in (*pinned, *written)}.values():
            try:
                check_choice(choice)
            except InvalidData as error:
                mistakes.append(f"{template.path}: {error}")
    if mistakes:
        raise InvalidData("\n".join(mistakes))


def check_vectors(
    template: TemplateFile,
    index: KnowledgeBase,
    versions: Sequence[RegistryVersion],
    has_vectors: Callable[[str], bool],
) -> None:
    """Check that an index has vectors if the template gives them a weight, or if the newest version has them.

    Without this, a search by words and vectors would become one by words alone, and nobody would be told.

    Raises:
        InvalidData: it has none.
    """
    retrieval = template.front.retrieval
    if retrieval is None or retrieval.vectors_weight <= 0 or has_vectors(index.index):
        return
    before = _newest_pinned(versions, index.table)
    if template.front.wants_vectors:
        why = f"gives vectors the weight {retrieval.vectors_weight:g}"
    elif before is not None and _had_vectors(before, has_vectors):
        why = "searches by words and vectors, like the version before it"
    else:
        return
    raise InvalidData(
        f"{template.path} {why}, and the newest index of {index.table} (Delta version {index.delta_version}) has no "
        f"vectors. Build one that has: `switchyard index {index.table} --vectors`. To search by words alone, write "
        "`vectors_weight: 0` into the template's retrieval."
    )


def check_reranker(template: TemplateFile, index: KnowledgeBase, has_reranker: Callable[[str], bool]) -> None:
    """Check that an index has a reranker if the template asks for one.

    Raises:
        InvalidData: it has none.
    """
    retrieval = template.front.retrieval
    if retrieval is None or not retrieval.rerank or has_reranker(index.index):
        return
    raise InvalidData(
        f"{template.path} reranks {retrieval.rerank} chunks, and the newest index of {index.table} (Delta version "
        f"{index.delta_version}) has no reranker. Build one that has: `switchyard index {index.table} --reranker "
        "onnx:FOLDER`. To rerank nothing, leave `rerank` out."
    )


def check_cases_are_found(folder: Path, prompts: Path) -> None:
    """Check that `evaluate` and `gate`, which look into `prompts/NAME`, find the cases and the policy of this folder.

    Raises:
        InvalidData: they are in another folder.
    """
    looked_at = prompts / folder.resolve().name
    beside = [name for name in BESIDE_TEMPLATES if (folder / name).is_file()]
    if not beside or looked_at.resolve() == folder.resolve():
        return
    raise InvalidData(
        f"{folder} holds {' and '.join(beside)}, and `switchyard evaluate` and `switchyard gate` look for them in "
        f"{looked_at.absolute()}. Register from the folder that holds `{prompts}`, or move {folder} there. If you will "
        "name them with --cases and --policy each time, say so with --cases-elsewhere."
    )


def _newest_pinned(versions: Sequence[RegistryVersion], table: str) -> KnowledgeBase | None:
    """What the newest version that can be read pins of this table."""
    for version in sorted(versions, key=lambda each: each.version, reverse=True):
        try:
            pinned = manifest_of(version).knowledge_base
        except InvalidData:
            continue
        return pinned if pinned is not None and pinned.table == table else None
    return None


def _had_vectors(pinned: KnowledgeBase, has_vectors: Callable[[str], bool]) -> bool:
    try:
        return has_vectors(pinned.index)
    except NotFound:  # the index was removed since
        return False
