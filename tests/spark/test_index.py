"""The index of one table version: made once, named by its digest, fetched whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.providers.embedding import IN_A_REQUEST
from mlflow_project.adapters.retrieval import embeddings, index_files, index_store
from mlflow_project.adapters.retrieval.index import open_index
from mlflow_project.commands.main import build as command_line
from mlflow_project.domain.release import Retrieval
from mlflow_project.errors import InvalidData, NotFound, ProviderError
from mlflow_project.settings import StoreSettings
from spark_jobs import tables, vectors
from spark_jobs.build_index import build
from spark_jobs.embedding import choose
from spark_jobs.tables import Tables
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import running_provider
from tests.sentence_models import write_model

TEXTS = {"a": "An alias says which version is live.", "b": "A rollback moves the alias back.", "c": "The ledger."}


@pytest.fixture
def store(minio: Any) -> ObjectStore:
    return ObjectStore(StoreSettings())


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A chunk table of three documents, one chunk each."""
    return written(tmp_path / "chunks", TEXTS.items())


def written(path: Path, texts: Iterable[tuple[str, str]]) -> str:
    rows = [
        {"chunk_id": f"{name}0", "source_document_id": name, "text_content": text, "start": 0, "end": len(text)}
        | {"index": 0, "title": name, "heading_path": "", "language": "en", "metadata": json.dumps({"team": name})}
        for name, text in texts
    ]
    write_deltalake(str(path), pa.Table.from_pylist(rows), mode="append")
    return str(path)


def with_vectors(table: str, names: Iterable[str]) -> None:
    """Vectors as Spark keeps them: for these chunks."""
    found = embeddings.embed([TEXTS[name] for name in names])
    rows = [
        {"chunk_id": f"{name}0", "model": embeddings.MODEL, "vector": vector.astype("<f4").tobytes()}
        for name, vector in zip(names, found, strict=True)
    ]
    write_deltalake(Tables(table).vectors, pa.Table.from_pylist(rows), mode="append")


def stored(store: ObjectStore, prefix: str) -> list[str]:
    return [each.key for each in store.list(store.settings.artifacts_bucket, prefix)]


def test_an_index_is_made_once_for_a_table_version_and_specification(store: ObjectStore, table: str) -> None:
    first, again = (build(store, table, None, False) for _ in range(2))
    assert (first["built"], again["built"]) == (True, False)
    assert {**first, "built": 0} == {**again, "built": 0}
    written(Path(table), [("d", "One more document.")])
    grown = build(store, table, None, False)
    assert (grown["built"], grown["chunks"], grown["delta_version"]) == (True, 4, 1)
    assert build(store, table, 0, False)["index"] == first["index"]
    assert index_store.latest(store, table).index == grown["index"]


def test_a_manifest_says_table_version_counts_model_and_the_digest_of_each_file(store: ObjectStore, table: str) -> None:
    with_vectors(table, TEXTS)
    made = build(store, table, None, True)
    manifest = index_store.manifest_of(store, made["index"])
    assert (manifest["table"], manifest["delta_version"]) == (table, 0)
    assert manifest["counts"] == {"chunks": 3, "documents": 3}
    assert manifest["specification"]["vectors"] == embeddings.MODEL
    prefix = "indexes/" + made["index"].removeprefix("sha256:")
    paths = {f"{prefix}/{file['path']}" for file in manifest["files"]} | {f"{prefix}/manifest.json"}
    assert set(stored(store, prefix)) == paths
    assert all(file["digest"].startswith("sha256:") and file["bytes"] for file in manifest["files"])


