"""Small questions about a Delta table, put to delta-rs, which has read one before Spark has planned how to.

On the driver alone: workers need neither delta-rs nor this stack's settings. In: a folder and a query over `here`. Out:
the answer, or None: then Spark must be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.errors import WorkspaceError
from spark_jobs.folders import Folder


def ask(folder: Folder, query: str, version: int | None = None) -> pa.Table | None:
    """What the table `here` in this folder says, at its newest version unless one is named; None where delta-rs does
    not get in, or cannot read such a table."""
    if folder.way == "driver":
        return None
    s3 = folder.way == "s3"
    address, options = (f"s3://{folder.path}", _delta(folder.options)) if s3 else (folder.path, None)
    try:
        return read(query, {"here": open_table(address, version, options)})
    except WorkspaceError:
        return None


def _delta(options: Mapping[str, Any]) -> dict[str, str]:
    """Arrow's settings of S3 as those of delta-rs; what is not set is left to its own chain."""
    names = {"access_key": "ACCESS_KEY_ID", "secret_key": "SECRET_ACCESS_KEY", "session_token": "SESSION_TOKEN"}
    found = {f"AWS_{names[name]}": options[name] for name in names if name in options}
    if "region" in options:
        found["AWS_REGION"] = options["region"]
    if "endpoint_override" in options:
        found["AWS_ENDPOINT_URL"] = f"{options['scheme']}://{options['endpoint_override']}"
        found["AWS_ALLOW_HTTP"] = str(options["scheme"] == "http").lower()
    return found
