"""The spool of the ingestion service keeps each record as it came, in order, within its bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestion.record import Record
from ingestion.spool import Spool
from mlflow_project.errors import ConfigError


def test_records_keep_every_byte_also_those_that_are_no_text(tmp_path: Path) -> None:
    headers = (
        ("owner", b"\xff\xfe\x00"),
        ("request-id", "Gr\u00fc\u00dfe".encode()),
        ("half", b"\xed\xa0\x80"),
        ("", b""),
    )
    records = [
        Record("raw-documents", b"\xff\x00", b'{"id": "\xff"}', headers),
        Record("raw-documents", None, None, ()),
    ]
    spool = Spool(tmp_path, 1_000_000)
    assert spool.add(records) == 2
    spool.close()
    again = Spool(tmp_path, 1_000_000)
    assert [record for _, record in again.first(10)] == records
    again.remove(again.first(10))
    assert (again.count, again.bytes) == (0, 0)
    again.close()


def test_records_beyond_the_bound_are_not_taken(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 3_000)
    assert spool.add([Record("t", b"k", b"v" * 1_000, ()) for _ in range(5)]) == 2
    assert spool.add([Record("t", b"k", b"v" * 1_000, ())]) == 0
    spool.close()


def test_a_second_service_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000)
    with pytest.raises(ConfigError, match="SWITCHYARD_INGEST_FOLDER"):
        Spool(tmp_path, 1_000)
    spool.close()
