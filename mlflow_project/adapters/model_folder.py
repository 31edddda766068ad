"""The files of one model on disk, checked against the digests in its manifest.

In: a folder and the manifest of a release. Out: the bytes of a file, or which file is not the one that was sealed.
Knows no object store, so that the server's workers can check what they load.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from mlflow_project.domain.release import Manifest, ModelFile
from mlflow_project.errors import InvalidData, SealBroken
from mlflow_project.rules.canonical import digest


def check_paths(manifest: Manifest) -> None:
    """Check that every file of a manifest lies inside its folder.

    Raises:
        InvalidData: one does not, or the manifest names no files.
    """
    for file in manifest.files or ():
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise InvalidData(f"The manifest of {manifest.name} names a file outside its folder: {file.path!r}.")
    if not manifest.files:
        raise InvalidData(f"The manifest of {manifest.name} names no files, so there is no model to load.")


def check_folder(folder: Path, manifest: Manifest) -> Path:
    """Check each file of a model against the manifest. Files that the manifest does not name are never read. Returns
    the folder.

    Raises:
        SealBroken: a file is missing or changed.
    """
    check_paths(manifest)
    for file in manifest.files or ():
        try:
            with (folder / file.path).open("rb") as opened:
                found = "sha256:" + hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise SealBroken(f"The file {file.path} of {manifest.name} is missing: {error}.") from error
        _compare(manifest, file, found)
    return folder


def read_checked(folder: Path, manifest: Manifest, path: str) -> bytes:
    """The bytes of one file, checked after they were read: what is checked is what is used.

    Raises:
        SealBroken: the file is missing or changed, or the manifest does not name it.
    """
    file = next((file for file in manifest.files or () if file.path == path), None)
    if file is None:
        raise SealBroken(f"The manifest of {manifest.name} names no file {path!r}.")
    try:
        data = (folder / file.path).read_bytes()
    except OSError as error:
        raise SealBroken(f"The file {file.path} of {manifest.name} is missing: {error}.") from error
    _compare(manifest, file, digest(data))
    return data


def _compare(manifest: Manifest, file: ModelFile, found: str) -> None:
    if found != file.digest:
        raise SealBroken(
            f"The file {file.path} of {manifest.name} was changed: its digest is {found[:19]}, and {file.digest[:19]} "
            "is the one in the manifest."
        )
