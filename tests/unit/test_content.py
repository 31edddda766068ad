"""Content of a version in MLflow, to manifest and back."""

import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.domain.release import (
    CallerOptions,
    Kind,
    KnowledgeBase,
    Manifest,
    Message,
    Prices,
    ProviderChoice,
    Retrieval,
)
from mlflow_project.errors import InvalidData
from mlflow_project.rules import content
from mlflow_project.rules.canonical import manifest_digest


@dataclass(frozen=True)
class Version:
    text: str | None
    tags: dict[str, str] = field(default_factory=dict)
    kind: Kind = "prompt"
    name: str = "qa"
    version: int = 1
    source: str | None = None


FULL = Manifest(
    kind="prompt",
    name="qa",
    template=(Message("system", "Answer from the chunks."), Message("user", "{{context}}\n{{question}}")),
    provider=ProviderChoice("gemini", "gemini-2.0-flash", {"temperature": 0.2, "seed": 7, "nested": {"a": [1, None]}}),
    response_schema={"type": "object", "properties": {"label": {"enum": ["a", "b"]}}},
    retrieval=Retrieval(chunks=3, words_weight=1.0, vectors_weight=0.5),
    knowledge_base=KnowledgeBase("s3a://curated-data-bucket/docs", 4, "sha256:" + "0" * 64),
    prices=Prices("2026-11", 0.1, 0.4),
    fallbacks=(ProviderChoice("extractive", "extractive-1", {"sentences": 1}),),
    repair=True,
    system_allowed=False,
    tools=({"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}},),
    callers=CallerOptions({"temperature": (0.0, 1.0)}, "refuse", tools=True),
)

_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
_leaf = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-(2.0**53) + 1, 2.0**53 - 1)
_json = st.recursive(
    _leaf | _text, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3)
)
_names = _text.filter(lambda name: name not in {"provider", "model_name"})
_choices = st.builds(ProviderChoice, _text, _text, st.just({}), st.none() | _text)
_manifests = st.builds(
    Manifest,
    kind=st.just("prompt"),
    name=st.just("qa"),
    template=st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), _text), min_size=1).map(
        tuple
    ),
    provider=st.builds(
        ProviderChoice,
        _text,
        _text,
        st.dictionaries(_names | st.just("top_p"), _json, max_size=4),
        st.none() | _text,
    ),
    fallbacks=st.none() | st.lists(_choices, min_size=1, max_size=2).map(tuple),
    response_schema=st.none() | st.dictionaries(_text, _json, max_size=3),
    retrieval=st.none() | st.builds(Retrieval, st.integers(1, 100), st.floats(0, 9), st.floats(0, 9)),
    knowledge_base=st.none() | st.builds(KnowledgeBase, _text, st.integers(0, 10**6), _text),
    prices=st.none() | st.builds(Prices, _text, st.floats(0, 99), st.floats(0, 99)),
    repair=st.none() | st.booleans(),
    callers=st.none()
    | st.builds(
        CallerOptions,
        st.dictionaries(_text, st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=2),
        st.sampled_from(["ignore", "refuse"]),
        st.booleans(),
    ),
)


def back(manifest: Manifest) -> Manifest:
    text, tags = content.content_of(manifest)
    return content.manifest_of(Version(text, tags))


def test_a_full_manifest_goes_to_mlflow_and_back_unchanged() -> None:
    assert back(FULL) == FULL
    assert manifest_digest(back(FULL)) == manifest_digest(FULL)


def test_a_release_without_an_endpoint_has_the_digest_that_it_always_had() -> None:
    plain = Manifest("prompt", "qa", (Message("user", "{{question}}"),), content.DEFAULT_PROVIDER)
    assert manifest_digest(FULL) == "sha256:9342a0d449ca11c47db647ed7a2045b8c7610b9d20ec7c4f215b997d8a4fa22c"
    assert manifest_digest(plain) == "sha256:1f39d57aee446e0c90d52efbb53424dff34ffefb73bc9cd4e306497aa8aadcb3"
    assert "endpoint" not in str(FULL.to_dict())
    assert "endpoint" not in str(content.content_of(FULL))


def test_the_endpoint_of_a_provider_and_of_a_fallback_is_part_of_the_digest() -> None:
    there, elsewhere = (ProviderChoice("gemini", "g", {}, endpoint) for endpoint in ("gemini-eu", "gemini-us"))
    releases = [
        FULL,
        *(replace(FULL, provider=choice) for choice in (ProviderChoice("gemini", "g"), there, elsewhere)),
        *(replace(FULL, fallbacks=(choice,)) for choice in (there, elsewhere)),
    ]
    assert len({manifest_digest(release) for release in releases}) == len(releases)
    for release in releases:
        assert Manifest.from_dict(release.to_dict()) == back(release) == release


@pytest.mark.parametrize("endpoint", ["7", '""', "gemini-eu", '["a"]'])
def test_an_endpoint_that_is_no_name_is_refused_with_the_tag_named(endpoint: str) -> None:
    text, tags = content.content_of(FULL)
    with pytest.raises(InvalidData, match=r"switchyard\.endpoint"):
        content.manifest_of(Version(text, {**tags, content.ENDPOINT: endpoint}))


@given(_manifests)
def test_any_manifest_goes_to_mlflow_and_back_with_the_same_digest(manifest: Manifest) -> None:
    assert manifest_digest(back(manifest)) == manifest_digest(manifest)


