"""The uses of Spark's internals work with the locked versions, and other versions are refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mlflow_project.errors import ConfigError
from spark_jobs import spark_internals
from spark_jobs.session import spark_session
from stack.layout import ROOT

UNDOCUMENTED = re.compile(r"\._(jvm|jsc|jspark\w+|jdf|jconf|gateway|ensure_initialized)\b|pyspark\.sql\.pandas")


@pytest.mark.parametrize("package", ["pyspark", "delta-spark"])
def test_the_uses_were_tried_with_the_versions_of_the_lock(package: str) -> None:
    """Fails when the lock moves to a new version. Run the tests of this folder, then name the version in `TRIED`."""
    assert version(package) == spark_internals.TRIED[package]
    assert f"{package}=={spark_internals.TRIED[package]}" in (ROOT / "requirements" / "spark.txt").read_text()


@pytest.mark.parametrize(("spark", "delta"), [("4.3.0", "4.4.0"), ("5.0.0", "4.4.0"), ("4.2.0", "4.5.1")])
def test_other_versions_are_refused_with_the_version_to_install(spark: str, delta: str) -> None:
    spark_internals.check_versions("4.2.7", "4.4.3")
    with pytest.raises(ConfigError, match=r"need .* and this Spark has .*; nothing was read or written\. Install "):
        spark_internals.check_versions(spark, delta)


def test_a_session_of_another_version_starts_no_job(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spark_internals.TRIED, "delta-spark", "4.9.0")
    with pytest.raises(ConfigError, match=r"need delta-spark 4\.9\.0 and this Spark has 4\.4\.0"):
        spark_session("tests")


def test_spark_without_delta_lake_ends_with_what_to_do(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("spark-submit"), ROOT / "spark_jobs" / "query_tables.py", "SELECT 1"]
    here = {"SPARK_CONF_DIR": str(tmp_path), "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    done = subprocess.run(command, env={**os.environ, **here}, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Spark has no Delta Lake: run `make up`" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_no_other_file_of_the_jobs_uses_internals() -> None:
    found = {path.name for path in (ROOT / "spark_jobs").glob("*.py") if UNDOCUMENTED.search(path.read_text())}
    assert found == {"spark_internals.py"}


def test_single_files_are_listed_read_and_written(spark: SparkSession, tmp_path: Path) -> None:
    here = f"{tmp_path}/a folder"
    assert (spark_internals.exists(spark, here), spark_internals.names(spark, here)) == (False, [])
    spark_internals.write(spark, f"{here}/sub/ü%41.txt", b"one")
    assert spark_internals.write_new(spark, f"{here}/new", b"first")
    assert not spark_internals.write_new(spark, f"{here}/new", b"second")
    assert spark_internals.read(spark, f"{here}/new") == b"first"
    folder, is_file, files = spark_internals.files_below(spark, here, 10)
    assert (folder.endswith("/a folder"), is_file) == (True, False)
    assert sorted((each.name, each.size) for each in files) == [("new", 5), ("sub/ü%41.txt", 3)]
    assert len(spark_internals.files_below(spark, here, 1).files) == 1
    _, is_file, files = spark_internals.files_below(spark, f"{here}/new", 10)
    assert (is_file, [each.name for each in files]) == (True, ["new"])
    spark_internals.remove(spark, f"{here}/new")
    assert spark_internals.names(spark, here) == ["sub"]
    found = spark_internals.resolve(spark, here, ["fs.s3a.endpoint.region", "fs.no.such.setting"])
    assert (found.address, found.settings) == (f"file://{tmp_path}/a%20folder", {"fs.s3a.endpoint.region": "us-east-1"})
