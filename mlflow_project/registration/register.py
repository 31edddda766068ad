"""Writes a prompt folder's templates to MLflow. A template becomes a new version if no version has its content.

In: a folder, registry, store. Out: the version of each template, and whether it is new. Afterwards the alias
`Candidate` points at the newest of these versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.adapters.registry import Registry, RegistryVersion
from mlflow_project.domain.release import KnowledgeBase, Manifest
from mlflow_project.errors import InvalidData
from mlflow_project.registration.checks import check_providers, check_reranker, check_vectors
from mlflow_project.registration.endpoints import pin_endpoints
from mlflow_project.registration.folder import manifest_from, read_folder
from mlflow_project.registration.template_file import TemplateFile
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import content_of, manifest_of
from mlflow_project.settings import ProviderSettings, load

CANDIDATE = "Candidate"


@dataclass(frozen=True)
class Registered:
    """One template and the version that has its content. `created`: this version is new."""

    name: str
    version: int
    digest: str
    template: str
    created: bool


def register(
    folder: Path,
    *,
    registry: Registry,
    store: ObjectStore,
    only: Sequence[str] | None = None,
    knowledge_base: KnowledgeBase | None = None,
    with_key: bool = False,
    endpoints: Endpoints | None = None,
) -> list[Registered]:
    """Register a folder's templates.

    Args:
        only: the file names of the templates to register; None: all.
        knowledge_base: what each version pins; None: the newest index of the table that the template names.
        with_key: there is a key for the outside LLM, so versions pin the provider of their section `with_key`.
        endpoints: the endpoints that templates may name; None: those of the settings.

    Raises:
        InvalidData: lists the mistakes in the files, one per line; or an index lacks the vectors that a template wants.
        NotFound: a file, or the index of a table, is missing.
        ConfigError: the file of endpoints is wrong.
    """
    name, templates = read_folder(folder, only)
    endpoints = endpoints or Endpoints(load(ProviderSettings))
    versions = registry.versions(name)
    manifests = [
        pin_endpoints(
            manifest_from(name, each, knowledge_base or _newest_index(store, each, versions), with_key=with_key),
            endpoints,
            each.path.name,
        )
        for each in templates
    ]
    check_providers(templates, manifests)
    known = _known_digests(versions)
    registered = []
    for template, manifest in zip(templates, manifests, strict=True):
        registered.append(_register(registry, template.path.name, manifest, known))
    point_candidate(registry, name, max(row.version for row in registered))
    return registered


def register_manifest(registry: Registry, manifest: Manifest, description: str) -> Registered:
    """Register a manifest that no template file spells, such as a prompt with a tuned model. `Candidate` points at it
    afterwards."""
    known = _known_digests(registry.versions(manifest.name))
    registered = _register(registry, description, manifest, known)
    point_candidate(registry, manifest.name, registered.version)
    return registered


def _register(registry: Registry, template: str, manifest: Manifest, known: dict[str, int]) -> Registered:
    digest = manifest_digest(manifest)
    if digest in known:
        return Registered(manifest.name, known[digest], digest, template, created=False)
    text, tags = content_of(manifest)
    version = registry.create_prompt_version(manifest.name, text, tags, f"from {template}")
    known[digest] = version
    return Registered(manifest.name, version, digest, template, created=True)


def _newest_index(
    store: ObjectStore, template: TemplateFile, versions: Sequence[RegistryVersion]
) -> KnowledgeBase | None:
    if template.front.table is None:
        return None
    from mlflow_project.adapters.retrieval import index_store

    found = index_store.latest(store, template.front.table)
    check_vectors(template, found, versions, lambda index: index_store.has_vectors(store, index))
    check_reranker(template, found, lambda index: index_store.has_reranker(store, index))
    return found


def _known_digests(versions: Sequence[RegistryVersion]) -> dict[str, int]:
    """By digest, the first version that has this content. Versions that cannot be read are left out."""
    known: dict[str, int] = {}
    for version in versions:
        try:
            known.setdefault(manifest_digest(manifest_of(version)), version.version)
        except InvalidData:
            continue
    return known


def point_candidate(registry: Registry, name: str, version: int) -> None:
    """Point the alias `Candidate` at a version, if it does not point there."""
    entry = registry.entry(name)
    if entry is None or entry.aliases.get(CANDIDATE) != version:
        registry.set_alias(name, CANDIDATE, version)
