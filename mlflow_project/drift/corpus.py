"""Drift of a prompt's documents: compares their newest profile with the profile of the version that a release pins.

In: the registry and the table `<chunks>_profiles`, which `profile_documents` writes. Out: what each check found between
the two profiles.
"""

from __future__ import annotations

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import KnowledgeBase, Release
from mlflow_project.domain.times import utc_text
from mlflow_project.drift.watch import Watched
from mlflow_project.errors import NotFound
from mlflow_project.feedback.live import Row
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of
from mlflow_project.rules.drift.profiles import compare


def corpus_drift(registry: Registry, name: str, alias: str = "Production") -> Watched | None:
    """Compare the documents of the release under an alias. Returns None if the alias names no release."""
    entry = registry.entry(name)
    version = entry.aliases.get(alias) if entry is not None else None
    if version is None or entry is None or entry.kind == "model":
        return None
    manifest = manifest_of(registry.version(name, version))
    return documents_drift(Release(version, manifest_digest(manifest), manifest))


def documents_drift(release: Release) -> Watched | None:
    """Compare a release's documents now with those that it pins.

    Returns None if there is nothing to compare: the release has no knowledge base, the pinned version has no profile,
    or no later version has one.
    """
    base = release.manifest.knowledge_base
    profiles = _profiles(base) if base is not None else None
    return _watched(release, *profiles) if profiles is not None else None


def _profiles(base: KnowledgeBase) -> tuple[Row, Row] | None:
    """The profiles of the documents' texts: of the pinned version, and the newest later one."""
    try:
        table = open_table(f"{base.table}_profiles")
    except NotFound:
        return None
    query = "SELECT * FROM profiles WHERE \"column\" = 'text' ORDER BY corpus_version, profiled_at"
    rows = [row for batch in batches(query, {"profiles": table}) for row in batch.to_pylist()]
    pinned = [row for row in rows if row["corpus_version"] == base.delta_version]
    later = [row for row in rows if row["corpus_version"] > base.delta_version]
    return (pinned[-1], later[-1]) if pinned and later else None


def _watched(release: Release, pinned: Row, newest: Row) -> Watched:
    found = compare(pinned, newest)
    return Watched(
        release.name,
        release.label,
        release.digest,
        since=utc_text(pinned["profiled_at"]),
        until=utc_text(newest["profiled_at"]),
        rows=newest["rows"],
        reference=pinned["rows"],
        status="drift" if any(one.alarm for one in found) else "quiet",
        found=found,
        counted="documents",
    )
