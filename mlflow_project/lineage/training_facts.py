"""Edges of trainings, from MLflow: feature tables, training runs, and the versions of models that came of them.

In: the parts of a command. Out: edges. A training writes `registered.json` into its run: the version that it
registered, and the table versions with the rows that it learned from and was tested on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from mlflow_project.adapters.experiments import Run
from mlflow_project.errors import NotFound
from mlflow_project.lineage.graph import Edge, Node
from mlflow_project.parts import Parts
from mlflow_project.training.run import experiment_name

_FILE = "registered.json"
_KIND = {"switchyard.kind": "training"}
_READERS = 16


@dataclass(frozen=True)
class Training:
    """A training run of the model `name`: its edges, or in `gap` why they cannot be read."""

    name: str
    run: Node
    edges: tuple[Edge, ...] = ()
    gap: str | None = None

    def concerns(self, node: Node) -> bool:
        """Whether the node is this run, or a version that it may have produced."""
        return node == self.run or (node.kind == "release" and node.name.rpartition("/")[0] == self.name)


class TrainingFacts:
    """Reads each training once. All calls may raise `Unavailable`. `gaps` names trainings that a walk reached and that
    do not say what they made."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.gaps: list[str] = []

    def edges(self, node: Node) -> Iterator[Edge]:
        """The edges of trainings that begin or end at a table version, a run or a release."""
        for training in self._every:
            if training.gap is not None and training.concerns(node) and training.gap not in self.gaps:
                self.gaps.append(training.gap)
            yield from (edge for edge in training.edges if node in (edge.source, edge.target))

    @cached_property
    def _every(self) -> list[Training]:
        names = [name for kind, name in self._parts.registry.names() if kind == "model"]
        with ThreadPoolExecutor(_READERS) as pool:
            runs = [
                (name, run) for name, found in zip(names, pool.map(self._runs, names), strict=True) for run in found
            ]
            return list(pool.map(lambda of: self._training(*of), runs))

    def _runs(self, name: str) -> list[Run]:
        experiments = self._parts.experiments
        try:
            return experiments.find(experiments.known_experiment(experiment_name(name)), _KIND)
        except NotFound:
            return []  # its versions were registered and not trained here

    def _training(self, name: str, run: Run) -> Training:
        node, fact = Node("run", run.id), f"{_FILE} of run {run.id}"
        try:
            made = json.loads(self._parts.experiments.read(run, _FILE))
            release, data, tested = f"{made['name']}/{made['version']}", str(made["data"]), str(made["test_set"])
        except (NotFound, ValueError, LookupError, TypeError) as error:
            gap = f"training run {run.id} does not say what it made: {_FILE} cannot be read: {error}"
            return Training(name, node, gap=gap)
        edges = (
            Edge(Node("table", data), node, "is the training data of", fact),
            Edge(Node("table", tested), node, "is the test data of", fact),
            Edge(node, Node("release", release), "produced", fact),
        )
        return Training(name, node, edges)
