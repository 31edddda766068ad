"""Reads a set that `export_fine_tuning` wrote, and estimates what training on it costs.

In: the set's folder, local or `s3a://`. Out: its manifest and its files, each checked against its digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.fine_tuning import openai_mistakes

LEAST_EXAMPLES = 10
"""OpenAI takes no smaller set."""


@dataclass(frozen=True)
class ExampleSet:
    """`digest` is the set's own (`sha256:…`). `train` and `validation` are JSON lines; `validation` may be empty."""

    source: str
    digest: str
    examples: int
    train: bytes
    validation: bytes


def read_set(source: str, store: ObjectStore) -> ExampleSet:
    """Read a set, and check every file of it.

    Raises:
        NotFound: there is no such folder, or no manifest in it.
        InvalidData: not a set in OpenAI's form, or a file is not what its manifest says.
    """
    read = _reader(source.rstrip("/"), store)
    try:
        manifest = json.loads(read("manifest.json"))
        provider, splits = manifest["provider"], manifest["splits"]
        if provider != "openai":
            raise InvalidData(
                f"The set in {source} is in the form of {provider}. Export it again with --provider openai."
            )
        files = {name: _checked(read(f"{name}.jsonl"), splits[name], source, name) for name in ("train", "validation")}
        found = ExampleSet(source, manifest["digest"], splits["train"]["examples"], **files)
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidData(f"The manifest in {source} cannot be read: {error}.") from error
    if found.examples < LEAST_EXAMPLES:
        raise InvalidData(
            f"The set in {source} has {found.examples} examples to train on. Providers take sets of "
            f"{LEAST_EXAMPLES} and more."
        )
    return found


def count_tokens(lines: bytes, count: Callable[[str], int]) -> int:
    """The tokens of all messages, counted by `count`, and three more a message for its frame.

    Raises:
        InvalidData: a line is not in OpenAI's form.
    """
    total = 0
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            example = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidData(f"Line {number} of the set is not JSON: {error}.") from error
        if wrong := openai_mistakes(example):
            raise InvalidData(f"Line {number} of the set is not in OpenAI's form: {wrong[0]}.")
        total += sum(3 + count(message["content"]) for message in example["messages"])
    return total


def _checked(data: bytes, said: dict[str, Any], source: str, name: str) -> bytes:
    if digest(data) != said["sha256"]:
        raise InvalidData(
            f"{source}/{name}.jsonl was changed: its digest is {digest(data)}, and the manifest says "
            f"{said['sha256']}. Export the set again."
        )
    return data


def _reader(source: str, store: ObjectStore) -> Callable[[str], bytes]:
    parts = urlsplit(source)

    def read(name: str) -> bytes:
        try:
            if parts.scheme in {"s3", "s3a"}:
                return store.get(parts.netloc, f"{parts.path.strip('/')}/{name}")
            return (Path(source) / name).read_bytes()
        except (NotFound, FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                f"There is no {name} in {source}. Name the folder that spark_jobs/export_fine_tuning.py wrote."
            ) from error

    return read