def test_a_person_searches_the_newest_index_of_a_table(
    store: ObjectStore, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path / "state"))
    with_vectors(table, TEXTS)
    build(store, table, None, True)

    def searched(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(command_line("search"), ["search", table, *words])
        assert done.exit_code == code, done.output
        return done.output

    found = json.loads(searched("Which version is live?", "--json"))
    assert (found["way"], found["delta_version"]) == ("hybrid", 0)
    assert [found["hits"][0][name] for name in ("rank", "document_id", "text", "pages")] == [1, "a", TEXTS["a"], []]
    explained = searched("Which version is live?", "--words", "--explain", "--chunks", "1")
    assert "words that hit" in explained
    assert "version is live" in explained
    assert "not 2" in searched("alias", "--words", "--vectors", code=2)
    assert (
        "has no search index yet" in CliRunner().invoke(command_line("search"), ["search", f"{table}-no", "a"]).output
    )


def test_two_builders_at_once_end_with_one_artifact(store: ObjectStore, table: str) -> None:
    before = set(stored(store, "indexes/"))
    with ThreadPoolExecutor(4) as builders:
        names = {made["index"] for made in builders.map(lambda _: build(store, table, None, False), range(4))}
    assert len(names) == 1
    assert {key.split("/")[1] for key in set(stored(store, "indexes/")) - before} == {
        name.removeprefix("sha256:") for name in names
    }


def test_vectors_are_computed_for_those_chunks_alone_that_have_none(spark: SparkSession, table: str) -> None:
    at = Tables(table)
    with_vectors(table, ["a", "c"])
    assert not vectors.are_complete(at, 0)
    vectors.complete(spark, at, tables.read(spark, at.chunks))
    kept = DeltaTable(at.vectors).to_pyarrow_table().to_pylist()
    assert sorted(row["chunk_id"] for row in kept) == ["a0", "b0", "c0"]
    assert vectors.are_complete(at, 0)


def test_a_vector_that_is_kept_twice_gives_no_chunk_twice(store: ObjectStore, table: str) -> None:
    for _ in range(2):
        with_vectors(table, TEXTS)
    assert build(store, table, None, True)["chunks"] == 3


def test_many_readers_at_once_fetch_and_open_copies_of_their_own(
    store: ObjectStore, table: str, tmp_path: Path
) -> None:
    name = build(store, table, None, False)["index"]

    def found(_: int) -> list[str]:
        opened = open_index(index_store.fetch(store, name, tmp_path / "indexes"), tmp_path / "scratch", name)
        return [each.document_id for each in opened.search("rollback", Retrieval(1))]

    with ThreadPoolExecutor(8) as readers:
        assert list(readers.map(found, range(8))) == [["b"]] * 8
    assert not any((tmp_path / "scratch").iterdir())


def test_a_damaged_copy_is_named_and_fetched_again(store: ObjectStore, table: str, tmp_path: Path) -> None:
    name = build(store, table, None, False)["index"]
    folder = index_store.fetch(store, name, tmp_path)
    (folder / "chunks.jsonl").write_bytes(b"{}")
    (folder / "strange").write_bytes(b"")
    with pytest.raises(InvalidData, match=r"chunks\.jsonl is missing or changed, strange does not belong"):
        index_files.verify(folder, name)
    assert index_files.verify(index_store.fetch(store, name, tmp_path), name) == folder


def test_a_file_or_manifest_that_was_changed_in_the_store_is_never_served(
    store: ObjectStore, table: str, tmp_path: Path
) -> None:
    name = build(store, table, None, False)["index"]
    bucket, prefix = store.settings.artifacts_bucket, "indexes/" + name.removeprefix("sha256:")
    store.put(bucket, f"{prefix}/offsets.npy", b"changed")
    with pytest.raises(InvalidData, match=r"offsets\.npy is missing or changed"):
        index_store.fetch(store, name, tmp_path)
    store.delete(bucket, f"{prefix}/offsets.npy")
    with pytest.raises(NotFound, match=r"offsets\.npy"):
        index_store.fetch(store, name, tmp_path)
    store.put(bucket, f"{prefix}/manifest.json", b"{}")
    with pytest.raises(InvalidData, match="manifest"):
        index_store.fetch(store, name, tmp_path)
    assert not [path for path in tmp_path.glob("[!.]*") if path.name != "chunks"]


def test_a_release_may_pin_a_filter_on_metadata(store: ObjectStore, table: str, tmp_path: Path) -> None:
    name = build(store, table, None, False)["index"]
    opened = open_index(index_store.fetch(store, name, tmp_path), tmp_path / "scratch", name)
    assert [each.document_id for each in opened.search("alias", Retrieval(5, where={"team": "a"}))] == ["a"]
    assert not opened.search("alias", Retrieval(5, where={"team": "a"}), {"team": "b"})


ENDPOINT = """
endpoints:
  small:
    protocol: openai
    url: {url}
    key: {{env: EMBEDDING_KEY}}
    limits: {{tries: 1}}
    prices: {{small-1: {{version: "2026-11", input_per_million: 20, output_per_million: 0}}}}
"""


def test_an_endpoint_embeds_each_chunk_once_also_when_a_build_breaks_off(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = written(tmp_path / "many", ((f"d{number}", f"text number {number}") for number in range(600)))
    with running_provider() as provider:
        (tmp_path / "providers.yaml").write_text(ENDPOINT.format(url=provider.openai_url))
        monkeypatch.setenv("SWITCHYARD_PROVIDERS", str(tmp_path / "providers.yaml"))
        monkeypatch.setenv("EMBEDDING_KEY", "key-of-the-environment-123")
        chosen = choose("openai:small-1", "small", 16, None, store, tmp_path)
        provider.will(*[Behaviour()] * 3, always=Behaviour(status=500))
        with pytest.raises(ProviderError):
            build(store, table, None, chosen)
        assert len(DeltaTable(Tables(table).vectors).to_pyarrow_table()) == 3 * IN_A_REQUEST
        provider.will()
        made = build(store, table, None, chosen)
        assert {each.headers["authorization"] for each in provider.requests} == {"Bearer key-of-the-environment-123"}
        assert sum(len(each.body["input"]) for each in provider.requests) == 600 - 3 * IN_A_REQUEST
        spent = made["embedded"]
        assert (spent["chunks"], spent["tokens"]) == (600 - 3 * IN_A_REQUEST, 3 * spent["chunks"])
        assert spent["usd"] == pytest.approx(spent["tokens"] * 20 / 1e6)
        asked = len(provider.requests)
        assert build(store, table, None, chosen)["built"] is False
        other = build(store, table, None, choose("openai:small-1", "small", 8, None, store, tmp_path))
        assert other["index"] != made["index"]
        assert (other["embedded"]["chunks"], len(provider.requests) > asked) == (600, True)


def test_a_sentence_model_in_a_bucket_makes_the_vectors_and_show_describes_the_index(
    store: ObjectStore, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path / "state"))
    for path in write_model(tmp_path / "tiny").rglob("*"):
        if path.is_file():
            store.upload("models-bucket", f"sentence/tiny/{path.relative_to(tmp_path / 'tiny')}", path)
    chosen = choose("onnx:s3a://models-bucket/sentence/tiny", None, None, None, store, tmp_path / "fetched")
    made = build(store, table, None, chosen)
    runner, commands = CliRunner(), command_line()
    shown = json.loads(runner.invoke(commands, ["index", "show", table, "--json"]).output)
    assert (shown["index"], shown["chunks"], shown["delta_version"]) == (made["index"], 3, 0)
    assert (shown["embedder"]["name"], shown["embedder"]["dimensions"]) == ("onnx:tiny", 6)
    assert shown["embedder"]["files"] == chosen.embedder.files
    assert shown["weights"] == {"words": 1.0, "vectors": 0.2, "fusion": "scores"}
    assert "pooling" in runner.invoke(commands, ["index", "show", table]).output
    found = json.loads(runner.invoke(commands, ["search", table, "rollback", "--vectors", "--json"]).output)
    assert found["hits"][0]["by_vectors"]["rank"] == 1
    assert runner.invoke(commands, ["index", "show", table, "--vectors"]).exit_code == 2
    assert runner.invoke(commands, ["index", table, table]).exit_code == 2


@pytest.mark.parametrize(
    ("asked", "endpoint", "said"),
    [
        ("word2vec", None, "There is no embedder"),
        ("openai:", None, "There is no embedder"),
        ("wordllama", "small", "are for other embedders"),
        ("onnx:nowhere", "small", "--endpoint is for"),
        ("onnx:nowhere", None, "holds no ONNX sentence model"),
    ],
)
def test_an_embedder_that_cannot_be_is_refused_in_words(
    store: ObjectStore, asked: str, endpoint: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidData, match=said):
        choose(asked, endpoint, None, None, store, tmp_path)
