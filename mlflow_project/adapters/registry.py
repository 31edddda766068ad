"""MLflow's registry of prompts and models: entries, versions and aliases, over `MlflowApi`.

In: names, versions, aliases. Out: frozen values. An outage is always `Unavailable`, and is never read as "there is no
such alias".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.adapters.mlflow_api import MlflowApi, MlflowRefused
from mlflow_project.domain.release import Kind
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.settings import RegistrySettings

IS_PROMPT = "mlflow.prompt.is_prompt"
TEXT = "mlflow.prompt.text"
_PROMPT_SOURCE = "dummy-source"  # MLflow demands a source and accepts only this for prompts
_PAGE = 1000
_ONE_BY_ONE = 2  # one name takes MLflow half as long to get as to search
_NAMES_A_CALL = 50  # they go into the address, and names may be long


@dataclass(frozen=True)
class RegistryVersion:
    """One version as MLflow holds it now. `text` is None for models; `created_at` is seconds since the epoch."""

    kind: Kind
    name: str
    version: int
    text: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    status: str = "READY"
    created_at: float = 0.0


@dataclass(frozen=True)
class RegistryEntry:
    """A name in the registry, with where its aliases point."""

    kind: Kind
    name: str
    aliases: Mapping[str, int]
    tags: Mapping[str, str] = field(default_factory=dict)


class Registry:
    """All calls may raise `Unavailable`; `InvalidData` when MLflow refuses what was asked."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.settings = settings
        self._api = MlflowApi(settings)
        self.uri = self._api.uri

    def ping(self) -> None:
        """Ask only whether the server answers. That costs MLflow a tenth of any other question."""
        self._api.ping()

    def entry(self, name: str) -> RegistryEntry | None:
        """A name with its aliases; None when the registry answers that there is none."""
        try:
            data = self._get("registered-models/get", {"name": name})["registered_model"]
        except NotFound:
            return None
        return _entry(data)

    def entries(self, names: Collection[str]) -> dict[str, RegistryEntry | None]:
        """Names with their aliases, many in one call; None where the registry answers that there is no such name."""
        if len(names) <= _ONE_BY_ONE:
            return {name: self.entry(name) for name in names}
        found: dict[str, RegistryEntry | None] = dict.fromkeys(names)
        simple = sorted(name for name in names if "'" not in name)
        for kind in (f" AND tag.`{IS_PROMPT}` = 'true'", ""):  # without the tag, MLflow leaves prompts out
            missing = [name for name in simple if found[name] is None]
            for begin in range(0, len(missing), _NAMES_A_CALL):
                quoted = ", ".join(f"'{name}'" for name in missing[begin : begin + _NAMES_A_CALL])
                for item in self._search("registered-models", f"name IN ({quoted}){kind}"):
                    found[item["name"]] = _entry(item)
        return {name: entry or self.entry(name) for name, entry in found.items()}

    def names(self) -> list[tuple[Kind, str]]:
        """Every prompt and every model."""
        prompts = self._search("registered-models", f"tag.`{IS_PROMPT}` = 'true'")
        models = self._search("registered-models", f"tag.`{IS_PROMPT}` != 'true'")
        return [("prompt", item["name"]) for item in prompts] + [("model", item["name"]) for item in models]

    def version(self, name: str, version: int) -> RegistryVersion:
        """One version.

        Raises:
            NotFound: there is no such name or version.
        """
        try:
            return _version(self._get("model-versions/get", {"name": name, "version": str(version)})["model_version"])
        except NotFound as error:
            raise NotFound(f"There is no {name}/{version} in MLflow at {self.uri}.") from error

    def versions(self, name: str) -> list[RegistryVersion]:
        """All versions of a name, oldest first; empty when there is no such name."""
        found = {}
        for which in ("=", "!="):
            for item in self._search("model-versions", f"name = '{name}' AND tag.`{IS_PROMPT}` {which} 'true'"):
                found[int(item["version"])] = _version(item)
        return [found[number] for number in sorted(found)]

    def files_of(self, name: str, version: int) -> str:
        """Where the files of a model version lie, as an address of MLflow's: `mlflow-artifacts:/…` or `s3://…`."""
        found = self._get("model-versions/get-download-uri", {"name": name, "version": str(version)})
        return str(found.get("artifact_uri", ""))

    def by_alias(self, name: str, alias: str) -> RegistryVersion | None:
        """The version that an alias points at, in one call; None when the name has no such alias.

        Raises:
            NotFound: there is no such name.
        """
        try:
            return _version(self._get("registered-models/alias", {"name": name, "alias": alias})["model_version"])
        except NotFound as error:
            raise NotFound(f"There is no prompt or model {name!r} in MLflow at {self.uri}.") from error
        except MlflowRefused as error:
            if error.code == "INVALID_PARAMETER_VALUE" and "alias" in str(error).lower():
                return None
            raise

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; the last writer wins."""
        self._send("POST", "registered-models/alias", {"name": name, "alias": alias, "version": str(version)})

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no matter if it was not there."""
        self._send("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def point(self, name: str, alias: str, version: int | None) -> int | None:
        """Point an alias at a version, or remove it: for None, and where that version was deleted. What it has now."""
        if version is not None:
            try:
                self.set_alias(name, alias, version)
                return version
            except NotFound:
                pass
        self.delete_alias(name, alias)
        return None

    def create_prompt_version(self, name: str, text: str, tags: Mapping[str, str], description: str = "") -> int:
        """A new version of a prompt, and the prompt itself where it is new; the version's number.

        Raises:
            InvalidData: the name belongs to a model, or MLflow refuses name, text or tags.
        """
        entry = self.entry(name)
        if entry is None:
            self._create_prompt(name)
        elif entry.kind != "prompt":
            raise InvalidData(f"{name!r} is a model in MLflow: prompts and models share one namespace. Rename one.")
        body = {
            "name": name,
            "source": _PROMPT_SOURCE,
            "description": description,
            "tags": _pairs({**tags, IS_PROMPT: "true", TEXT: text}),
        }
        return int(self._send("POST", "model-versions/create", body)["model_version"]["version"])

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        body = {"name": name, "version": str(version), "key": key, "value": value}
        self._send("POST", "model-versions/set-tag", body)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def _create_prompt(self, name: str) -> None:
        try:
            self._send("POST", "registered-models/create", {"name": name, "tags": _pairs({IS_PROMPT: "true"})})
        except MlflowRefused as error:
            if not error.exists_already:  # somebody else may have made it just now
                raise

    def _get(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        return self._api.get(f"2.0/mlflow/{path}", params)

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._api.send(method, f"2.0/mlflow/{path}", body)

    def _search(self, what: str, query: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._get(f"{what}/search", {"filter": query, "max_results": str(_PAGE), "page_token": token})
            yield from page.get(what.replace("-", "_"), ())
            token = page.get("next_page_token", "")
            if not token:
                return


def _tags(data: Mapping[str, Any]) -> dict[str, str]:
    return {item["key"]: item.get("value", "") for item in data.get("tags", ())}


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _kind(tags: Mapping[str, str]) -> Kind:
    return "prompt" if tags.get(IS_PROMPT, "").lower() == "true" else "model"


def _entry(data: Mapping[str, Any]) -> RegistryEntry:
    tags = _tags(data)
    aliases = {item["alias"]: int(item["version"]) for item in data.get("aliases", ())}
    return RegistryEntry(_kind(tags), data["name"], aliases, tags)


def _version(data: Mapping[str, Any]) -> RegistryVersion:
    tags = _tags(data)
    return RegistryVersion(
        kind=_kind(tags),
        name=data["name"],
        version=int(data["version"]),
        text=tags.get(TEXT),
        tags=tags,
        source=data.get("source"),
        status=data.get("status", "READY"),
        created_at=int(data.get("creation_timestamp", 0)) / 1000,
    )
