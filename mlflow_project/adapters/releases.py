"""Release manifests in the object store: canonical JSON, named by its digest, written once.

In: a manifest. Out: `releases/<hex>/manifest.json` in the artifacts bucket, and for people, per version,
`prompts/<name>_v<version>/prompt_template.txt` and `config.json`, which nothing reads.
"""

from __future__ import annotations

import json

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import Manifest, Release
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.rules.canonical import canonical, digest, manifest_digest
from mlflow_project.rules.content import manifest_of


def manifest_key(release_digest: str) -> str:
    """Where the manifest of this digest lies."""
    return f"releases/{release_digest.removeprefix('sha256:')}/manifest.json"


def write_release(store: ObjectStore, release: Release) -> None:
    """Write the manifest, once, and the copy for people.

    Raises:
        SealBroken: something else lies under the manifest's digest.
    """
    data, bucket = canonical(release.manifest.to_dict()), store.settings.artifacts_bucket
    if not store.put_new(bucket, manifest_key(release.digest), data, "application/json"):
        read_manifest(store, release.digest)
    _write_copy_for_people(store, release)


def read_manifest(store: ObjectStore, release_digest: str) -> Manifest:
    """The manifest that this digest names.

    Raises:
        NotFound: nothing lies there.
        SealBroken: what lies there has another digest, or is no manifest.
    """
    bucket, key = store.settings.artifacts_bucket, manifest_key(release_digest)
    data = store.get(bucket, key)
    if digest(data) != release_digest:
        raise SealBroken(f"The manifest at {bucket}/{key} was changed: its digest is {digest(data)}, not its name.")
    try:
        return Manifest.from_dict(json.loads(data))
    except (ValueError, InvalidData) as error:
        raise SealBroken(f"What lies at {bucket}/{key} is no manifest: {error}") from error


def present_digest(registry: Registry, name: str, version: int) -> str | None:
    """The digest of a version's present content in MLflow; None when it was deleted or cannot be read."""
    try:
        return manifest_digest(manifest_of(registry.version(name, version)))
    except (NotFound, InvalidData):
        return None


def _write_copy_for_people(store: ObjectStore, release: Release) -> None:
    folder = f"prompts/{release.name}_v{release.version}"
    fields = release.manifest.to_dict()
    turns = fields.pop("template", ())
    if not turns:
        return
    text = "\n\n".join(f"# {turn['role']}\n\n{turn['content']}" for turn in turns)
    config = {"version": release.version, "digest": release.digest, **fields}
    bucket = store.settings.artifacts_bucket
    store.put(bucket, f"{folder}/prompt_template.txt", text.encode(), "text/plain; charset=utf-8")
    store.put(bucket, f"{folder}/config.json", json.dumps(config, indent=2, ensure_ascii=False).encode())
