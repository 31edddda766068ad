"""Follows an answer back to its raw text, and checks each step on the way.

In: a request id, and the parts that hold the facts. Out: a `Trace`: the release with its seal and the record that made
it live, the chunks that the answer was given, their documents, and one `Step` per check. Where a check fails the trace
goes on as far as digests and ids still lead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mlflow_project.adapters.releases import read_manifest
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.answering.question import GIVEN
from mlflow_project.domain.reference import reference
from mlflow_project.domain.release import KnowledgeBase, Manifest
from mlflow_project.feedback.live import Row
from mlflow_project.ledger import LiveVersion, NameState
from mlflow_project.lineage import texts
from mlflow_project.lineage.answers import check_event, find_answer
from mlflow_project.lineage.live_then import made_live
from mlflow_project.lineage.raw_rows import check_raw, place_of
from mlflow_project.lineage.steps import Broken, Step, checked, is_broken
from mlflow_project.parts import Parts
from mlflow_project.promotion.audit import verify_release
from mlflow_project.rules.chunking.records import document as document_of


@dataclass(frozen=True)
class Trace:
    """What an answer rests on. `chunks` has one entry per chunk that was found in the index, in the order in which the
    answer got them."""

    answer: Row
    release: Mapping[str, Any]
    chunks: Sequence[Mapping[str, Any]]
    steps: Sequence[Step]

    @property
    def is_broken(self) -> bool:
        """Whether any step is broken."""
        return is_broken(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "answer": dict(self.answer),
            "release": dict(self.release),
            "chunks": [dict(chunk) for chunk in self.chunks],
            "steps": [step.to_dict() for step in self.steps],
            "broken": self.is_broken,
        }


def trace_answer(parts: Parts, request: str) -> Trace:
    """Follow the answer to a request, by its request id or by the id of its event.

    Raises:
        NotFound: no event has this id. InvalidData: several have. Unavailable: a service does not answer.
    """
    event = find_answer(parts.store, request)
    return _Tracer(parts, event).trace()


@dataclass
class _Tracer:
    parts: Parts
    event: Row
    steps: list[Step] = field(default_factory=list)

    def trace(self) -> Trace:
        self._check(f"answer:{self.event['request_id']}", "event", lambda: check_event(self.parts.store, self.event))
        release = self._release()
        manifest = self._manifest()
        if manifest is not None:
            release["manifest"] = manifest.to_dict()
        chunks = self._chunks(manifest.knowledge_base) if manifest is not None and manifest.knowledge_base else []
        return Trace(self.event, release, chunks, self.steps)

    def _check(self, node: str, check: str, run: Callable[[], str]) -> bool:
        step = checked(node, check, run)
        self.steps.append(step)
        return step.status == "ok"

    def _release(self) -> dict[str, Any]:
        """The release as the event names it, with what the ledger says of it."""
        label, digest = self.event["release"], self.event["digest"]
        node = f"release:{label}"
        found: dict[str, Any] = {"release": label, "digest": digest}
        state: NameState | None = None

        def replayed() -> str:
            nonlocal state
            state = self.parts.ledger.state().of(self.event["name"])
            if reference(label).name != state.name or reference(label).version is None:
                raise Broken(f"the event names the release {label!r}, which is no version of {state.name}")
            return f"{self.parts.ledger.head()[0]} records, each naming the one before it"

        if not self._check(node, "ledger", replayed) or state is None:
            return found
        version = reference(label).version or 0
        seal = state.all_seals.get((version, digest))
        if seal is None:
            other = state.seals.get(version)
            instead = f" The ledger sealed {label} as {other.digest}, record {other.serial}." if other else ""
            self._check(node, "seal", lambda: _fail(f"No record seals {label} with the digest {digest}.{instead}"))
        else:
            found["sealed_by"] = {"record": seal.serial, "time": seal.recorded}
            live = LiveVersion(version, digest, "", "", "", "", seal.serial)
            for each in verify_release(self.parts, state, live):
                self.steps.append(Step(node, each.check, "ok" if each.ok else "broken", each.detail))
        self._check(node, "live then", lambda: self._live_then(version, found))
        return found

    def _live_then(self, version: int, found: dict[str, Any]) -> str:
        event = self.event
        records = [record for record in self.parts.ledger.records() if record.name == event["name"]]
        seconds = float(event["latency_ms"] or 0) / 1000
        serial, sentence = made_live(records, (version, event["digest"]), event["at"], seconds)
        found["live_by"] = {"record": serial, "how": sentence}
        return sentence

    def _manifest(self) -> Manifest | None:
        """The manifest that the event's digest names. A step of its own only where no seal led to it."""
        manifest: Manifest | None = None

        def read() -> str:
            nonlocal manifest
            manifest = read_manifest(self.parts.store, self.event["digest"])
            return str(self.event["digest"])

        step = checked(f"release:{self.event['release']}", "manifest", read)
        if not any(each.check == "manifest" for each in self.steps):
            self.steps.append(step)
        return manifest

    def _chunks(self, base: KnowledgeBase) -> list[dict[str, Any]]:
        """The chunks that the answer was given, each followed into the table, its document and its raw text."""
        ids = self._given()
        if not ids:
            return []
        in_index = self._in_index(base, ids)
        found = [dict(in_index[chunk]) for chunk in ids if chunk in in_index]
        table = f"table:{base.table}@{base.delta_version}"
        in_table: texts.Rows = {}

        def read() -> str:
            opened = texts.table_at(base.table, base.delta_version)
            in_table.update(texts.table_chunks(opened, found))
            back = texts.restored_since(base.table, base.delta_version)
            later = (
                f"; version {back[0].version} has put the table back to version {back[0].to_version}" if back else ""
            )
            return f"version {base.delta_version} can be read{later}"

        if found and self._check(table, "table version", read):
            for chunk in found:
                self._check(f"chunk:{chunk['chunk_id']}", "in the table", partial(_same, chunk, in_table, table))
            self._check(table, "quality", lambda: str(texts.quality_at(base.table, base.delta_version)))
        self._documents(base, found, in_table)
        return found

    def _given(self) -> list[str]:
        node = f"answer:{self.event['request_id']}"
        ids = self.event.get("chunks")
        if ids is None:
            why = (
                "the request failed" if self.event.get("error_type") else "the server that answered did not record them"
            )
            self.steps.append(Step(node, "chunks", "unknown", f"the event does not name the chunks: {why}"))
            return []
        if GIVEN in ids:
            told = "the caller sent a context of its own, which rests on no document"
            self.steps.append(Step(node, "context", "unknown", told))
        return [chunk for chunk in ids if chunk != GIVEN]

    def _in_index(self, base: KnowledgeBase, ids: Sequence[str]) -> texts.Rows:
        """The rows of the chunks in the release's index, after all its files were checked."""
        found: texts.Rows = {}
        store, node = self.parts.store, f"index:{base.index}"

        def built() -> str:
            manifest = index_store.manifest_of(store, base.index)
            said = (manifest["table"], manifest["delta_version"])
            if said != (base.table, base.delta_version):
                raise Broken(
                    f"it was built from {said[0]} at version {said[1]}, and the release pins {base.table} at "
                    f"version {base.delta_version}"
                )
            named = index_store.find(store, base.table, base.delta_version, manifest["specification"])
            if named != base.index:
                now = "none" if named is None else named
                raise Broken(f"it was rebuilt: the index of {base.table} at version {base.delta_version} is now {now}")
            return f"built from {base.table} at version {base.delta_version}"

        def read() -> str:
            found.update(texts.index_chunks(store, base.index, ids))
            lost = [chunk for chunk in ids if chunk not in found]
            if lost:
                raise Broken(f"it does not have the chunks {', '.join(lost)}, which the answer was given")
            return f"all files have their digests, and all {len(ids)} chunks are there"

        self._check(node, "index", built)
        self._check(node, "chunks of the index", read)
        return found

    def _documents(self, base: KnowledgeBase, chunks: Sequence[dict[str, Any]], in_table: texts.Rows) -> None:
        ids = list(dict.fromkeys(chunk["document_id"] for chunk in chunks))
        found: texts.Rows = {}
        raw_tables: list[str] = []

        def read() -> str:
            documents = texts.documents_at(base.table, base.delta_version)
            found.update(texts.documents(documents.table, ids))
            raw_tables.extend(documents.raw_tables)
            return f"version {documents.table.version()} belongs to version {base.delta_version} of the chunks"

        if not ids or not self._check(f"table:{base.table}_documents", "table version", read):
            return
        for name in ids:
            node = f"document:{name}"
            if not self._check(node, "document", partial(_whole, name, found, base)):
                continue
            own = [chunk for chunk in chunks if chunk["document_id"] == name]
            place = place_of(found[name])
            for chunk in own:
                row = in_table.get(chunk["chunk_id"])
                self._check(f"chunk:{chunk['chunk_id']}", "in its document", partial(_cut, chunk, row, found[name]))
                chunk |= {"document_hash": found[name]["document_hash"], "raw": place}
            self._check(node, "raw text", partial(check_raw, self.parts.store, found[name], raw_tables))


