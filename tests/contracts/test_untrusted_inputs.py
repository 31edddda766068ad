"""The table of untrusted inputs names what exists, and forgets no parser."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.untrusted_inputs import UNTRUSTED_INPUTS, UntrustedInput
from tests.conftest import ROOT

PARSERS = {"yaml", "lxml", "jsonschema", "jsonschema_rs", "jinja2", "pickle", "xml", "markdown", "html", "tomllib"}
OWN_TEXTS_ONLY = {
    "mlflow_project/registration/front_matter.py",  # by plain_yaml
    "mlflow_project/evaluation/policies.py",  # by plain_yaml
    "mlflow_project/adapters/providers/endpoint_file.py",  # by plain_yaml, and from whoever runs this
    "mlflow_project/evaluation/extras.py",  # between two processes of one evaluation
    "mlflow_project/adapters/schema_folder.py",  # by plain_yaml
    "mlflow_project/adapters/s3_reading.py",  # the object store's own answers, as boto3 reads them
    "console/pages.py",  # templates of this project; what they show is escaped
    "serving/routes/documentation.py",  # escapes the addresses of a page
    "mlflow_project/rules/fine_tuning.py",  # schemas of its own, for rows that Spark read
}
"""Modules that import a parser for a text that a row of the table reads already, or for texts of this project."""


@pytest.mark.parametrize("row", UNTRUSTED_INPUTS, ids=[f"{row.sender}: {row.what}" for row in UNTRUSTED_INPUTS])
def test_what_a_row_names_exists(row: UntrustedInput) -> None:
    assert callable(_named(row.read_by))
    path, _, name = row.test.partition("::")
    functions = {node.name for node in ast.walk(_tree(ROOT / path)) if isinstance(node, ast.FunctionDef)}
    assert not name or name in functions


def test_every_module_with_a_parser_has_a_row() -> None:
    known = {row.read_by.rsplit(".", 1)[0] for row in UNTRUSTED_INPUTS}
    known |= {row.read_by.rsplit(".", 2)[0] for row in UNTRUSTED_INPUTS}
    found = {path.relative_to(ROOT).as_posix() for path in _modules() if PARSERS & set(_imports(path))}
    without = {path for path in found - OWN_TEXTS_ONLY if path.removesuffix(".py").replace("/", ".") not in known}
    assert without == set(), "name what they read in mlflow_project/untrusted_inputs.py, with its bound and its test"


def _modules() -> Iterator[Path]:
    for folder in ("mlflow_project", "serving", "ingestion", "console"):
        yield from (ROOT / folder).rglob("*.py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (each.name.split(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _named(dotted: str) -> Any:
    """A function, a class, or a method by its dotted name."""
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            found = getattr(found, name)
        return found
    raise AssertionError(f"{dotted} does not exist")
