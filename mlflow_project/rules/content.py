"""What a version in MLflow says, as a release manifest, and back. Pure.

In: a version as the registry holds it (text and tags). Out: its `Manifest`. The inverse, `content_of`, gives the text
and tags to write; going there and back changes nothing, so whatever is rewritten in MLflow changes the digest of the
manifest.

A prompt that somebody made in MLflow's UI carries none of our tags and gets these defaults: provider `extractive`,
model `extractive-1`, no parameters, no retrieval, no knowledge base, no prices. A model configuration that names a
model must name its provider too: who answers is never guessed.
Must not: read a registry, or know which providers exist.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from mlflow_project.domain.model import ModelDescription
from mlflow_project.domain.release import (
    CallerOptions,
    Kind,
    KnowledgeBase,
    Manifest,
    Message,
    ModelFile,
    Prices,
    ProviderChoice,
    Retrieval,
)
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import canonical

PROMPT_TYPE = "_mlflow_prompt_type"
MODEL_CONFIG = "_mlflow_prompt_model_config"
RESPONSE_FORMAT = "_mlflow_prompt_response_format"
PARAMETERS = "switchyard.parameters"
ENDPOINT = "switchyard.endpoint"
RETRIEVAL = "switchyard.retrieval"
KNOWLEDGE_BASE = "switchyard.knowledge_base"
PRICES = "switchyard.prices"
OPTIONS = "switchyard.options"
FILES = "switchyard.files"
MODEL = "switchyard.model"

DEFAULT_PROVIDER = ProviderChoice("extractive", "extractive-1")

_SHOWN_BY_MLFLOW = frozenset(
    {"temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty", "stop_sequences"}
)
_ROLES = frozenset({"system", "user", "assistant"})


class VersionContent(Protocol):
    """What `manifest_of` needs of a version; the registry's own type has it."""

    @property
    def kind(self) -> Kind: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def text(self) -> str | None: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def source(self) -> str | None: ...


def manifest_of(version: VersionContent) -> Manifest:
    """The manifest that this version's content spells.

    Raises:
        InvalidData: a tag holds something that its format does not allow; the message names version and tag.
    """
    reader = _Tags(f"{version.name}/{version.version}", version.tags)
    if version.kind == "model":
        files = reader.json(FILES)
        if files is None or version.source is None:
            raise InvalidData(f"Model {reader.label} has no tag {FILES}, so nobody knows which files it is made of.")
        return Manifest(
            "model",
            version.name,
            source=version.source,
            files=reader.built(FILES, _files, files),
            model=reader.built(MODEL, _description, reader.mapping(MODEL)),
        )
    return Manifest(
        kind="prompt",
        name=version.name,
        template=_template(reader, version.text),
        provider=_provider(reader),
        response_schema=reader.mapping(RESPONSE_FORMAT),
        retrieval=reader.dataclass(RETRIEVAL, Retrieval),
        knowledge_base=reader.dataclass(KNOWLEDGE_BASE, KnowledgeBase),
        prices=reader.dataclass(PRICES, Prices),
        **_options(reader),
    )


def model_tags(files: Sequence[ModelFile], description: ModelDescription) -> dict[str, str]:
    """The tags that spell a model's part of a manifest. Write them in this order: the last one makes it complete."""
    return {
        MODEL: canonical(asdict(description)).decode(),
        FILES: canonical([asdict(file) for file in files]).decode(),
    }


def content_of(manifest: Manifest) -> tuple[str, dict[str, str]]:
    """Prompt text and tags that spell this manifest. A template of one user message is a text prompt, else a chat.

    Raises:
        InvalidData: not a prompt, or a parameter has the name of a field of MLflow's (`provider`, `model_name`).
    """
    if manifest.template is None or manifest.provider is None:
        raise InvalidData(f"{manifest.name} is no prompt: it has no template or no provider.")
    data = manifest.to_dict()
    tags = _provider_tags(manifest.name, manifest.provider)
    parts = {
        RESPONSE_FORMAT: data.get("response_schema"),
        RETRIEVAL: data.get("retrieval"),
        KNOWLEDGE_BASE: data.get("knowledge_base"),
        PRICES: data.get("prices"),
        OPTIONS: {name: data[name] for name in _OPTION_READERS if name in data} or None,
    }
    tags |= {tag: canonical(value).decode() for tag, value in parts.items() if value is not None}
    if [message.role for message in manifest.template] == ["user"]:
        return manifest.template[0].content, {PROMPT_TYPE: "text", **tags}
    return json.dumps(data["template"], ensure_ascii=False), {PROMPT_TYPE: "chat", **tags}


