"""The folder `schemas/`: the topics of Kafka, and the JSON schemas of their records.

`topics.yaml` declares every topic. `documents/v1.json`, `conversations/v1.json` and `events/<stream>/v1.json` are the
schemas; a newer version is a file `v2.json` beside it. Out: a `TopicPlan` for each topic, a `Stream` for each stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.rules.ingestion import (
    DEAD_LETTERS,
    EVENTS,
    RAW_CONVERSATIONS,
    RAW_DOCUMENTS,
    Stream,
    topic_of_stream,
)
from mlflow_project.rules.plain_yaml import EachKeyOnce, read_yaml
from mlflow_project.settings import what_is_wrong

_VERSION = re.compile(r"v([1-9][0-9]{0,5})\.json")
_FOLDERS = {"documents": RAW_DOCUMENTS, "conversations": RAW_CONVERSATIONS}


class TopicPlan(BaseModel):
    """What `topics.yaml` says of one topic."""

    model_config = ConfigDict(extra="forbid")

    partitions: int = Field(default=4, ge=1, le=1000)
    replication: int = Field(default=1, ge=1, le=20)
    retention_days: float = Field(default=14, gt=0)
    cleanup: Literal["delete", "compact", "compact,delete", "delete,compact"] = "delete"
    max_message_bytes: int = Field(default=2_097_152, ge=1024)

    def settings(self) -> dict[str, str]:
        """The plan as Kafka's own settings of a topic."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(round(self.retention_days * 86_400_000)),
            "max.message.bytes": str(self.max_message_bytes),
        }


class _TopicFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    defaults: dict[str, Any] = Field(default_factory=dict)
    topics: dict[str, dict[str, Any] | None]


def read_topics(folder: Path) -> dict[str, TopicPlan]:
    """The topics that `topics.yaml` declares, by name.

    Raises:
        NotFound: there is no such file. InvalidData: it does not have its form.
    """
    path = folder / "topics.yaml"
    try:
        _, data = read_yaml(path.read_text(encoding="utf-8"), EachKeyOnce)
        file = _TopicFile.model_validate(data)
        return {name: TopicPlan(**{**file.defaults, **(own or {})}) for name, own in file.topics.items()}
    except FileNotFoundError as error:
        raise NotFound(f"There is no {path}: SWITCHYARD_SCHEMAS names the folder that holds it.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, one['loc']))} {what_is_wrong(one)}" for one in error.errors())
        raise InvalidData(f"{path} is not well formed: {mistakes}") from error


def check_topics(folder: Path) -> dict[str, TopicPlan]:
    """The declared topics, after a check that they and the schemas belong together.

    Raises:
        InvalidData: a topic of events has no schema, or a schema has no topic.
    """
    topics, streams = read_topics(folder), read_streams(folder)
    without_topic = sorted(streams.keys() - topics.keys())
    without_schema = sorted(name for name in topics.keys() - streams.keys() if name.startswith(EVENTS))
    mistakes = [f"{name} has a schema and is not in topics.yaml" for name in without_topic]
    mistakes += [f"{name} is in topics.yaml and has no schema" for name in without_schema]
    mistakes += [f"{DEAD_LETTERS} is not in topics.yaml"] if DEAD_LETTERS not in topics else []
    if mistakes:
        raise InvalidData(f"{folder} does not fit together: {'; '.join(mistakes)}.")
    return topics


def read_streams(folder: Path) -> dict[str, Stream]:
    """The streams whose schemas the folder holds, by topic.

    Raises:
        InvalidData: a file is no JSON schema, or a newer version does not accept what an older one accepts.
    """
    found = {topic: folder / name for name, topic in _FOLDERS.items() if (folder / name).is_dir()}
    events = folder / "events"
    if events.is_dir():
        found |= {topic_of_stream(each.name): each for each in sorted(events.iterdir()) if each.is_dir()}
    return {topic: Stream(topic, _versions(path)) for topic, path in found.items()}


def _versions(folder: Path) -> Mapping[int, Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    for path in folder.iterdir():
        if named := _VERSION.fullmatch(path.name):
            try:
                found[int(named[1])] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InvalidData(f"{path} is no JSON: {error}") from error
    return found
