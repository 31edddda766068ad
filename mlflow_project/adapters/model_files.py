"""The files of model versions: as MLflow holds them, and as sealed copies in the object store.

MLflow holds a logged model's files behind its artifact proxy, where everybody who may write there can change them. When
a version is sealed, its files are copied to `releases/<hex>/files/…` in the artifacts bucket, beside its manifest.
Every reader checks each file against the digest in the manifest, so it does not matter who can write where.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from mlflow_project.adapters.mlflow_api import MlflowApi
from mlflow_project.adapters.model_folder import check_folder, check_paths
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry, RegistryVersion
from mlflow_project.domain.release import Manifest, ModelFile, Release
from mlflow_project.errors import InvalidData, SealBroken
from mlflow_project.private_files import exclusive
from mlflow_project.rules.canonical import digest, manifest_digest
from mlflow_project.rules.content import FILES, manifest_of, model_tags
from mlflow_project.rules.mlmodel import MLMODEL, describe
from mlflow_project.settings import RegistrySettings

logger = logging.getLogger(__name__)

_PROXIED = "mlflow-artifacts:"
_DOWNLOAD_SECONDS = 60.0
_MOST_FILES = 1_000


class LoggedModels:
    """Model versions in MLflow. All calls may raise `Unavailable`."""

    def __init__(self, settings: RegistrySettings, registry: Registry, store: ObjectStore) -> None:
        self._api = MlflowApi(settings, least_timeout=_DOWNLOAD_SECONDS)
        self._registry = registry
        self._store = store

    def described(self, found: RegistryVersion) -> RegistryVersion:
        """The version with the tags that spell its manifest; they are computed from its files where it has none yet.

        Raises:
            InvalidData: the files are no model that can be released.
        """
        if found.kind != "model" or FILES in found.tags:
            return found
        files: list[ModelFile] = []
        mlmodel: bytes | None = None
        for path, data in self._all(found.name, found.version):
            files.append(ModelFile(path, digest(data), len(data)))
            mlmodel = data if path == MLMODEL else mlmodel
        label = f"{found.name}/{found.version}"
        if mlmodel is None:
            raise InvalidData(f"The files of {label} hold no {MLMODEL}: it was not logged by MLflow.")
        files.sort(key=lambda file: file.path)
        tags = model_tags(files, describe(mlmodel, found.tags, label))
        return RegistryVersion(**{**vars(found), "tags": {**found.tags, **tags}})

    def record(self, found: RegistryVersion) -> RegistryVersion:
        """`described`, and the tags are written to MLflow: from then on another content is another digest."""
        described = self.described(found)
        for key in [key for key in described.tags if key not in found.tags]:
            self._registry.set_version_tag(found.name, found.version, key, described.tags[key])
        return described

    def fetch(self, release: Release, into: Path) -> Path:
        """Bring the files of a version to `into/<hex>`, as MLflow has them now, each checked.

        Raises:
            SealBroken: a file is not what the manifest says, or the version's tags describe another model.
        """

        def write(folder: Path) -> None:
            wanted = {file.path for file in release.manifest.files or ()}
            for path, data in self._all(release.name, release.version):
                if path in wanted:
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_bytes(data)

        folder = _complete(release.manifest, release.digest, into, write)
        _check_description(release, folder)
        return folder

    def publish(self, release: Release) -> None:
        """Copy the files to where sealed releases lie, each checked.

        Raises:
            SealBroken: a file is not what the manifest says.
        """
        with tempfile.TemporaryDirectory(prefix="switchyard-model-") as scratch:
            folder = self.fetch(release, Path(scratch))
            for file in release.manifest.files or ():
                key = file_key(release.digest, file.path)
                self._store.put(self._store.settings.artifacts_bucket, key, (folder / file.path).read_bytes())

    def _all(self, name: str, version: int) -> Iterator[tuple[str, bytes]]:
        """Every file of a version, with its path inside the model's folder."""
        address = self._registry.files_of(name, version)
        if address.startswith(_PROXIED):
            yield from self._proxied(urlsplit(address).path.strip("/"))
        elif address.startswith("s3://"):
            place = urlsplit(address)
            prefix = place.path.strip("/") + "/"
            for item in self._store.list(place.netloc, prefix):
                yield item.key.removeprefix(prefix), self._store.get(place.netloc, item.key)
        else:
            raise InvalidData(
                f"The files of {name}/{version} lie at {address!r}, and only those behind MLflow's proxy or in S3 can "
                "be read: start MLflow with --serve-artifacts (`make up` does)."
            )

    def _proxied(self, root: str) -> Iterator[tuple[str, bytes]]:
        folders, count = [""], 0
        while folders:
            folder = folders.pop()
            listed = self._api.get("2.0/mlflow-artifacts/artifacts", {"path": f"{root}/{folder}".rstrip("/")})
            for item in listed.get("files", ()):
                path = f"{folder}/{item['path']}".lstrip("/")
                count += 1
                if count > _MOST_FILES:
                    raise InvalidData(f"The model at {root} has more than {_MOST_FILES} files.")
                if item.get("is_dir"):
                    folders.append(path)
                else:
                    yield path, self._api.download(f"2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{path}')}")


def current_release(registry: Registry, logged: LoggedModels, name: str, version: int) -> Release:
    """A version with the content that MLflow has now; for a model, its tags are written if they are missing.

    Raises:
        NotFound: there is no such version. InvalidData: its content cannot be read.
    """
    manifest = manifest_of(logged.record(registry.version(name, version)))
    return Release(version, manifest_digest(manifest), manifest)


def file_key(release_digest: str, path: str) -> str:
    """Where a sealed copy of a file lies in the artifacts bucket."""
    return f"releases/{release_digest.removeprefix('sha256:')}/files/{path}"


def fetch_sealed(store: ObjectStore, manifest: Manifest, release_digest: str, into: Path) -> Path:
    """Bring the sealed files of a release to `into/<hex>`, each checked; the folder appears complete or not at all.

    A folder that is there already is checked and reused; a damaged one is fetched again.

    Raises:
        NotFound: a file is missing from the store. SealBroken: a file in the store is not the sealed one.
    """

    def write(folder: Path) -> None:
        for file in manifest.files or ():
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(store.settings.artifacts_bucket, file_key(release_digest, file.path), path)

    return _complete(manifest, release_digest, into, write)


def _check_description(release: Release, folder: Path) -> None:
    """Check what the version's tags say of the model against its file MLmodel: anybody may have written the tags."""
    found = release.manifest.model
    said = describe((folder / MLMODEL).read_bytes(), {}, release.label) if (folder / MLMODEL).exists() else None
    stated = found and replace(found, task=None, label=None, test_table=None, test_version=None)
    if said is None or stated != said:
        raise SealBroken(f"The tags of {release.label} do not describe what its file {MLMODEL} says: register it anew.")


def _complete(manifest: Manifest, release_digest: str, into: Path, write: Callable[[Path], None]) -> Path:
    check_paths(manifest)
    name = release_digest.removeprefix("sha256:")
    target = into / name
    into.mkdir(parents=True, exist_ok=True)
    with exclusive(into / f".{name}"):
        if target.exists():
            try:
                return check_folder(target, manifest)
            except SealBroken as damage:
                logger.error("a damaged model is fetched again", extra={"release": name, "damage": str(damage)})
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as scratch:
            folder = Path(scratch) / "model"
            folder.mkdir()
            write(folder)
            check_folder(folder, manifest)
            if target.exists():
                target.rename(Path(scratch) / "damaged")
            folder.rename(target)
    return target
