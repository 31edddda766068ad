"""The corpus under a prompt: the newest profile of its documents against that of the version which its release pins.

In: the registry and the table `<chunks>_profiles`, which `profile_documents` keeps. Out: what each check found.
"""

from __future__ import annotations

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.registry import Registry
from mlflow_project.errors import NotFound
from mlflow_project.rules.content import manifest_of
from mlflow_project.rules.drift.calibration import Found
from mlflow_project.rules.drift.profiles import compare


def corpus_drift(registry: Registry, name: str, alias: str = "Production") -> tuple[Found, ...]:
    """What changed in the documents since the pinned version; empty where there is nothing to compare: no knowledge
    base, no profile of the pinned version, or none after it."""
    entry = registry.entry(name)
    version = entry.aliases.get(alias) if entry is not None else None
    base = manifest_of(registry.version(name, version)).knowledge_base if version is not None else None
    if base is None:
        return ()
    try:
        table = open_table(f"{base.table}_profiles")
    except NotFound:
        return ()
    query = "SELECT * FROM profiles WHERE \"column\" = 'text' ORDER BY corpus_version, profiled_at"
    rows = [row for batch in batches(query, {"profiles": table}) for row in batch.to_pylist()]
    pinned = [row for row in rows if row["corpus_version"] == base.delta_version]
    later = [row for row in rows if row["corpus_version"] > base.delta_version]
    return compare(pinned[-1], later[-1]) if pinned and later else ()
