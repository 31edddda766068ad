"""Tables as delta-rs is asked of them: the right one or none, whatever the folder is called. Spark has no part here."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyarrow import fs

from mlflow_project.settings import StoreSettings, load
from spark_jobs.asking import ask
from spark_jobs.folders import Folder

BESIDE = ["docs", "50%", "a b", "a/b"]
READ = ["docs#2", "docs?x=1", "ä ö", "日本", "a+b", "x&y=z", "a:b", "a[1]", "a*"]
LEFT_TO_SPARK = ["50%25", "a%20b", "a%2Fb", "a\\b"]


@pytest.fixture
def store(minio: Any) -> dict[str, Any]:
    """The session's store, as Arrow is told of it."""
    settings = load(StoreSettings)
    return {
        "scheme": "http",
        "endpoint_override": settings.s3_endpoint.split("://")[-1],
        "region": settings.s3_region,
        "access_key": settings.s3_access_key.get_secret_value(),
        "secret_key": settings.s3_secret_key.get_secret_value(),
    }


@pytest.mark.parametrize("way", ["local", "s3"])
def test_the_table_of_exactly_this_folder_is_asked_or_none(way: Any, store: dict[str, Any], tmp_path: Path) -> None:
    top = str(tmp_path / "tables") if way == "local" else f"curated-data-bucket/{uuid.uuid4().hex}"
    options = store if way == "s3" else {}
    folders = {name: Folder(name, way, f"{top}/{name}", options) for name in [*BESIDE, *READ, *LEFT_TO_SPARK]}
    for rows, (name, folder) in enumerate(folders.items(), 1):
        written = tmp_path / f"written-{rows}"
        write_deltalake(written, pa.table({"name": [name] * rows}))
        fs.copy_files(str(written), folder.path, destination_filesystem=folder.files())

    for rows, (name, folder) in enumerate(folders.items(), 1):
        for version in (None, 0):
            counted, read = (ask(folder, f"SELECT {what} FROM here", version) for what in ("count(*)", "name"))
            if name in LEFT_TO_SPARK:
                assert counted is None, name
                continue
            assert counted is not None, name
            assert read is not None, name
            assert (counted[0][0].as_py(), set(read[0].to_pylist()), len(read)) == (rows, {name}, rows)