def differences(before: Manifest, after: Manifest) -> list[tuple[str, Any, Any]]:
    """(field, before, after) of every field that differs, as dotted paths; what one side lacks is None there."""
    left, right = (_flat(manifest.to_dict()) for manifest in (before, after))
    fields = [*left, *(field for field in right if field not in left)]
    return [(field, left.get(field), right.get(field)) for field in fields if left.get(field) != right.get(field)]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        items = [(f"{path}.{key}" if path else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple) and value:
        items = [(f"{path}[{number}]", inner) for number, inner in enumerate(value)]
    else:
        return {path: value}
    return {field: leaf for inner_path, inner in items for field, leaf in _flat(inner, inner_path).items()}


def _provider_tags(name: str, provider: ProviderChoice) -> dict[str, str]:
    reserved = {"provider", "model_name"} & set(provider.parameters)
    if reserved:
        raise InvalidData(f"{name}: a provider's parameter cannot be called {' or '.join(sorted(reserved))}.")
    shown = {key: value for key, value in provider.parameters.items() if key in _SHOWN_BY_MLFLOW}
    own = {key: value for key, value in provider.parameters.items() if key not in _SHOWN_BY_MLFLOW}
    config = {"provider": provider.name, "model_name": provider.model, **shown}
    return {
        MODEL_CONFIG: canonical(config).decode(),
        **({PARAMETERS: canonical(own).decode()} if own else {}),
        **({ENDPOINT: canonical(provider.endpoint).decode()} if provider.endpoint is not None else {}),
    }


def _provider(reader: _Tags) -> ProviderChoice:
    config, own = reader.mapping(MODEL_CONFIG) or {}, reader.mapping(PARAMETERS) or {}
    rest = {key: value for key, value in config.items() if key not in {"provider", "model_name"}}
    if twice := sorted(set(rest) & set(own)):
        raise InvalidData(f"{reader.label} sets {', '.join(twice)} twice, in tags {MODEL_CONFIG} and {PARAMETERS}.")
    name, model, endpoint = config.get("provider"), config.get("model_name"), reader.json(ENDPOINT)
    if endpoint is not None and (not isinstance(endpoint, str) or not endpoint):
        raise InvalidData(f"Tag {ENDPOINT} of {reader.label} must hold the name of an endpoint as a JSON string.")
    if name is None and model is None and endpoint is None:
        return ProviderChoice(DEFAULT_PROVIDER.name, DEFAULT_PROVIDER.model, {**rest, **own})
    if not isinstance(name, str) or not isinstance(model, str) or not name or not model:
        raise InvalidData(
            f"{reader.label}: its model configuration (tag {MODEL_CONFIG}) names provider {name!r}, model {model!r}; "
            "it must name both, such as gemini and gemini-2.0-flash."
        )
    return ProviderChoice(name, model, {**rest, **own}, endpoint)


def _options(reader: _Tags) -> dict[str, Any]:
    """The rarer fields of a manifest, which share one tag: a prompt without them has no such tag."""
    options = reader.mapping(OPTIONS) or {}
    if unknown := sorted(options.keys() - _OPTION_READERS.keys()):
        raise InvalidData(f"Tag {OPTIONS} of {reader.label} holds unknown fields: {', '.join(unknown)}.")
    return {name: reader.built(OPTIONS, _OPTION_READERS[name], value) for name, value in options.items()}


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


_OPTION_READERS: Mapping[str, Callable[[Any], Any]] = {
    "fallbacks": lambda choices: tuple(ProviderChoice(**choice) for choice in choices),
    "repair": _flag,
    "system_allowed": _flag,
    "tools": lambda tools: tuple(dict(tool) for tool in tools),
    "callers": CallerOptions.from_dict,
}


def _template(reader: _Tags, text: str | None) -> tuple[Message, ...]:
    if text is None:
        raise InvalidData(f"Prompt {reader.label} has no text.")
    kind = reader.tags.get(PROMPT_TYPE, "text")
    if kind == "text":
        return (Message("user", text),)
    if kind != "chat":
        raise InvalidData(f"Prompt {reader.label} is of type {kind!r}; known are text and chat (tag {PROMPT_TYPE}).")
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"The chat template of {reader.label} is not JSON: {error}.") from error
    if not isinstance(turns, list) or not turns or not all(_is_message(turn) for turn in turns):
        raise InvalidData(
            f"The chat template of {reader.label} must be a list of messages, each with exactly a role "
            f"({', '.join(sorted(_ROLES))}) and a content that is text."
        )
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)


def _is_message(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and set(turn) == {"role", "content"}
        and all(isinstance(value, str) for value in turn.values())
        and turn["role"] in _ROLES
    )


def _description(data: Any) -> ModelDescription | None:
    return None if data is None else ModelDescription.from_dict(data)


def _files(data: Any) -> tuple[ModelFile, ...]:
    return tuple(ModelFile(**file) for file in data)


class _Tags:
    """Reads JSON tags of one version, and names it in every complaint."""

    def __init__(self, label: str, tags: Mapping[str, str]) -> None:
        self.label = label
        self.tags = tags

    def json(self, tag: str) -> Any:
        if tag not in self.tags:
            return None
        try:
            return json.loads(self.tags[tag])
        except (ValueError, RecursionError) as error:
            raise InvalidData(f"Tag {tag} of {self.label} is not JSON: {error}.") from error

    def mapping(self, tag: str) -> Any:
        value = self.json(tag)
        if value is not None and not isinstance(value, dict):
            raise InvalidData(f"Tag {tag} of {self.label} must hold a JSON object, not {type(value).__name__}.")
        return value

    def dataclass(self, tag: str, kind: Any) -> Any:
        value = self.mapping(tag)
        return None if value is None else self.built(tag, lambda data: kind(**data), value)

    def built(self, tag: str, build: Any, value: Any) -> Any:
        try:
            return build(value)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InvalidData(f"Tag {tag} of {self.label} cannot be read: {error!r}.") from error
