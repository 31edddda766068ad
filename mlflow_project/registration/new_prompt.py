"""Makes a new prompt folder from the files in `scaffold/`: a template, a policy and two example cases.

In: a name, and the folder that holds all prompts. Out: the new folder. Its template can be registered at once, and its
gate accepts a first version if there are enough cases and half of them are answered correctly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from mlflow_project.errors import InvalidData
from mlflow_project.registration.folder import check_name

FILES = ("v1.md", "policy.yaml", "cases.jsonl")


def new_prompt(name: str, prompts: Path, table: str | None = None) -> Path:
    """Write `prompts/name`. With `table`, the template retrieves its context from that chunk table.

    Raises:
        InvalidData: a prompt cannot have this name, or the folder exists or cannot be written.
    """
    check_name(name)
    folder = prompts / name
    try:
        folder.mkdir(parents=True)
        for file in FILES:
            text = files(__package__).joinpath("scaffold", file).read_text(encoding="utf-8")
            retrieving = _RETRIEVING.get(file)
            (folder / file).write_text(retrieving(text, table) if table and retrieving else text, encoding="utf-8")
    except FileExistsError as error:
        raise InvalidData(f"{folder} exists already. Choose another name, or remove it first.") from error
    except OSError as error:
        raise InvalidData(f"{folder} cannot be written: {error.strerror}.") from error
    return folder


def _guarding_retrieval(policy: str, _: str) -> str:
    """The policy with a guard of what the search finds. It needs cases with a quote or a document id."""
    metric = "  hit_at_5: {direction: higher, rule: report}\n"
    guard = "  - {tag: answerable, metric: hit_at_5, drop: 0.05, min_cases: 20}\n"
    return policy.replace("caps:\n", f"{metric}caps:\n").replace("protected:", f"{guard}protected:")


def _retrieving(template: str, table: str) -> str:
    """The template with a knowledge base in its front matter, and a slot for the chunks in its system message."""
    head, body = template.split("\n---\n", 1)
    body = body.replace("\n# user\n", "\n{{context}}\n\n# user\n")
    return f"{head}\nretrieval: {{chunks: 5}}\nknowledge_base: {table}\n---\n{body}"


_RETRIEVING: Mapping[str, Callable[[str, str], str]] = {"v1.md": _retrieving, "policy.yaml": _guarding_retrieval}
"""What changes in a file if the prompt retrieves its context from a table."""
