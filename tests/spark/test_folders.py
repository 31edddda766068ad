"""Tables as delta-rs is asked of them: the right one or none, whatever the folder is called. Spark has no part here."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyarrow import fs

from mlflow_project.adapters.delta_tables import has_plain_address, open_table, read
from mlflow_project.settings import StoreSettings, load
from spark_jobs.folders import Folder

BESIDE = ["docs", "50%", "a b", "a/b"]
READ = ["docs#2", "docs?x=1", "ä ö", "日本", "a+b", "x&y=z", "a:b", "a[1]", "a*"]
OTHERS = ["50%25", "a%20b", "a%2Fb", "a\\b"]
"""Names that delta-rs would take for other ones."""


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


@pytest.mark.parametrize("access", ["local", "s3"])
def test_the_table_of_exactly_this_folder_is_asked_or_none(access: Any, store: dict[str, Any], tmp_path: Path) -> None:
    top = str(tmp_path / "tables") if access == "local" else f"curated-data-bucket/{uuid.uuid4().hex}"
    options = store if access == "s3" else {}
    folders = {name: Folder(name, access, f"{top}/{name}", options) for name in [*BESIDE, *READ, *OTHERS]}
    for rows, (name, folder) in enumerate(folders.items(), 1):
        written = tmp_path / f"written-{rows}"
        write_deltalake(written, pa.table({"name": [name] * rows}))
        fs.copy_files(str(written), folder.path, destination_filesystem=folder.files())

    for rows, (name, folder) in enumerate(folders.items(), 1):
        uri, settings = folder.for_delta_rs()
        assert has_plain_address(folder.path) == (name not in OTHERS)
        if name not in OTHERS:
            answer = read("SELECT name FROM here", {"here": open_table(uri, None, settings)})
            assert (set(answer[0].to_pylist()), len(answer)) == ({name}, rows)
