"""Indexes in the object store: immutable, named by the digest of their manifest, one for each (table, Delta version,
specification).

`indexes/<hex>/…` holds the files and `manifest.json`; `index-of/<table>/<Delta version>/<specification>.json` points
at it. The manifest goes last and the pointer after it, so whatever can be found is complete. A pointer is written once:
of two builds of the same thing the first one counts, since builds differ byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval.index_files import MANIFEST, read_manifest, verify, write_manifest
from mlflow_project.domain.release import KnowledgeBase
from mlflow_project.errors import IndexBroken, NotFound
from mlflow_project.private_files import exclusive
from mlflow_project.rules.canonical import canonical, digest_of

log = logging.getLogger(__name__)


def publish(store: ObjectStore, folder: Path, manifest: dict[str, Any]) -> str:
    """Store a built folder; returns the digest that counts for this table, version and specification.

    `manifest` says `table`, `delta_version`, `specification` and what else is known (counts, model); files and their
    digests are added here.
    """
    table = table_uri(manifest["table"])
    name = write_manifest(folder, {**manifest, "table": table})
    data = (folder / MANIFEST).read_bytes()
    files = read_manifest(data, name)["files"]
    bucket = store.settings.artifacts_bucket
    for file in files:
        store.upload(bucket, f"{_prefix(name)}/{file['path']}", folder / file["path"])
    store.put(bucket, f"{_prefix(name)}/{MANIFEST}", data, "application/json")
    pointer = canonical({"table": table, "delta_version": manifest["delta_version"], "index": name})
    key = _pointer(table, manifest["delta_version"], manifest["specification"])
    if store.put_new(bucket, key, pointer, "application/json"):
        return name
    first = str(json.loads(store.get(bucket, key))["index"])
    if first != name:
        _remove(store, name, files)
    return first


def find(store: ObjectStore, table: str, delta_version: int, specification: Mapping[str, Any]) -> str | None:
    """The digest of the index of exactly this; None when there is none yet."""
    key = _pointer(table_uri(table), delta_version, specification)
    try:
        return str(json.loads(store.get(store.settings.artifacts_bucket, key))["index"])
    except NotFound:
        return None


def latest(store: ObjectStore, table: str) -> KnowledgeBase:
    """The newest Delta version of a table that has an index; of several indexes of it, the one made last.

    Raises:
        NotFound: the table has none.
    """
    table = table_uri(table)
    bucket = store.settings.artifacts_bucket
    pointers = list(store.list(bucket, f"index-of/{_table_key(table)}/"))
    if not pointers:
        raise NotFound(f"{table} has no search index yet: build one with `switchyard index {table}`.")
    newest = max(pointers, key=lambda item: (item.key.rsplit("/", 1)[0], item.modified, item.key))
    pointer = json.loads(store.get(bucket, newest.key))
    return KnowledgeBase(table, int(pointer["delta_version"]), str(pointer["index"]))


def has_vectors(store: ObjectStore, name: str) -> bool:
    """Whether an index has vectors.

    Raises:
        NotFound: there is no such index.
    """
    return manifest_of(store, name)["specification"].get("vectors") is not None


def has_reranker(store: ObjectStore, name: str) -> bool:
    """Whether an index has a reranker.

    Raises:
        NotFound: there is no such index.
    """
    return manifest_of(store, name)["specification"].get("reranker") is not None


def manifest_of(store: ObjectStore, name: str) -> dict[str, Any]:
    """The manifest behind a digest, verified.

    Raises:
        NotFound: no such index. InvalidData: the bytes do not match the digest.
    """
    data = store.get(store.settings.artifacts_bucket, f"{_prefix(name)}/{MANIFEST}")
    return read_manifest(data, name)


def fetch(store: ObjectStore, name: str, into: Path) -> Path:
    """Bring an index to `into/<hex>`, every file verified; the folder appears complete or not at all.

    A folder that is there already is verified and reused; a damaged one is fetched again.

    Raises:
        NotFound: no such index. InvalidData: what the store holds does not match the digest.
    """
    target = into / _hex(name)
    with exclusive(into / f".{_hex(name)}"):
        if target.exists():
            try:
                return verify(target, name)
            except IndexBroken as damage:
                log.error("a damaged index is fetched again", extra={"index": name, "damage": str(damage)})
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as scratch:
            folder = Path(scratch) / "index"
            _download(store, name, folder)
            verify(folder, name)
            if target.exists():
                target.rename(Path(scratch) / "damaged")
            folder.rename(target)
    return target


def table_uri(table: str) -> str:
    """One spelling for a table: `s3a://`, no slash at the end."""
    return ("s3a://" + table[5:] if table.startswith("s3://") else table).rstrip("/")


def _remove(store: ObjectStore, name: str, files: list[dict[str, Any]]) -> None:
    """Take away an index that nothing points at, its manifest first: what can be found is always complete."""
    for path in (MANIFEST, *(file["path"] for file in files)):
        store.delete(store.settings.artifacts_bucket, f"{_prefix(name)}/{path}")


def _download(store: ObjectStore, name: str, folder: Path) -> None:
    bucket = store.settings.artifacts_bucket
    manifest = manifest_of(store, name)
    for file in manifest["files"]:
        path = folder / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(bucket, f"{_prefix(name)}/{file['path']}", path)
    (folder / MANIFEST).write_bytes(canonical(manifest))


def _hex(name: str) -> str:
    return name.removeprefix("sha256:")


def _prefix(name: str) -> str:
    return f"indexes/{_hex(name)}"


def _table_key(table: str) -> str:
    return hashlib.sha256(table.encode()).hexdigest()[:32]


def _pointer(table: str, delta_version: int, specification: Mapping[str, Any]) -> str:
    return f"index-of/{_table_key(table)}/{delta_version:012d}/{_hex(digest_of(specification))}.json"
