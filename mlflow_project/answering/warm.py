"""A release made ready: template compiled, index open, provider at hand. What can fail fails here, not in a request."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_project.adapters.providers import Fallback, Provider, Providers
from mlflow_project.adapters.providers.patience import FOR_A_QUESTION
from mlflow_project.adapters.retrieval.index import open_index
from mlflow_project.answering.searcher import Endpoints, Searcher
from mlflow_project.domain.release import Manifest, ProviderChoice, Release
from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.rules.json_schema import Schema
from mlflow_project.rules.templates import Template, compile_template

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmRelease:
    """Everything that answering needs; safe to use by many requests at once. Close it when the last one has ended."""

    release: Release
    template: Template
    provider: Provider
    searcher: Searcher | None
    schema: Schema | None

    async def aclose(self) -> None:
        """Close the index. Connections are shared, and closed with their `Providers`."""
        if self.searcher is not None:
            self.searcher.close()


def warm(
    release: Release,
    *,
    index_folder: Path | None,
    scratch: Path,
    providers: Providers,
    words_if_endpoint_fails: bool = False,
) -> WarmRelease:
    """Make a prompt's release ready.

    Args:
        index_folder: holds its fetched index, which is checked.
        scratch: a writable folder.
        words_if_endpoint_fails: search by words alone while the endpoint that embeds questions is down, and keep the
            order of the search while the one that orders chunks is. Without, such questions fail.

    Raises:
        InvalidData: the manifest is no prompt's, its template, parameters or schema are wrong, or its index is missing.
        IndexBroken: the folder does not hold the index that the release pins.
        ConfigError: the provider, and each fallback, needs an endpoint, a key or an address that is not set here.
    """
    manifest = release.manifest
    if manifest.template is None or manifest.provider is None:
        raise InvalidData(f"{release.label} is a {manifest.kind} without template and provider: it cannot answer.")
    return WarmRelease(
        release=release,
        template=compile_template(manifest.template),
        schema=_schema(release.label, manifest.response_schema),
        provider=_provider(manifest, manifest.provider, providers),
        searcher=_searcher(release, index_folder, scratch, providers, words_if_endpoint_fails),
    )


def _schema(label: str, schema: Mapping[str, Any] | None) -> Schema | None:
    if schema is None:
        return None
    try:
        return Schema(schema)
    except InvalidData as error:
        raise InvalidData(f"The response schema of {label} cannot be used: {error}.") from error


def _provider(manifest: Manifest, first: ProviderChoice, providers: Providers) -> Provider:
    """The chain of those providers that are set up on this machine."""
    chain: list[Provider] = []
    missing: list[ConfigError] = []
    for choice in (first, *(manifest.fallbacks or ())):
        try:
            chain.append(providers.provider_for(choice))
        except ConfigError as error:
            missing.append(error)
    if not chain:
        raise missing[0]
    for why in missing:
        logger.warning("a provider is not set up here; the others of its release are asked", extra={"why": str(why)})
    return chain[0] if len(chain) == 1 else Fallback(tuple(chain))


def _searcher(
    release: Release, folder: Path | None, scratch: Path, providers: Providers, may_fail: bool
) -> Searcher | None:
    if release.manifest.retrieval is None:
        return None
    base = release.manifest.knowledge_base
    if folder is None or base is None:
        raise InvalidData(f"{release.label} retrieves chunks, but no index folder was given for its knowledge base.")
    index = open_index(folder, scratch, base.index)
    embedder, reranker = index.embedder, index.reranker
    return Searcher(
        index,
        release.manifest.retrieval,
        Endpoints(
            providers.embeddings_for(embedder, FOR_A_QUESTION) if embedder and embedder.is_over_http else None,
            providers.reranking_for(reranker, FOR_A_QUESTION) if reranker and reranker.kind == "endpoint" else None,
            may_fail,
        ),
    )
