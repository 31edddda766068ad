"""The corpus under a prompt: the newest profile of its documents against that of the version which its release pins.

In: the registry and the table `<chunks>_profiles`, which `profile_documents` keeps. Out: what each check found, from
the one profile to the other.
"""

from __future__ import annotations

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import KnowledgeBase, Release
from mlflow_project.drift.watch import Watched, iso
from mlflow_project.errors import NotFound
from mlflow_project.feedback.live import Row
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of
from mlflow_project.rules.drift.profiles import compare


def corpus_drift(registry: Registry, name: str, alias: str = "Production") -> Watched | None:
    """What changed in the documents under the release of an alias; None where there is no such release."""
    entry = registry.entry(name)
    version = entry.aliases.get(alias) if entry is not None else None
    if version is None:
        return None
    manifest = manifest_of(registry.version(name, version))
    return documents_drift(Release(version, manifest_digest(manifest), manifest))


def documents_drift(release: Release) -> Watched | None:
    """What changed in the documents since the release pinned them; None where there is nothing to compare: no knowledge
    base, no profile of the pinned version, or none after it."""
    base = release.manifest.knowledge_base
    profiles = _profiles(base) if base is not None else None
    return _watched(release, *profiles) if profiles is not None else None


def _profiles(base: KnowledgeBase) -> tuple[Row, Row] | None:
    """Of the documents' texts: the profile of the pinned version, and the newest one after it."""
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
        since=iso(pinned["profiled_at"]),
        until=iso(newest["profiled_at"]),
        rows=newest["rows"],
        reference=pinned["rows"],
        status="drift" if any(one.alarm for one in found) else "quiet",
        found=found,
        counted="documents",
    )
