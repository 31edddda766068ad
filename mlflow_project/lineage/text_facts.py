"""Edges of texts, from Delta tables: raw files and records, documents, chunks, and the indexes that have them.

In: the versions of chunk tables that were indexed, and the newest ones. Out: edges. A version that cannot be read is a
gap, and the index that was built from it then says which chunks it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.lineage import texts
from mlflow_project.lineage.graph import Edge, Node
from mlflow_project.lineage.raw_rows import is_record
from mlflow_project.lineage.release_facts import ReleaseFacts
from mlflow_project.lineage.steps import Broken, Unrecorded

_Cut = tuple[dict[str, str], dict[str, list[str]]]
"""The document of each chunk, and the chunks of each document."""


@dataclass(frozen=True)
class _ReadAt:
    """Where documents were read: the source of each, and the documents of each source. `fact` names the table."""

    fact: str
    sources: Mapping[str, str]
    by_source: Mapping[str, list[str]]


@dataclass
class TextFacts:
    """Reads each version of a table once. All calls may raise `Unavailable`."""

    store: ObjectStore
    releases: ReleaseFacts
    gaps: list[str] = field(default_factory=list)
    _cuts: dict[tuple[str, int], _Cut] = field(default_factory=dict)
    _places: dict[tuple[str, int], _ReadAt] = field(default_factory=dict)

    @cached_property
    def tables(self) -> dict[str, list[int]]:
        """Every chunk table that an index was built from, with the versions that were indexed and the newest one."""
        found: dict[str, set[int]] = {}
        for base in self.releases.indexes.values():
            found.setdefault(base.table, set()).add(base.delta_version)
        for table, versions in found.items():
            try:
                versions.add(int(open_table(table).version()))
            except (NotFound, InvalidData) as error:
                self.gaps.append(f"table {table} cannot be read: {error}")
        return {table: sorted(versions) for table, versions in sorted(found.items())}

    def located(self, node: Node) -> list[Node]:
        """A chunk or document in each table that has it; any other node as it is."""
        if node.kind not in ("chunk", "document") or node.table is not None:
            return [node]
        at = 0 if node.kind == "chunk" else 1
        return [
            Node(node.kind, node.name, table)
            for table, versions in self.tables.items()
            if any(node.name in self._cut(table, version)[at] for version in versions)
        ]

    def of_file(self, node: Node) -> Iterator[Edge]:
        """The documents that were read from a raw file, or from a record of Kafka."""
        for table, versions in self.tables.items():
            for version in versions:
                read_at = self._read_at(table, version)
                for spelling in _spellings(node.name):
                    for name in read_at.by_source.get(spelling, ()):
                        yield Edge(node, Node("document", name, table), "was read as", read_at.fact)

    def of_document(self, node: Node) -> Iterator[Edge]:
        """Where a document was read, and the chunks that it was cut into."""
        table = node.table or ""
        chunks: dict[str, list[int]] = {}
        for version in self.tables.get(table, ()):
            read_at = self._read_at(table, version)
            source = read_at.sources.get(node.name)
            if source is not None:
                yield Edge(_source(source), node, "was read as", read_at.fact)
            for chunk in self._cut(table, version)[1].get(node.name, ()):
                chunks.setdefault(chunk, []).append(version)
        for chunk, versions in chunks.items():
            yield Edge(node, Node("chunk", chunk, table), "was cut into", _fact(table, versions))

    def of_chunk(self, node: Node) -> Iterator[Edge]:
        """The document of a chunk, and the indexes that have it."""
        table = node.table or ""
        indexes = self.releases.indexes_of(table)
        documents: dict[str, list[int]] = {}
        for version in self.tables.get(table, ()):
            document = self._cut(table, version)[0].get(node.name)
            if document is None:
                continue
            documents.setdefault(document, []).append(version)
            for index in indexes.get(version, ()):
                yield Edge(node, Node("index", index), "is in", f"{table} at version {version}")
        for document, versions in documents.items():
            yield Edge(Node("document", document, table), node, "was cut into", _fact(table, versions))

    def of_table(self, node: Node) -> Iterator[Edge]:
        """The raw files that the documents of a table version were read from."""
        table, _, version = node.name.rpartition("@")
        if int(version) in self.tables.get(table, ()):
            read_at = self._read_at(table, int(version))
            for source in read_at.by_source:
                yield Edge(_source(source), node, "was prepared as", read_at.fact)

    def _cut(self, table: str, version: int) -> _Cut:
        """The chunks of a version: the document of each, and the chunks of each document."""
        if (table, version) not in self._cuts:
            of_chunk = dict(self._pairs(table, version))
            of_document: dict[str, list[str]] = {}
            for chunk, document in of_chunk.items():
                of_document.setdefault(document, []).append(chunk)
            self._cuts[table, version] = of_chunk, of_document
        return self._cuts[table, version]

    def _pairs(self, table: str, version: int) -> list[tuple[str, str]]:
        """Each chunk of a version with its document."""
        query = "SELECT chunk_id, source_document_id FROM here"
        try:
            rows = read(query, {"here": texts.table_at(table, version)}).to_pylist()
            return [(row["chunk_id"], row["source_document_id"]) for row in rows]
        except (Broken, InvalidData) as error:
            self._gap(f"{table} at version {version}: {error}")
        for index in self.releases.indexes_of(table).get(version, ()):
            try:
                every = texts.all_of_index(self.store, index)
                return [(row["chunk_id"], row["document_id"]) for row in every]
            except (NotFound, InvalidData) as error:
                self._gap(f"index {index} cannot be read: {error}")
        return []

    def _read_at(self, table: str, version: int) -> _ReadAt:
        """Where the documents of a version were read; nothing of tables that do not say it."""
        if (table, version) not in self._places:
            self._places[table, version] = self._read_places(table, version)
        return self._places[table, version]

    def _read_places(self, table: str, version: int) -> _ReadAt:
        try:
            documents = texts.documents_at(table, version).table
        except (Broken, Unrecorded) as error:
            self._gap(f"{table} at version {version}: {error}")
            return _ReadAt("", {}, {})
        sources = texts.sources_of(documents)
        by_source: dict[str, list[str]] = {}
        for document, source in sources.items():
            by_source.setdefault(source, []).append(document)
        return _ReadAt(f"{table}_documents at version {documents.version()}", sources, by_source)

    def _gap(self, gap: str) -> None:
        if gap not in self.gaps:
            self.gaps.append(gap)


def _fact(table: str, versions: list[int]) -> str:
    return f"{table} at version {', '.join(map(str, versions))}"


def _spellings(file: str) -> list[str]:
    """How Spark may have spelt the address of a file: with special characters as `%20`, and a path as `file:/path`."""
    quoted = quote(file, safe=":/%")
    local = [f"file:{file}", f"file:{quoted}"] if file.startswith("/") else []
    return list(dict.fromkeys([file, quoted, *local]))


def _source(file: str) -> Node:
    """The node of a raw file, or of a record of Kafka."""
    return Node("message" if is_record(file) else "file", file)
