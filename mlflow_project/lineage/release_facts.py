"""Edges of releases, from the ledger, manifests, indexes and MLflow runs.

In: the parts of a command. Out: edges between indexes, releases, runs, cases, policies and records. What is read once
is kept for as long as this object lives. `gaps` names facts that must be there and are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlflow_project.adapters.experiments import Run
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import KnowledgeBase, Manifest
from mlflow_project.errors import InvalidData, NotFound, Refused, SealBroken
from mlflow_project.evaluation.record import CASES_TAG, DIGEST_TAG, VERSION_TAG, experiment_name
from mlflow_project.lineage.graph import Edge, Node
from mlflow_project.parts import Parts
from mlflow_project.promotion.sealed import checked_statement
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of

_READERS = 16


@dataclass(frozen=True)
class KnownRelease:
    """A version of a prompt or a model. `fact` says where its manifest was read: of a sealed version in the store, and
    else in MLflow."""

    label: str
    digest: str
    manifest: Manifest
    fact: str

    @property
    def node(self) -> Node:
        """Its node."""
        return Node("release", self.label)


class ReleaseFacts:
    """All calls may raise `Unavailable`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.gaps: list[str] = []

    @cached_property
    def records(self) -> list[LedgerRecord]:
        """All records of the ledger."""
        return self._parts.ledger.records()

    @cached_property
    def releases(self) -> dict[str, KnownRelease]:
        """Every sealed version, and every version in MLflow that was not sealed, by its label."""
        sealed = {f"{each.name}/{each.version}": each for each in self.records if each.type == "seal"}
        with ThreadPoolExecutor(_READERS) as pool:
            found = dict(zip(sealed, pool.map(self._sealed, sealed.values()), strict=True))
            names = [name for _, name in self._parts.registry.names()]
            for versions in pool.map(self._parts.registry.versions, names):
                for each in versions:
                    label = f"{each.name}/{each.version}"
                    if label in sealed:
                        continue
                    try:
                        manifest = manifest_of(each)
                    except InvalidData:
                        continue  # nobody can evaluate, seal or serve it
                    found[label] = KnownRelease(label, manifest_digest(manifest), manifest, "MLflow's registry")
        return {label: known for label, known in found.items() if known is not None}

    def _sealed(self, record: LedgerRecord) -> KnownRelease | None:
        label, digest = f"{record.name}/{record.version}", record.digest or ""
        try:
            manifest = read_manifest(self._parts.store, digest)
        except (NotFound, Refused) as error:
            self.gaps.append(f"record {record.serial} seals {label}, but its manifest cannot be read: {error}")
            return None
        return KnownRelease(label, digest, manifest, f"manifest {digest}, sealed by record {record.serial}")

    @cached_property
    def indexes(self) -> dict[str, KnowledgeBase]:
        """Every index that a pointer names or a release pins, with the table version that it was built from."""
        store = self._parts.store
        bucket = store.settings.artifacts_bucket
        keys = [item.key for item in store.list(bucket, "index-of/")]
        with ThreadPoolExecutor(_READERS) as pool:
            pointers = [json.loads(data) for data in pool.map(lambda key: store.get(bucket, key), keys)]
        found = {
            str(each["index"]): KnowledgeBase(each["table"], int(each["delta_version"]), str(each["index"]))
            for each in pointers
        }
        for known in self.releases.values():
            if known.manifest.knowledge_base is not None:
                found.setdefault(known.manifest.knowledge_base.index, known.manifest.knowledge_base)
        return found

    def indexes_of(self, table: str) -> dict[int, list[str]]:
        """The indexes of a table, by its Delta version."""
        found: dict[int, list[str]] = {}
        for index, base in sorted(self.indexes.items()):
            if base.table == table:
                found.setdefault(base.delta_version, []).append(index)
        return found

    def of_index(self, node: Node) -> Iterator[Edge]:
        """The table version that an index was built from, and the releases that pin it."""
        base = self.indexes.get(node.name)
        if base is not None:
            yield Edge(_table(base), node, "was indexed as", f"manifest of {node.name}{self._damage(node.name)}")
        for known in self.releases.values():
            pinned = known.manifest.knowledge_base
            if pinned is not None and pinned.index == node.name:
                yield Edge(node, known.node, "is pinned by", known.fact)

    def of_table(self, node: Node) -> Iterator[Edge]:
        """The indexes that were built from a table version."""
        for index, base in self.indexes.items():
            if _table(base) == node:
                yield Edge(node, Node("index", index), "was indexed as", f"manifest of {index}{self._damage(index)}")

    def of_release(self, node: Node) -> Iterator[Edge]:
        """The index that a release pins, its evaluation runs, and the records about it."""
        known = self.releases.get(node.name)
        if known is not None and known.manifest.knowledge_base is not None:
            yield Edge(Node("index", known.manifest.knowledge_base.index), node, "is pinned by", known.fact)
        for record in self.records:
            if record.version is not None and f"{record.name}/{record.version}" == node.name:
                yield Edge(node, _record(record), f"is named by the {record.type}", f"record {record.serial}")
                for run in self._runs(record):
                    yield Edge(node, Node("run", run), "was evaluated in", f"record {record.serial}")
        for found in self._runs_of(known):
            yield Edge(node, Node("run", found.id), "was evaluated in", f"tags of run {found.id}")

    def of_run(self, node: Node) -> Iterator[Edge]:
        """The release and the cases of an evaluation run, and the verdicts that rest on it."""
        for record in self.records:
            if node.name in self._runs(record):
                yield Edge(node, _record(record), f"is evidence of the {record.type}", f"record {record.serial}")
        try:
            run = self._parts.experiments.get(node.name)
        except NotFound:
            self.gaps.append(f"run {node.name} is gone from MLflow")
            return
        cases, digest, version = (run.tags.get(tag) for tag in (CASES_TAG, DIGEST_TAG, VERSION_TAG))
        if cases:
            yield Edge(Node("cases", cases), node, "were asked in", f"tags of run {run.id}")
        for known in self.releases.values():
            if known.digest == digest and version in (None, known.label.rpartition("/")[2]):
                yield Edge(known.node, node, "was evaluated in", f"tags of run {run.id}")

    def of_record(self, node: Node) -> Iterator[Edge]:
        """What a record is about, what it rests on, and the records that answer it."""
        for record in self.records:
            fact = f"record {record.serial}"
            if str(record.intent) == node.name:
                yield Edge(node, _record(record), f"was answered by the {record.type}", fact)
            if str(record.serial) != node.name:
                continue
            if record.version is not None:
                release = Node("release", f"{record.name}/{record.version}")
                yield Edge(release, node, f"is named by the {record.type}", fact)
            if record.intent is not None:
                yield Edge(Node("record", str(record.intent)), node, f"was answered by the {record.type}", fact)
            for run in self._runs(record):
                yield Edge(Node("run", run), node, f"is evidence of the {record.type}", fact)
            for kind, digest in self._digests(record).items():
                yield Edge(Node(kind, digest), node, "decided" if kind == "policy" else "were asked for", fact)

    def of_evidence(self, node: Node) -> Iterator[Edge]:
        """The verdicts that a policy decided, or that rest on a set of cases."""
        for record in self.records:
            if self._digests(record).get(node.kind) == node.name:
                verb = "decided" if node.kind == "policy" else "were asked for"
                yield Edge(node, _record(record), verb, f"record {record.serial}")

    @cached_property
    def _verdicts(self) -> dict[int, Mapping[str, Any]]:
        """The evidence of each verdict, by the serial of its record; of a seal, what its verified envelope states."""
        found: dict[int, Mapping[str, Any]] = {}
        for record in self.records:
            if record.type == "refusal":
                found[record.serial] = record.evidence
        for state in self._parts.ledger.state().names.values():
            for seal in state.all_seals.values():
                try:
                    found[seal.serial] = checked_statement(self._parts, state.name, seal).predicate
                except SealBroken as error:
                    self.gaps.append(f"record {seal.serial}: {error}")
        return found

    def _runs(self, record: LedgerRecord) -> list[str]:
        """The evaluation run of the version that a verdict is about. The champion's is evidence about another one."""
        run = (self._verdicts.get(record.serial, {}).get("runs") or {}).get("candidate")
        return [str(run)] if run else []

    def _digests(self, record: LedgerRecord) -> dict[str, str]:
        """The digests of the policy and of the cases that a verdict rests on."""
        verdict = self._verdicts.get(record.serial, {})
        found = {kind: (verdict.get(kind) or {}).get("digest") for kind in ("policy", "cases")}
        return {kind: str(digest) for kind, digest in found.items() if digest}

    def _runs_of(self, known: KnownRelease | None) -> list[Run]:
        if known is None:
            return []
        experiments = self._parts.experiments
        name, _, version = known.label.rpartition("/")
        try:
            experiment = experiments.known_experiment(experiment_name(name))
        except NotFound:
            return []
        return experiments.find(experiment, {DIGEST_TAG: known.digest, VERSION_TAG: version})

    def _damage(self, index: str) -> str:
        """Empty if the manifest of an index is there and unchanged."""
        try:
            index_store.manifest_of(self._parts.store, index)
        except (NotFound, InvalidData) as error:
            gap = f"index {index} cannot be read: {error}"
            if gap not in self.gaps:
                self.gaps.append(gap)
            return ", which cannot be read"
        return ""


def _table(base: KnowledgeBase) -> Node:
    return Node("table", f"{base.table}@{base.delta_version}")


def _record(record: LedgerRecord) -> Node:
    return Node("record", str(record.serial))
