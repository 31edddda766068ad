"""What a release is: one version of a prompt or a model together with all that it pins.

In and out: `Manifest.from_dict` reads and validates, `Manifest.to_dict` writes. A field that is None is left out of the
dictionary, so a field added later leaves the digest of older releases as it was.
The version number is not in the manifest: the seal binds the two (see `mlflow_project.seal`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from mlflow_project.domain.model import ModelDescription
from mlflow_project.errors import InvalidData

MANIFEST_SCHEMA = "switchyard.release/v1"

Kind = Literal["prompt", "model"]
Role = Literal["system", "user", "assistant", "tool"]

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def version_number(text: str) -> int:
    """The number of a version as people write it: decimal digits without a sign, a space or a leading zero.

    Raises:
        InvalidData: anything else; `0001` does not mean version 1.
    """
    if _VERSION.fullmatch(text) is None:
        raise InvalidData(f"A version is a whole number from 1, without leading zeros, such as 12; {text!r} is not.")
    return int(text)


@dataclass(frozen=True)
class Message:
    """One turn of a chat. In a template, `content` holds slots such as `{{question}}`, and no turn is a tool's."""

    role: Role
    content: str


@dataclass(frozen=True)
class ProviderChoice:
    """Who answers. `name` is `extractive`, `lexicon`, or the protocol of a language model over HTTP: `anthropic`,
    `gemini`, `openai`. `parameters` go to it as they are.

    `endpoint` names an entry of the server's `providers.yaml`. None: the address that `LLM_API_URL` sets.
    """

    name: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    endpoint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON-ready data. Without an endpoint there is no such field: digests of older releases stay."""
        fields = asdict(self)
        return fields if self.endpoint is not None else {key: fields[key] for key in fields if key != "endpoint"}


Fusion = Literal["scores", "ranks"]


@dataclass(frozen=True)
class Retrieval:
    """How contexts are found: the number of chunks, and the weights of words (BM25) and vectors (cosine).

    `where` keeps only chunks whose metadata (also `document_id`, `language`) has all these values; None: all chunks.
    `rerank` is how many of the first chunks the reranker of the index orders anew; None: none.
    `fusion` says how both rankings are joined: by `scores`, or by `ranks`. None, in the manifests of releases that were
    registered before there was a choice, means by ranks.
    """

    chunks: int = 5
    words_weight: float = 1.0
    vectors_weight: float = 0.2
    where: Mapping[str, str] | None = None
    fusion: Fusion | None = None
    rerank: int | None = None

    def __post_init__(self) -> None:
        """Raises:
        InvalidData: `where` is no mapping of texts to texts.
        """
        if self.where is not None and not _maps_texts(self.where):
            raise InvalidData(f"A retrieval's filter maps metadata fields to texts; {self.where!r} does not.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the fields that are None, so that digests of older releases stay."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def _maps_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, str) and part for pair in value.items() for part in pair)


@dataclass(frozen=True)
class KnowledgeBase:
    """A chunk table at one Delta version, and the digest (`sha256:…`) of the search index built from exactly that."""

    table: str
    delta_version: int
    index: str


@dataclass(frozen=True)
class Prices:
    """USD per million tokens, with the version of the table that they come from."""

    version: str
    input_per_million: float
    output_per_million: float


@dataclass(frozen=True)
class ModelFile:
    """One file of a logged model: path inside the model folder, digest (`sha256:…`), size in bytes."""

    path: str
    digest: str
    bytes: int


@dataclass(frozen=True)
class CallerOptions:
    """What a caller may decide about one request. The release decides everything else.

    `overrides` maps the name of a provider parameter to the lowest and the highest value that a caller may ask for.
    `others` says what happens to every other generation parameter of a request: with `ignore` the pinned value holds
    and the response names the parameter in `X-Ignored-Parameters`; with `refuse` the request gets status 400.
    `tools` true lets a caller bring own tools; tools that the release declares are always offered to the provider.
    """

    overrides: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    others: Literal["ignore", "refuse"] = "ignore"
    tools: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CallerOptions:
        """Read the options from JSON-ready data.

        Raises:
            TypeError, ValueError: a field is unknown or has another form.
        """
        options = cls(**data)
        bounds = {name: (float(least), float(most)) for name, (least, most) in options.overrides.items()}
        if options.others not in {"ignore", "refuse"} or not isinstance(options.tools, bool):
            raise ValueError("`others` is ignore or refuse, and `tools` is true or false")
        return cls(bounds, options.others, options.tools)


@dataclass(frozen=True)
class Manifest:
    """All that a release pins. `kind` prompt: template and provider are set; `kind` model: files, source and model are.

    `fallbacks` are the providers to ask, in this order, when the one before them fails. `repair` true sends an answer
    that breaks the response schema back to the provider once. `system_allowed` true lets a caller bring a system
    message. `tools` are functions, in OpenAI's form, that the provider may ask the caller to run.
    """

    kind: Kind
    name: str
    template: tuple[Message, ...] | None = None
    provider: ProviderChoice | None = None
    response_schema: Mapping[str, Any] | None = None
    retrieval: Retrieval | None = None
    knowledge_base: KnowledgeBase | None = None
    prices: Prices | None = None
    source: str | None = None
    files: tuple[ModelFile, ...] | None = None
    fallbacks: tuple[ProviderChoice, ...] | None = None
    repair: bool | None = None
    system_allowed: bool | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    callers: CallerOptions | None = None
    model: ModelDescription | None = None

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON-ready data, without the fields that are None."""
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        if self.retrieval is not None:
            fields["retrieval"] = self.retrieval.to_dict()
        if self.provider is not None:
            fields["provider"] = self.provider.to_dict()
        if self.fallbacks is not None:
            fields["fallbacks"] = [choice.to_dict() for choice in self.fallbacks]
        return {"schema": MANIFEST_SCHEMA, **fields}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """Read a manifest.

        Raises:
            InvalidData: not of this schema, or a field is missing or unknown.
        """
        if data.get("schema") != MANIFEST_SCHEMA:
            raise InvalidData(
                f"A release manifest says schema {MANIFEST_SCHEMA!r}; this one says {data.get('schema')!r}."
            )
        rest = {key: value for key, value in data.items() if key != "schema"}
        try:
            return cls(**{key: _read(key, value) for key, value in rest.items()})
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InvalidData(f"The release manifest of {data.get('name')!r} cannot be read: {error}.") from error


def _read(key: str, value: Any) -> Any:
    if key == "template":
        return tuple(Message(**message) for message in value)
    if key == "files":
        return tuple(ModelFile(**file) for file in value)
    if key == "fallbacks":
        return tuple(ProviderChoice(**choice) for choice in value)
    if key == "tools":
        return tuple(dict(tool) for tool in value)
    if key == "callers":
        return CallerOptions.from_dict(value)
    if key == "model":
        return ModelDescription.from_dict(value)
    readers = {"provider": ProviderChoice, "retrieval": Retrieval, "knowledge_base": KnowledgeBase, "prices": Prices}
    return readers[key](**value) if key in readers else value


@dataclass(frozen=True)
class Release:
    """A manifest under its number: what an alias points at. `digest` is `sha256:…` of the canonical manifest."""

    version: int
    digest: str
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @cached_property
    def label(self) -> str:
        """`qa/7`, as in the header `X-Release`."""
        return f"{self.manifest.name}/{self.version}"
