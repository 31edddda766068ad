"""Tunes the retrieval of one release: opens what it pins, sweeps, and keeps the sweep in MLflow.

In: a release and cases. Out: the sweep and the address of its run. Changes nothing else.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.extractive import FLOOR
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.adapters.retrieval.index import Index, open_index
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.cases import cases_digest
from mlflow_project.evaluation.opening import opening
from mlflow_project.evaluation.tuning.corpus import load_corpus
from mlflow_project.evaluation.tuning.measure import Vectors
from mlflow_project.evaluation.tuning.record import keep_sweep
from mlflow_project.evaluation.tuning.settings import Setting
from mlflow_project.evaluation.tuning.sweep import Halves, Sweep, can_be_searched, tune_floor, tune_retrieval
from mlflow_project.evaluation.workplace import Workplace
from mlflow_project.rules.scorers import SCORERS, ScoringContext
from mlflow_project.settings import ProviderSettings

Step = Callable[[str], AbstractContextManager[Any]]
_EXTRACTIVE, _FLOOR = "extractive", "floor"


def tune(place: Workplace, release: Release, cases: Sequence[Case], source: str, step: Step) -> tuple[Sweep, str]:
    """Sweep over the settings of a release's retrieval. Returns the sweep and the address of its run.

    Raises:
        InvalidData: the release retrieves nothing, or too few cases name the passage that answers them.
        ProviderError: an endpoint embeds the questions, and it failed.
    """
    manifest = release.manifest
    if manifest.retrieval is None or manifest.knowledge_base is None or manifest.provider is None:
        raise InvalidData(f"{release.label} pins no knowledge base, so it has no retrieval to tune.")
    halves = Halves.of([case for case in cases if can_be_searched(case)])
    sweep = Sweep(Setting(manifest.retrieval))
    base = manifest.knowledge_base
    with tempfile.TemporaryDirectory(prefix="switchyard-tune-") as folder:
        scratch = Path(folder)
        with step("opening the knowledge base"):
            index_folder = index_store.fetch(place.store, base.index, place.folder / "indexes")
            index = open_index(index_folder, scratch / "pinned", base.index)
            corpus = load_corpus(base, index.embedder, index_folder)
            vectors = _vectors(index, [*halves.choosing, *halves.held_out], place.providers)
        with step("searching"):
            tune_retrieval(sweep, index, corpus, halves, vectors, scratch)
    if manifest.provider.name == _EXTRACTIVE:
        with step("answering"):
            every, present = Halves.of(cases), float(manifest.provider.parameters.get(_FLOOR, FLOOR))
            tune_floor(sweep, every, present, lambda floor, some: _correct(place, release, sweep, floor, some))
    with step("writing the runs"):
        user = place.who.partition(":")[2]
        address = keep_sweep(place.experiments, release, sweep, halves, source, cases_digest(cases), user)
    return sweep, address


def _vectors(index: Index, cases: Sequence[Case], settings: ProviderSettings) -> Vectors:
    """The vectors of all questions, if an endpoint embeds them. Each is asked for once."""
    embedder = index.embedder
    if embedder is None or not index.asks_an_endpoint:
        return {}

    async def ask() -> dict[str, Any]:
        from mlflow_project.adapters.providers.embedding import IN_A_REQUEST

        found: dict[str, Any] = {}
        async with Providers(settings) as providers:
            endpoint = providers.embeddings_for(embedder)
            for start in range(0, len(cases), IN_A_REQUEST):
                some = cases[start : start + IN_A_REQUEST]
                embedded = await endpoint.embed([case.question for case in some], "question")
                found |= {case.id: vector for case, vector in zip(some, embedded.vectors, strict=True)}
        return found

    return asyncio.run(ask())


def _correct(
    place: Workplace, release: Release, sweep: Sweep, floor: float, cases: Sequence[Case]
) -> tuple[float, ...]:
    """Answer cases with another floor, over the index that the release pins, and say which answers are right."""
    manifest = release.manifest
    assert manifest.provider is not None
    retrieval = manifest.retrieval if sweep.setting.splitter else sweep.setting.retrieval
    provider = replace(manifest.provider, parameters={**manifest.provider.parameters, _FLOOR: floor})
    tried = replace(release, manifest=replace(manifest, retrieval=retrieval, provider=provider))

    async def ask() -> tuple[float, ...]:
        async with opening(tried, place.store, place.folder / "indexes", place.providers, place.masker)() as ask_one:
            contexts = [ScoringContext(case, await ask_one(case)) for case in cases]
        return tuple(SCORERS["correct"](context).value or 0.0 for context in contexts)

    return asyncio.run(ask())
