"""A knowledge base from raw lines to a live release, made without Spark: real Delta tables, index, run, seal and flip,
and the events of its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from mlflow_project.adapters.delta_tables import storage_options
from mlflow_project.adapters.evidence import SCORES, keep_scores
from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.event import AnswerEvent
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import KnowledgeBase, Manifest, Message, ProviderChoice, Release, Retrieval
from mlflow_project.domain.times import utc_now
from mlflow_project.domain.verdict import Verdict
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.seal_release import record_verdict
from mlflow_project.rules.chunking.records import Document, Fields, read_line
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.content import content_of
from mlflow_project.settings import RegistrySettings, load
from spark_jobs.build_index import build
from spark_jobs.cutting import Cutter, chunk_rows, document_rows
from spark_jobs.table_state import Note
from spark_jobs.tables import PROFILES, QUARANTINE
from tests.releases.conftest import Yard
from tests.unit.test_spool import answer

TEXTS = {
    "gate": "The gate decides on evidence whether an alias may move.",
    "ledger": "The ledger records every seal, every flip and every refusal.",
}


@dataclass
class Corpus:
    """The knowledge base of a test. `raw` is the key of its raw file in the raw bucket."""

    yard: Yard
    table: str
    raw: str
    splitter: Splitter

    @classmethod
    def of(cls, yard: Yard) -> Corpus:
        """An empty one with a table of its own."""
        return cls(yard, f"s3a://curated-data-bucket/{yard.name}", f"{yard.name}/raw.jsonl", Splitter())

    def prepare(self, texts: Mapping[str, str] = TEXTS, rejected: Sequence[str] = ()) -> KnowledgeBase:
        """Write the raw file and the tables as a preparation does, and build the index. `rejected` has the reason of
        each row in quarantine."""
        lines = [json.dumps({"id": name, "text": text, "title": name.title()}).encode() for name, text in texts.items()]
        self.yard.parts.store.put("raw-data-bucket", self.raw, b"\n".join(lines) + b"\n")
        documents = [each for line in lines if isinstance(each := read_line(line, Fields()), Document)]
        return self.write(documents, rejected)

    def write(self, documents: Sequence[Document], rejected: Sequence[str] = ()) -> KnowledgeBase:
        """Write the three tables, with where each document was read, and build the index."""
        now = datetime.now(UTC)
        chunks = list(chunk_rows(documents, Cutter(self.splitter), now))
        version = self._overwrite(self.table, _plain(pa.concat_tables([_plain(each) for each in chunks])), "")
        count = sum(each.num_rows for each in chunks)
        locations = [(f"s3a://raw-data-bucket/{self.raw}", 0, number) for number in range(len(documents))]
        rows = _plain(document_rows(documents, self.splitter.name, now, locations))
        nothing = dict.fromkeys(QUARANTINE.names)
        reasons = [{**nothing, "reason": reason} for reason in rejected]
        quarantine = self._overwrite(f"{self.table}_quarantine", pa.Table.from_pylist(reasons, QUARANTINE), "")
        self._overwrite(f"{self.table}_documents", rows, str(Note(version, count, quarantine, "rows")))
        made = build(self.yard.parts.store, self.table, version, False)
        return KnowledgeBase(self.table, version, made["index"])

    def profile(self, version: int) -> None:
        """Write what lineage and the gate read of a profile: the column, and the version of the chunk table."""
        row = {**dict.fromkeys(PROFILES.names), "corpus_version": version, "column": "text"}
        self._overwrite(f"{self.table}_profiles", pa.Table.from_pylist([row], PROFILES), "")

    def release(self, base: KnowledgeBase, text: str = "{{question}}") -> Release:
        """A version that pins the knowledge base, evaluated, sealed and live."""
        release = self.register(base, text)
        self.seal(release, self.run(release))
        promote(self.yard.parts, self.yard.name, release.version, "Production", "user:anna")
        assert read_manifest(self.yard.parts.store, release.digest) == release.manifest
        return release

    def register(self, base: KnowledgeBase, text: str = "{{question}}") -> Release:
        """A version that pins the knowledge base."""
        manifest = Manifest(
            "prompt",
            self.yard.name,
            (Message("user", text),),
            ProviderChoice("extractive", "extractive-1", {"sentences": 1}),
            retrieval=Retrieval(5),
            knowledge_base=base,
        )
        version = self.yard.parts.registry.create_prompt_version(self.yard.name, *content_of(manifest))
        return self.yard.release(version)

    def run(self, release: Release) -> Run:
        """A run in MLflow whose scores are kept, as an evaluation leaves it."""
        experiments = Experiments(load(RegistrySettings))
        experiment = experiments.experiment(f"evaluate-{release.name}")
        run = experiments.start(experiment, release.label, _tags(release))
        data = json.dumps({"label": release.label}).encode()
        keep_scores(self.yard.parts.store, run.id, data)
        experiments.write(run, SCORES, data)
        experiments.finish(run)
        return run

    def runs_of(self, release: Release) -> Run:
        """The evaluation run of a release."""
        experiments = Experiments(load(RegistrySettings))
        tags = {"switchyard.digest": release.digest}
        return experiments.find(experiments.experiment(f"evaluate-{release.name}"), tags)[0]

    def seal(self, release: Release, run: Run) -> LedgerRecord:
        """What the gate does when it accepts."""
        live = self.yard.state.live.get("Production")
        file = keep_scores(self.yard.parts.store, run.id, json.dumps({"label": release.label}).encode())
        return record_verdict(
            self.yard.parts,
            release=release,
            verdict=Verdict("accepted", ("it was good",)),
            policy_digest="sha256:" + "2" * 64,
            champion=self.yard.release(live.version) if live else None,
            runs={"candidate": run.id, "champion": None},
            scores={"candidate": file, "champion": None},
            cases={"digest": "sha256:" + "3" * 64, "count": 3},
            who="user:gate",
        )

    def chunks(self) -> dict[str, str]:
        """The chunk of each document."""
        rows = DeltaTable(self.table.replace("s3a", "s3"), storage_options=storage_options()).to_pyarrow_table()
        return dict(zip(rows["source_document_id"].to_pylist(), rows["chunk_id"].to_pylist(), strict=True))

    def answered(self, request: str, release: Release, chunks: Sequence[str] | None, **fields: Any) -> AnswerEvent:
        """The event of an answer, uploaded."""
        event = replace(
            answer(1),
            event_id=f"{self.yard.name}-{request}",
            request_id=request,
            at=utc_now(),
            name=self.yard.name,
            release=release.label,
            digest=release.digest,
            chunks=None if chunks is None else tuple(chunks),
            **fields,
        )
        self.upload(event)
        return event

    def upload(self, event: AnswerEvent) -> None:
        """Put one event where followers put theirs."""
        key = f"events/day={datetime.now(UTC):%Y-%m-%d}/{event.event_id}.jsonl"
        self.yard.parts.store.put("raw-data-bucket", key, json.dumps(event.to_dict()).encode() + b"\n")

    def _overwrite(self, address: str, rows: pa.Table, note: str) -> int:
        at = address.replace("s3a", "s3")
        properties = CommitProperties({"userMetadata": note}) if note else None
        options = storage_options()
        write_deltalake(at, rows, mode="overwrite", storage_options=options, commit_properties=properties)
        return int(DeltaTable(at, storage_options=options).version())


def _tags(release: Release) -> dict[str, str]:
    cases = "sha256:" + "3" * 64
    return {"switchyard.digest": release.digest, "switchyard.version": str(release.version), "switchyard.cases": cases}


def _plain(rows: pa.Table) -> pa.Table:
    """Without Arrow dictionaries, which `write_deltalake` does not take."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))
