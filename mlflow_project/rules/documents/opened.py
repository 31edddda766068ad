"""The types of documents that are being read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_project.rules.chunking.records import Reason


@dataclass(frozen=True)
class Opened:
    """A document whose format was understood.

    `parts` read its pages, slides or chapters one by one, each as Markdown; a failing part does not hurt the others.
    `part_name` is what a reader calls a part. `cites_parts` says whether citations name the number of a part, which is
    so if a reader finds the part by it.
    """

    title: str
    parts: Sequence[Callable[[], str]]
    part_name: str = "part"
    cites_parts: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)


class NotReadable(Exception):
    """A document, or a part of one, that cannot be read: a reason for programs and a sentence for people."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
