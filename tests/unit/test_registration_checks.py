"""What cannot work is refused at registration, before a version number is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_project.adapters.registry import RegistryVersion
from mlflow_project.domain.release import KnowledgeBase
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.registration.checks import check_cases_are_found, check_providers, check_reranker, check_vectors
from mlflow_project.registration.folder import manifest_from, read_folder
from mlflow_project.registration.template_file import TemplateFile, read_template
from mlflow_project.rules.content import content_of

TABLE = "s3a://curated-data-bucket/docs"
HEAD = "provider: {{name: {name}, model: m, parameters: {{{parameters}}}}}"
WORDS, BOTH = KnowledgeBase(TABLE, 8, "sha256:words"), KnowledgeBase(TABLE, 7, "sha256:both")


def template(tmp_path: Path, head: str) -> TemplateFile:
    folder = tmp_path / "qa"
    folder.mkdir(exist_ok=True)
    (folder / "v1.md").write_text(f"---\n{head}\n---\n# user\n\n{{{{context}}}} {{{{question}}}}\n")
    return read_template(folder / "v1.md")


def retrieving(tmp_path: Path, retrieval: str = "{chunks: 3}") -> TemplateFile:
    provider = HEAD.format(name="extractive", parameters="")
    return template(tmp_path, f"{provider}\nretrieval: {retrieval}\nknowledge_base: {TABLE}")


def has_vectors(index: str) -> bool:
    if index == "sha256:removed":
        raise NotFound("There is no such index.")
    return index == BOTH.index


def pinning(found: TemplateFile, knowledge_base: KnowledgeBase, number: int) -> RegistryVersion:
    text, tags = content_of(manifest_from("qa", found, knowledge_base))
    return RegistryVersion("prompt", "qa", number, text, tags)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("extractive", "sentence: 2", "has no parameter sentence. It takes: .*sentences"),
        ("openai", "temprature: 0.2", "has no parameter temprature"),
        ("gemini", "total_seconds: soon", "total_seconds"),
        ("anthropic", "seed: 1", "seed"),
        ("opanai", "", "There is no provider 'opanai'. There are: extractive"),
    ],
)
def test_a_misspelt_provider_or_parameter_is_named_with_its_file(
    tmp_path: Path, name: str, parameters: str, said: str
) -> None:
    found = template(tmp_path, HEAD.format(name=name, parameters=parameters))
    with pytest.raises(InvalidData, match=f"v1.md: .*{said}"):
        check_providers([found], [manifest_from("qa", found, None)])


def test_the_provider_for_a_key_is_checked_without_a_key(tmp_path: Path) -> None:
    head = HEAD.format(name="lexicon", parameters="")
    found = template(tmp_path, f"{head}\nwith_key: {{name: gemini, model: g, parameters: {{temperatur: 0}}}}")
    with pytest.raises(InvalidData, match="temperatur"):
        check_providers([found], [manifest_from("qa", found, None)])


def test_all_shipped_templates_pass() -> None:
    for name in ("qa", "sentiment_analysis"):
        _, templates = read_folder(Path("prompts") / name)
        check_providers(templates, [manifest_from(name, each, None) for each in templates])


def test_an_index_without_vectors_is_refused_where_the_template_gives_them_a_weight(tmp_path: Path) -> None:
    asked = retrieving(tmp_path, "{chunks: 3, vectors_weight: 0.5}")
    with pytest.raises(InvalidData, match=rf"weight 0.5, .*version 8\) has no vectors.*`switchyard index {TABLE} --v"):
        check_vectors(asked, WORDS, [], has_vectors)
    check_vectors(asked, BOTH, [], has_vectors)
    check_vectors(retrieving(tmp_path, "{chunks: 3, vectors_weight: 0}"), WORDS, [], has_vectors)


def test_a_template_that_reranks_needs_an_index_with_a_reranker(tmp_path: Path) -> None:
    asked = retrieving(tmp_path, "{chunks: 3, rerank: 20}")
    with pytest.raises(InvalidData, match=r"reranks 20 chunks, .*has no reranker.*--reranker"):
        check_reranker(asked, WORDS, lambda _: False)
    check_reranker(asked, WORDS, lambda _: True)
    check_reranker(retrieving(tmp_path), WORDS, lambda _: False)
    with pytest.raises(InvalidData, match=r"retrieval\.rerank is 0, and must be a whole number from 1 to 100"):
        retrieving(tmp_path, "{chunks: 3, rerank: 0}")


def test_a_new_index_may_not_lose_the_vectors_of_the_version_before(tmp_path: Path) -> None:
    silent = retrieving(tmp_path)
    check_vectors(silent, WORDS, [], has_vectors)
    before = [pinning(silent, WORDS, 1), pinning(silent, BOTH, 2)]
    with pytest.raises(InvalidData, match="like the version before it"):
        check_vectors(silent, WORDS, before, has_vectors)
    check_vectors(silent, WORDS, before[:1], has_vectors)
    removed = KnowledgeBase(TABLE, 6, "sha256:removed")
    check_vectors(silent, WORDS, [pinning(silent, removed, 3)], has_vectors)


def test_cases_in_a_folder_where_the_gate_does_not_look_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "qa"
    folder.mkdir(parents=True)
    check_cases_are_found(folder, tmp_path / "prompts")
    (folder / "cases.jsonl").write_text("")
    with pytest.raises(InvalidData, match=r"holds cases\.jsonl, and .* look for them in .*prompts/qa\. .*--cases-else"):
        check_cases_are_found(folder, tmp_path / "prompts")
    check_cases_are_found(folder, tmp_path / "elsewhere")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "qa").symlink_to(folder)
    check_cases_are_found(folder, tmp_path / "prompts")