def test_a_prompt_made_in_the_ui_gets_the_stated_defaults() -> None:
    manifest = content.manifest_of(Version("Say {{ question }}", {"mlflow.prompt.is_prompt": "true"}))
    assert manifest.template == (Message("user", "Say {{ question }}"),)
    assert manifest.provider == ProviderChoice("extractive", "extractive-1", {})
    assert (manifest.retrieval, manifest.knowledge_base, manifest.prices) == (None, None, None)


def test_a_model_config_made_in_the_ui_becomes_provider_and_parameters() -> None:
    config = {"provider": "openai", "model_name": "small", "temperature": 0.1, "logit_bias": {"1": 2}}
    manifest = content.manifest_of(Version("x", {content.MODEL_CONFIG: json.dumps(config)}))
    assert manifest.provider == ProviderChoice("openai", "small", {"temperature": 0.1, "logit_bias": {"1": 2}})


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (content.MODEL_CONFIG, '{"provider": "gemini", "model_name": "another"}'),
        (content.RESPONSE_FORMAT, '{"type": "array"}'),
        (content.PARAMETERS, '{"seed": 8}'),
        (content.RETRIEVAL, '{"chunks": 9, "words_weight": 1, "vectors_weight": 1}'),
        (content.KNOWLEDGE_BASE, '{"table": "s3a://elsewhere", "delta_version": 4, "index": "sha256:0"}'),
        (content.PRICES, '{"version": "2026-11", "input_per_million": 0, "output_per_million": 0}'),
        (content.OPTIONS, '{"repair": true}'),
        (content.PROMPT_TYPE, "text"),
    ],
)
def test_a_rewritten_tag_changes_the_digest(tag: str, value: str) -> None:
    text, tags = content.content_of(FULL)
    assert manifest_digest(content.manifest_of(Version(text, {**tags, tag: value}))) != manifest_digest(FULL)


@pytest.mark.parametrize(
    "tag", [content.MODEL_CONFIG, content.RESPONSE_FORMAT, content.PARAMETERS, content.RETRIEVAL, content.PRICES]
)
def test_a_removed_tag_changes_the_digest(tag: str) -> None:
    text, tags = content.content_of(FULL)
    del tags[tag]
    assert manifest_digest(content.manifest_of(Version(text, tags))) != manifest_digest(FULL)


@pytest.mark.parametrize(
    ("tags", "text", "said"),
    [
        ({content.MODEL_CONFIG: "{"}, "x", "not JSON"),
        ({content.MODEL_CONFIG: "[]"}, "x", "must hold a JSON object"),
        ({content.MODEL_CONFIG: '{"model_name": "gpt-4"}'}, "x", "must name both"),
        ({content.MODEL_CONFIG: '{"seed": 1}', content.PARAMETERS: '{"seed": 2}'}, "x", "sets seed twice"),
        ({content.RETRIEVAL: '{"chunk": 3}'}, "x", "cannot be read"),
        ({content.PROMPT_TYPE: "chat"}, "no list", "not JSON"),
        ({content.PROMPT_TYPE: "chat"}, '[{"role": "tool", "content": "x"}]', "list of messages"),
        ({content.PROMPT_TYPE: "chat"}, '[{"role": ["user"], "content": "x"}]', "list of messages"),
        ({content.PROMPT_TYPE: "chat"}, "[" * 50_000, "not JSON"),
        ({content.PROMPT_TYPE: "poem"}, "x", "known are text and chat"),
        ({}, None, "has no text"),
    ],
)
def test_malformed_content_is_named_with_its_tag(tags: dict[str, str], text: str | None, said: str) -> None:
    with pytest.raises(InvalidData, match=said) as caught:
        content.manifest_of(Version(text, tags))
    assert "qa/1" in str(caught.value)


def test_differences_name_fields_by_their_path() -> None:
    hotter = ProviderChoice("gemini", "gemini-2.0-flash", {"temperature": 0.9})
    other = replace(FULL, provider=hotter, prices=None)
    found = {path: (before, after) for path, before, after in content.differences(FULL, other)}
    assert found["provider.parameters.temperature"] == (0.2, 0.9)
    assert found["prices.version"] == ("2026-11", None)


def test_a_model_needs_its_files_named() -> None:
    files = json.dumps([{"path": "model.skops", "digest": "sha256:1", "bytes": 5}])
    version = Version(None, {content.FILES: files}, kind="model", source="models:/m-1")
    assert content.manifest_of(version).files is not None
    with pytest.raises(InvalidData, match="which files"):
        content.manifest_of(Version(None, {}, kind="model", source="models:/m-1"))


@pytest.mark.parametrize(
    "options",
    [
        '{"repair": "yes"}',
        '{"unknown": 1}',
        '{"fallbacks": [{"name": "gemini"}]}',
        '{"callers": {"overrides": {"temperature": 1}}}',
        '{"callers": {"others": "drop"}}',
        '{"tools": 7}',
    ],
)
def test_options_of_another_form_are_refused_with_the_tag_named(options: str) -> None:
    text, tags = content.content_of(FULL)
    with pytest.raises(InvalidData, match=r"switchyard\.options"):
        content.manifest_of(Version(text, {**tags, content.OPTIONS: options}))
