"""Packs the code that the executors of a cluster need into one zip file.

    python -m spark_jobs.package jobs.zip
    spark-submit --py-files jobs.zip …

Equal code gives equal bytes.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("mlflow_project", "spark_jobs")


def pack(target: Path) -> int:
    """Write the zip; returns the number of files in it."""
    files = sorted(path for name in _PACKAGES for path in (_ROOT / name).rglob("*.py"))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.writestr(zipfile.ZipInfo(path.relative_to(_ROOT).as_posix()), path.read_bytes())
    return len(files)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write("Usage: python -m spark_jobs.package <target.zip>\n")
        sys.exit(2)
    sys.stdout.write(f"{pack(Path(sys.argv[1]))} files -> {sys.argv[1]}\n")
