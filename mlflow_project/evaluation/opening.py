"""Asks a release in an evaluation or a job, by the code that serves it and with the knowledge base that it pins.

In: a release and the object store. Out: an async context that gives `(case) -> Answer`, and closes everything at its
end.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.answering import answer, warm
from mlflow_project.answering.question import QUESTION
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.asking import Ask
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.templates import CONTEXT
from mlflow_project.settings import ProviderSettings


def opening(
    release: Release,
    store: ObjectStore,
    indexes: Path,
    settings: ProviderSettings,
    masker: Masker,
    per_minute: float | None = None,
) -> Callable[[], AbstractAsyncContextManager[Ask]]:
    """Returns how to open the release. Fetches its search index now; the folder `indexes` keeps it for the next time.

    `per_minute` is the most requests that are sent in a minute, tries after a failure included; None: no limit.

    Raises:
        InvalidData: the release is not a prompt.
    """
    if release.manifest.kind != "prompt":
        raise InvalidData(f"{release.label} is a {release.manifest.kind}: only prompts can be asked questions.")
    pinned = release.manifest.knowledge_base
    index = index_store.fetch(store, pinned.index, indexes) if pinned else None

    @asynccontextmanager
    async def opened() -> AsyncIterator[Ask]:
        with tempfile.TemporaryDirectory(prefix="switchyard-evaluate-") as scratch:
            async with Providers(settings, masker, per_minute) as providers:
                warmed = warm(release, index_folder=index, scratch=Path(scratch), providers=providers)

                async def ask(case: Case) -> Answer:
                    variables = variables_of(case, warmed.template.wanted)
                    return await answer(warmed, variables, context=case.context)

                try:
                    yield ask
                finally:
                    await warmed.aclose()

    return opened


def variables_of(case: Case, wanted: frozenset[str]) -> dict[str, str]:
    """The template's variables: those of the case, and its question as `question` or as the only one that is left."""
    left = sorted(wanted - case.variables.keys() - {CONTEXT})
    if QUESTION in left or len(left) > 1 or not (left or case.variables):
        return {QUESTION: case.question, **case.variables}
    return {**dict.fromkeys(left, case.question), **case.variables}
