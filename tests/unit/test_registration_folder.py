"""Prompt folders: what is read, and how mistakes are told."""

import re
from pathlib import Path

import pytest

from mlflow_project.domain.release import CallerOptions, Message, Prices, ProviderChoice, Retrieval
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.evaluation.cases import load_cases
from mlflow_project.evaluation.policies import load_policy
from mlflow_project.registration.folder import manifest_from, read_folder
from mlflow_project.registration.new_prompt import new_prompt
from mlflow_project.registration.template_file import read_template

GOOD = """---
provider: {name: extractive, model: extractive-1, parameters: {sentences: 2}}
retrieval: {chunks: 4}
knowledge_base: s3a://curated-data-bucket/docs/
---
# system

Answer from the chunks.

## Rules

# user

{{context}}
{{ question }}
"""


def write(folder: Path, **files: str) -> Path:
    folder = folder / "qa"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text)
    return folder


def test_a_template_is_front_matter_and_sections(tmp_path: Path) -> None:
    name, templates = read_folder(write(tmp_path, v1=GOOD))
    manifest = manifest_from(name, templates[0], None)
    assert manifest.template == (
        Message("system", "Answer from the chunks.\n\n## Rules"),
        Message("user", "{{context}}\n{{ question }}"),
    )
    assert manifest.provider == ProviderChoice("extractive", "extractive-1", {"sentences": 2})
    assert manifest.retrieval == Retrieval(chunks=4, fusion="scores")
    assert templates[0].front.table == "s3a://curated-data-bucket/docs"


def test_with_a_key_the_provider_named_for_that_case_is_pinned(tmp_path: Path) -> None:
    head = "---\nwith_key: {name: gemini, model: gemini-2.0-flash}\n"
    name, templates = read_folder(write(tmp_path, v1=GOOD.replace("---\n", head, 1)))
    manifest = manifest_from(name, templates[0], None, with_key=True)
    assert manifest.provider == ProviderChoice("gemini", "gemini-2.0-flash", {})
    without = manifest_from(name, templates[0], None, with_key=False)
    assert without.provider == ProviderChoice("extractive", "extractive-1", {"sentences": 2})


def test_what_the_provider_with_a_key_costs_is_pinned_with_it(tmp_path: Path) -> None:
    costs = "prices: {version: may, input_per_million: 0.1, output_per_million: 0.4}"
    head = f"---\nwith_key:\n  name: gemini\n  model: gemini-2.0-flash\n  {costs}\n"
    name, templates = read_folder(write(tmp_path, v1=GOOD.replace("---\n", head, 1)))
    assert manifest_from(name, templates[0], None, with_key=True).prices == Prices("may", 0.1, 0.4)
    assert manifest_from(name, templates[0], None, with_key=False).prices is None


def test_wrong_prices_of_the_provider_with_a_key_are_named(tmp_path: Path) -> None:
    head = "---\nwith_key: {name: gemini, model: gemini-2.0-flash, prices: {version: may, input_per_million: -1}}\n"
    with pytest.raises(
        InvalidData, match=r"input_per_million is -1(.|\n)*with_key\.prices\.output_per_million is missing"
    ):
        read_folder(write(tmp_path, v1=GOOD.replace("---\n", head, 1)))


def test_templates_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    _, templates = read_folder(write(tmp_path, v10=GOOD, v2=GOOD, v1=GOOD))
    assert [template.path.stem for template in templates] == ["v1", "v2", "v10"]


def test_only_the_named_templates_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path, v1=GOOD, v2="broken")
    assert [template.path.name for template in read_folder(folder, ["v1.md"])[1]] == ["v1.md"]
    with pytest.raises(NotFound, match=r"v3\.md"):
        read_folder(folder, ["v3.md"])