def _fail(message: str) -> str:
    raise Broken(message)


def _same(chunk: Mapping[str, Any], in_table: texts.Rows, table: str) -> str:
    """Compare a chunk of the index with its row in the table."""
    row = in_table.get(chunk["chunk_id"])
    if row is None:
        raise Broken(f"{table} does not have this chunk, but the index that was built from it does")
    pairs = {"text_content": "text", "source_document_id": "document_id", "start": "start", "end": "end"}
    different = [column for column, name in pairs.items() if row[column] != chunk[name]]
    if different:
        raise Broken(f"{table} differs from the index in {', '.join(different)}")
    return f"the same text at {chunk['start']} to {chunk['end']} of document {chunk['document_id']}"


def _whole(name: str, found: texts.Rows, base: KnowledgeBase) -> str:
    """Check a document's row against its own hash."""
    row = found.get(name)
    if row is None:
        raise Broken(f"the documents of {base.table} at version {base.delta_version} do not have it")
    known = document_of(name, row["title"], row["text"], row["language"], row["metadata"]).document_hash
    if known != row["document_hash"]:
        raise Broken(f"its row has the hash {row['document_hash']}, but its content has {known}: it was changed")
    return f"{len(row['text']):,} characters, with the hash {known}"


def _cut(chunk: Mapping[str, Any], row: Mapping[str, Any] | None, document: Mapping[str, Any]) -> str:
    """Check that a chunk is exactly the text at its offsets in the document."""
    if row is not None and row["document_hash"] != document["document_hash"]:
        raise Broken(f"it was cut from the document with the hash {row['document_hash']}, and the table has another")
    start, end = chunk["start"], chunk["end"]
    if document["text"][start:end] != chunk["text"]:
        raise Broken(f"the text of document {chunk['document_id']} at {start} to {end} is not the chunk's text")
    return f"exactly the text of {chunk['document_id']} at {start} to {end}"
