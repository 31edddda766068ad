"""One Spark session and what is timed in it: our preparation, and what it is held against, over the same files.

Part of `bench.text_preparation`. Local Spark, two threads; tables on the local disk, in a folder that is taken away.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from langchain_text_splitters import RecursiveCharacterTextSplitter
from pyspark.sql import DataFrame, SparkSession

from bench.public_way import prepare_in_one_pass, prepare_in_three_passes
from mlflow_project.rules.chunking.chunks import Chunk
from mlflow_project.rules.chunking.records import Document, Fields
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs import changes
from spark_jobs.cutting import Cutter
from spark_jobs.examination import Examiner, fingerprints
from spark_jobs.folders import folder
from spark_jobs.plan import Limits
from spark_jobs.preparation import Counts, Request, prepare
from spark_jobs.raw import read_raw
from spark_jobs.session import spark_session
from spark_jobs.staging import Stager, stage
from spark_jobs.table_files import Written
from spark_jobs.table_log import TableLog
from spark_jobs.tables import CHUNKS, CHUNKS_KEY, writer
from stack.layout import ROOT, jar_folder

COPIED = "id string, title string, text string"
EXAMINER = Examiner(Fields(), False, "")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LangChain(Cutter):
    """The same job with LangChain's recursive splitter, which also finds where each chunk starts."""

    @cached_property
    def _theirs(self) -> RecursiveCharacterTextSplitter:
        return RecursiveCharacterTextSplitter(
            chunk_size=self.splitter.size, chunk_overlap=self.splitter.overlap, add_start_index=True
        )

    def chunks(self, document: Document) -> list[Chunk]:
        made = self._theirs.create_documents([document.text])
        found = [(int(each.metadata["start_index"]), each.page_content) for each in made]
        return [
            Chunk(f"{document.document_id}/{number}", number, start, start + len(part), "", part)
            for number, (start, part) in enumerate(found)
        ]


class Runs:
    """Timed runs; each writes to a place of its own unless it is told where."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self.spark = _session(folder)

    def close(self) -> None:
        self.spark.stop()

    def copy(self, source: Path) -> float:
        """Spark's own JSON lines -> Delta."""
        rows = self.spark.read.schema(COPIED).json(str(source))
        return self._written(rows)

    def chunking(self, source: Path, kind: type[Cutter] = Cutter) -> float:
        """From raw lines to a Delta table of chunks alone, in one job."""
        place = self._place()
        try:
            return _timed(lambda: self._chunked(source, place, kind(Splitter())))
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def preparation(self, source: Path, output: Path | None = None) -> tuple[float, Counts]:
        """The whole job: examined, counted, chunks, documents and quarantine written."""
        started = time.perf_counter()
        counts = prepare(self.spark, Request(str(source), str(output or self._place()), limits=Limits(1, 1)))
        return time.perf_counter() - started, counts

    def three_passes(self, source: Path, output: Path | None = None) -> float:
        """The whole job with Spark's public interfaces alone, which reads the input three times."""
        return _timed(lambda: prepare_in_three_passes(self.spark, source, output or self._place()))

    def one_pass(self, source: Path, output: Path | None = None) -> float:
        """The whole job with Spark's public interfaces alone, which keeps what it read on the disk."""
        return _timed(lambda: prepare_in_one_pass(self.spark, source, output or self._place()))

    def hashing(self, source: Path, prepared: Path) -> float:
        """Read and hash all, know all, write nothing."""
        table = self.spark.read.format("delta").load(f"{prepared}_documents").select("document_hash")
        known = [str(row[0]) for row in table.collect()]
        nowhere = folder(self.spark, str(self._place()))
        seen = changes.row_summaries(
            self._staged(source, Stager(EXAMINER, Cutter(Splitter()), nowhere, None, "none", NOW), known)
        )
        return _timed(lambda: seen.write.format("noop").mode("overwrite").save())

    def _chunked(self, source: Path, place: Path, cutter: Cutter) -> None:
        table = TableLog(self.spark, folder(self.spark, str(place)), CHUNKS, CHUNKS_KEY)
        staged = self._staged(source, Stager(EXAMINER, cutter, folder(self.spark, str(place)), None, "bench", NOW))
        files = staged.where("written IS NOT NULL").select("written.*").collect()
        table.commit([Written(*row) for row in files], {})

    def _staged(self, source: Path, stager: Stager, known: list[str] | None = None) -> DataFrame:
        shared = self.spark.sparkContext.broadcast(fingerprints(known or []))
        return stage(read_raw(self.spark, str(source)), stager, shared)

    def _written(self, rows: DataFrame) -> float:
        place = self._place()
        try:
            return _timed(lambda: writer(rows).save(str(place)))
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _place(self) -> Path:
        self._made += 1
        return self._folder / f"table-{self._made}"


@contextmanager
def watched_workers() -> Iterator[Callable[[], int]]:
    """Meanwhile, look at Spark's Python workers ten times a second; yields what tells the largest one's bytes."""
    most, stop = [0], threading.Event()

    def look() -> None:
        while not stop.wait(0.1):
            most[0] = max([most[0], *_worker_bytes()])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        stop.set()
        thread.join()


def _worker_bytes() -> Iterator[int]:
    for process in psutil.Process().children(recursive=True):
        try:
            if "pyspark.daemon" in process.cmdline():
                yield int(process.memory_info().rss)
        except psutil.Error:
            continue


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _session(folder: Path) -> SparkSession:
    """Workers run this Python and find this repository; jars come from the set-up's cache."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    conf = folder / "conf"
    conf.mkdir(parents=True)
    jars = ",".join(str(jar) for jar in sorted(jar_folder().glob("*.jar")))
    (conf / "spark-defaults.conf").write_text(
        f"spark.jars {jars}\nspark.master local[2]\nspark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
        "spark.sql.extensions io.delta.sql.DeltaSparkSessionExtension\nspark.ui.enabled false\n"
        "spark.sql.catalog.spark_catalog org.apache.spark.sql.delta.catalog.DeltaCatalog\n"
        f"spark.sql.shuffle.partitions 4\nspark.local.dir {folder / 'local'}\n"
    )
    os.environ["SPARK_CONF_DIR"] = str(conf)
    return spark_session("bench")
