"""Somebody who may write prompts, policies or cases sends text that explodes when it is read.

The attacker writes files of a prompt folder, or versions in MLflow. He wants `register`, `evaluate` or a worker that
warms his prompt to hang, or to end in a stack trace. He gets one sentence that says what is wrong.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from mlflow_project.domain.release import Message
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.cases import load_cases
from mlflow_project.evaluation.policies import load_policy
from mlflow_project.registration.template_file import read_template
from mlflow_project.rules.templates import compile_template

SECONDS = 10.0
_BOMB = "\n".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 30))
YAML = {
    "aliases": f"a0: &a0 [x, x]\n{_BOMB}",
    "an alias of itself": "a: &a [*a]",
    "deep": "a: " + "[" * 5_000 + "]" * 5_000,
    "deep mapping": "\n".join(" " * level + "a:" for level in range(400)),
    "a number of many digits": "a: " + "9" * 5_000,
    "no day": "a: 2026-99-99",
    "large": "a: " + "x" * 2_000_000,
    "a Python object": "a: !!python/object/apply:os.system ['true']",
    "a control character": "a: \x00",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_hostile_yaml_in_a_template_or_policy_is_one_sentence(tmp_path: Path, text: str) -> None:
    template, policy = tmp_path / "v1.md", tmp_path / "policy.yaml"
    template.write_text(f"---\n{text}\n---\n# user\n{{{{question}}}}\n")
    policy.write_text(text)
    began = time.monotonic()
    with pytest.raises(InvalidData, match=r"v1\.md, line"):
        read_template(template)
    with pytest.raises(InvalidData, match=r"policy\.yaml"):
        load_policy(policy)
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("content", ["{{" * 100_000, "{%" * 100_000, "}}{{" * 100_000, "{{x" * 100_000, "{" * 200_000])
def test_a_hostile_template_is_read_in_linear_time(content: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidData) if "}}{{" in content else nullcontext():
        compile_template((Message("user", content),))
    assert time.monotonic() - began < SECONDS


def test_a_case_nested_too_deeply_is_a_mistake_of_its_line(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text("[" * 100_000 + "\n")
    with pytest.raises(InvalidData, match="line 1"):
        load_cases(cases)


@pytest.mark.parametrize("schema", ['{"$ref": "http://127.0.0.1:9/x"}', '{"pattern": "(?=a)"}', "[" * 100_000, "[1]"])
def test_a_response_schema_that_cannot_be_used_is_a_mistake_of_the_template(tmp_path: Path, schema: str) -> None:
    (tmp_path / "schema.json").write_text(schema)
    template = tmp_path / "v1.md"
    head = "provider: {name: extractive, model: extractive-1}\nresponse_schema: schema.json"
    template.write_text(f"---\n{head}\n---\n# user\n{{{{question}}}}\n")
    with pytest.raises(InvalidData, match=r"v1\.md, line 3: .*schema"):
        read_template(template)