def test_three_mistakes_are_three_lines_with_file_and_line(tmp_path: Path) -> None:
    text = GOOD.replace("chunks: 4", "chunks: 0").replace("model: extractive-1, ", "")
    path = write(tmp_path, v1=text.replace("{{ question }}", "{{a b}}")) / "v1.md"
    with pytest.raises(InvalidData) as caught:
        read_template(path)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{path}, line 2", f"{path}, line 3", f"{path}, line 15"]
    assert ["model" in lines[0], "chunks" in lines[1], "no slot" in lines[2]] == [True] * 3


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidData) as caught:
        read_folder(write(tmp_path, v1="no front matter", v2=GOOD, v3="---\nx: [\n---\n# user\na"))
    assert "v1.md, line 1" in str(caught.value)
    assert "v3.md, line 2" in str(caught.value)
    assert "v2.md" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("---\nprovider", "provider", "must begin with front matter"),
        ("provider: {name", "provider: {colour: red, name", "unknown field provider.colour"),
        ("provider:", "supplier:", "provider is missing"),
        ("knowledge_base: s3a://curated-data-bucket/docs/\n", "", "needs a knowledge_base"),
        ("s3a://curated-data-bucket/docs/", "docs", "no table URI"),
        ("retrieval:", "response_schema: {type: 3}\nretrieval:", "no JSON schema"),
        ("retrieval:", "response_schema: none.json\nretrieval:", "cannot be read"),
        ("retrieval:", "prices: {version: a}\nretrieval:", "prices.input_per_million is missing"),
        ("# system", "Hello\n# system", "before the first section"),
        ("Answer from the chunks.\n\n## Rules", "", "# system is empty"),
        ("# user", "# assistant", "no # user section"),
        ("{{context}}", "{{context", "is not closed"),
        ("{{context}}", "{% if x %}", "no code"),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidData) as caught:
        read_folder(write(tmp_path, v1=GOOD.replace(old, new)))
    assert said in str(caught.value)


def test_a_schema_may_lie_in_a_file_beside(tmp_path: Path) -> None:
    folder = write(tmp_path, v1=GOOD.replace("retrieval:", "response_schema: answer.json\nretrieval:"))
    (folder / "answer.json").write_text('{"type": "object"}')
    assert read_folder(folder)[1][0].front.response_schema == {"type": "object"}


def test_an_empty_folder_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no template"):
        read_folder(write(tmp_path))
    with pytest.raises(NotFound, match="no prompt folder"):
        read_folder(tmp_path / "none")


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "v1.md").write_bytes(b"---\n\xff")
    with pytest.raises(InvalidData, match="not UTF-8"):
        read_folder(folder)


OPTIONS = """fallbacks: [{name: extractive, model: extractive-1}]
repair: true
system_allowed: true
tools: [{type: function, function: {name: look_up}}]
callers: {overrides: {temperature: [0, 1]}, others: refuse, tools: true}
"""


def test_fallbacks_tools_and_the_callers_options_are_pinned(tmp_path: Path) -> None:
    name, templates = read_folder(write(tmp_path, v1=GOOD.replace("---\n", f"---\n{OPTIONS}", 1)))
    manifest = manifest_from(name, templates[0], None)
    assert manifest.fallbacks == (ProviderChoice("extractive", "extractive-1", {}),)
    assert (manifest.repair, manifest.system_allowed) == (True, True)
    assert manifest.tools == ({"type": "function", "function": {"name": "look_up"}},)
    assert manifest.callers == CallerOptions({"temperature": (0.0, 1.0)}, "refuse", tools=True)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("fallbacks: gemini", "fallbacks must be a list of providers"),
        ("fallbacks: [{name: gemini}]", "fallbacks.model is missing"),
        ("repair: maybe", "repair is 'maybe', and must be true or false"),
        ("tools: [{name: look_up}]", "tools must be a list"),
        ("callers: {overrides: {temperature: [1, 0]}}", "callers.overrides is"),
        ("callers: {other: ignore}", "unknown field callers.other"),
    ],
)
def test_a_wrong_option_is_named_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(InvalidData, match=re.escape(f"v1.md, line 2: {complaint}")):
        read_folder(write(tmp_path, v1=GOOD.replace("---\n", f"---\n{line}\n", 1)))


@pytest.mark.parametrize("name", ["..", ".hidden", "-x", "a/b", "", "a b", "qa@x"])
def test_a_new_prompt_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidData, match="cannot be named"):
        new_prompt(name, tmp_path / "prompts")
    assert not (tmp_path / "prompts").exists()


def test_a_new_prompt_can_be_read_at_once(tmp_path: Path) -> None:
    for name, table in (("support", None), ("faq", "s3a://bucket/table")):
        folder = new_prompt(name, tmp_path, table)
        found, (template,) = read_folder(folder)
        assert (found, template.front.table) == (name, table)
        assert ("{{context}}" in template.messages[0].content) == (table is not None)
        assert len(load_cases(folder / "cases.jsonl")) == 2
        assert load_policy(folder / "policy.yaml").min_cases == 30
