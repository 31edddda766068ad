"""The files of one search index on disk: named by a manifest, and checked against it.

In: a folder with the files and `manifest.json`. Out: the digest that the index is named by, or which file does not
belong to it. Knows no object store, so that the server's workers can check what they open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_project.errors import IndexBroken
from mlflow_project.rules.canonical import canonical, digest

INDEX_SCHEMA = "switchyard.index/v1"
MANIFEST = "manifest.json"

Stamps = dict[str, tuple[int, int, int, int]]
"""By file: inode, size, time of the last write, time of the last change of the inode."""


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> str:
    """Describe a built folder in `manifest.json`: what is known of it, and each file with its digest and size. Returns
    the digest of the manifest, which names the index."""
    data = canonical({"schema": INDEX_SCHEMA, **facts, "files": _files(folder)})
    (folder / MANIFEST).write_bytes(data)
    return digest(data)


def read_manifest(data: bytes, name: str) -> dict[str, Any]:
    """The manifest behind a digest.

    Raises:
        IndexBroken: the bytes have another digest, another schema, or name files outside the folder.
    """
    if digest(data) != name:
        raise IndexBroken(f"The manifest of index {name} has the digest {digest(data)}: it was changed or damaged.")
    manifest: dict[str, Any] = json.loads(data)
    unsafe = [file["path"] for file in manifest["files"] if ".." in Path(file["path"]).parts or file["path"][0] == "/"]
    if manifest.get("schema") != INDEX_SCHEMA or unsafe:
        raise IndexBroken(f"Index {name} is not of schema {INDEX_SCHEMA} or names files outside its folder.")
    return manifest


def verify(folder: Path, name: str) -> Path:
    """Check each file of an index against its manifest, and the manifest against its name. Returns the folder.

    Raises:
        IndexBroken: a file is missing, changed or too many.
    """
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes(), name)
        found = _files(folder)
    except OSError as error:
        raise IndexBroken(f"{folder} holds no search index that can be read: {error}.") from error
    if found != manifest["files"]:
        wrong = [f"{file['path']} is missing or changed" for file in manifest["files"] if file not in found]
        named = {file["path"] for file in manifest["files"]}
        wrong += [f"{file['path']} does not belong to it" for file in found if file["path"] not in named]
        raise IndexBroken(f"Index {name} in {folder} is damaged: {', '.join(wrong)}.")
    return folder


def stamps(folder: Path) -> Stamps:
    """What changes when somebody writes to a file of the folder, or adds or removes one."""
    found: Stamps = {}
    for path in folder.rglob("*"):
        at = path.lstat()
        found[path.relative_to(folder).as_posix()] = (at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
    return found


def _files(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return [
        {"path": path.relative_to(folder).as_posix(), "digest": _file_digest(path), "bytes": path.stat().st_size}
        for path in paths
    ]


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
